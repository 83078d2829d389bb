"""A user's own file goes into the workspace's store and comes back as a run's input, over ways that break."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from smalt.api.inputs import upload
from smalt_trainer.digests import manifest, manifest_digest
from support.fetch_pod import FetchPod
from support.kubectl_double import Cluster
from support.resources import ready
from support.run_pod import RunPod, mlflow_variables
from support.tracking import TrackingServer

REPOSITORY = Path(__file__).resolve().parents[2]
WORKSPACES = "workspaces.smalt.dev"
NOT_READY = {
    "conditions": [{"type": "Ready", "status": "False", "reason": "x", "message": "no default StorageClass: name one"}]
}


@pytest.fixture(scope="module")
def tracking() -> Iterator[TrackingServer]:
    with TrackingServer() as started:
        yield started


@pytest.fixture
def cluster(tracking: TrackingServer, tmp_path: Path) -> Cluster:
    made = Cluster(tmp_path / "cluster")
    made.add(WORKSPACES, "lab", status=ready())
    password = base64.b64encode(tracking.passwords["admin"].encode()).decode()
    made.add("secret", "lab-tracking", data={"admin-password": password})
    made.write(services={"service/lab-tracking": tracking.port})
    return made


def push(cluster: Cluster | None, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = f"{cluster.folder / 'bin'}:/usr/bin:/bin" if cluster else "/nowhere"
    variables = {"PATH": path, "HOME": "/nowhere", "PYTHONPATH": str(REPOSITORY / "operator/src")}
    command = [sys.executable, "-m", "smalt", "push", *arguments]
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=120, check=False)


def pushed(cluster: Cluster, *arguments: str) -> dict[str, Any]:
    done = push(cluster, *arguments)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = yaml.safe_load(done.stdout)
    return found


def fetched(tracking: TrackingServer, folder: Path, given: dict[str, Any]) -> tuple[dict[str, Any], Path]:
    """As the operator gives it to a run of the same workspace."""
    address = upload(given["path"])
    assert address is not None
    source = {"artifact": address[0], "digest": address[1]}
    mlflow = mlflow_variables(tracking.url, "runs", tracking.passwords["runs"])
    pod = RunPod(folder, mlflow, "", inputs={"it": given | {"source": source}})
    return pod.fetch(), folder / "fetched/inputs/it"


def test_a_file_comes_back_as_it_was_under_the_digest_that_was_printed(
    tracking: TrackingServer, cluster: Cluster, tmp_path: Path
) -> None:
    file = tmp_path / "my churn (1) ä.csv"
    file.write_bytes(b"a,b\n1,2\n")
    given = pushed(cluster, str(file))["inputs"]["my_churn_1"]
    assert given["type"] == "uriFile"
    assert given["digest"] == manifest_digest(manifest(file))
    message, folder = fetched(tracking, tmp_path / "run", given)
    assert message["outcome"] == "succeeded", message
    assert (folder / file.name).read_bytes() == file.read_bytes()


def test_a_folder_comes_back_and_can_be_code_too(tracking: TrackingServer, cluster: Cluster, tmp_path: Path) -> None:
    source = tmp_path / "src"
    for name, text in {"train.py": "pass", "more/a.py": "1", ".git/HEAD": "x", "__pycache__/a.pyc": "y"}.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text)
    done = push(cluster, str(source))
    given = yaml.safe_load(done.stdout)
    assert given["code"] == {"url": given["inputs"]["src"]["path"]}
    message, folder = fetched(tracking, tmp_path / "run", given["inputs"]["src"])
    assert message["outcome"] == "succeeded", message
    assert [entry.path for entry in manifest(folder)] == ["more/a.py", "train.py"]


def code_of(tracking: TrackingServer, folder: Path, url: str, **more: str) -> tuple[dict[str, Any], FetchPod]:
    """As the operator gives it to a run of the same workspace."""
    address = upload(url)
    assert address is not None
    stored = {"artifact": address[0], "digest": address[1]}
    pod = FetchPod(folder, variables=mlflow_variables(tracking.url, "runs", tracking.passwords["runs"]))
    return pod.fetch({"archive": {"url": url, "stored": stored, **more}}), pod


def test_a_pushed_folder_is_a_runs_code_as_a_whole_or_one_folder_of_it(
    tracking: TrackingServer, cluster: Cluster, tmp_path: Path
) -> None:
    source = tmp_path / "src"
    (source / "more").mkdir(parents=True)
    (source / "train.py").write_text("pass")
    (source / "more/a.py").write_text("1")
    url = pushed(cluster, str(source))["code"]["url"]
    message, pod = code_of(tracking, tmp_path / "whole", url)
    assert message["outcome"] == "succeeded", message
    assert pod.files == {"train.py": "pass", "more/a.py": "1"}
    assert message["code"] == {"archiveDigest": manifest_digest(manifest(source))}
    _, pod = code_of(tracking, tmp_path / "part", url, path="more")
    assert pod.files == {"a.py": "1"}
    message, _ = code_of(tracking, tmp_path / "none", url, path="less")
    assert message["reason"] == "CodeInvalid" and "'less'" in message["message"]
    message, _ = code_of(tracking, tmp_path / "other", url, digest="sha256:" + "0" * 64)
    assert message["reason"] == "DigestMismatch" and "code.digest" in message["message"]


def test_a_pushed_archive_is_a_runs_code(tracking: TrackingServer, cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("pass")
    with tarfile.open(tmp_path / "code.tar.gz", "w:gz") as packed:
        packed.add(tmp_path / "train.py", "train.py")
    given = pushed(cluster, str(tmp_path / "code.tar.gz"))
    message, pod = code_of(tracking, tmp_path / "run", given["inputs"]["code"]["path"])
    assert message["outcome"] == "succeeded", message
    assert pod.files == {"train.py": "pass"}


def test_code_that_nobody_pushed_to_this_workspace_is_told(
    tracking: TrackingServer, cluster: Cluster, tmp_path: Path
) -> None:
    url = "workspace://uploads/" + "ab" * 32 + "/src"
    message, _ = code_of(tracking, tmp_path / "run", url)
    assert message["reason"] == "CodeUnavailable"
    assert url in message["message"] and "push it to this Workspace" in message["message"]


def test_what_is_there_already_is_not_sent_again(cluster: Cluster, tmp_path: Path) -> None:
    file = tmp_path / "once.csv"
    file.write_bytes(os.urandom(1000))
    first, again = push(cluster, str(file)), push(cluster, str(file))
    assert (first.stdout, "there already" in first.stderr) == (again.stdout, False)
    assert "once.csv is there already" in again.stderr


def test_a_push_whose_way_breaks_goes_on(tracking: TrackingServer, cluster: Cluster, tmp_path: Path) -> None:
    file = tmp_path / "large.bin"
    file.write_bytes(os.urandom(6 << 20))
    cluster.write(breaks=[2 << 20, 3 << 20])
    given = pushed(cluster, str(file))["inputs"]["large"]
    assert json.loads((cluster.folder / "cluster.json").read_text())["breaks"] == []
    message, folder = fetched(tracking, tmp_path / "run", given)
    assert message["outcome"] == "succeeded", message
    assert (folder / "large.bin").read_bytes() == file.read_bytes()


def test_of_a_folder_that_was_pushed_in_part_only_the_rest_is_sent(
    tracking: TrackingServer, cluster: Cluster, tmp_path: Path
) -> None:
    source = tmp_path / "parts"
    source.mkdir()
    for name in "abc":
        (source / name).write_bytes(os.urandom(1000))
    given = pushed(cluster, str(source))["inputs"]["parts"]
    address = upload(given["path"])
    assert address is not None
    stored = tracking.data / "artifacts" / address[0]
    stored.with_name("parts.manifest.json").unlink()
    (stored / "b").unlink()
    assert "2 of 3 files are there already" in push(cluster, str(source)).stderr
    assert (stored / "b").read_bytes() == (source / "b").read_bytes()


def test_a_run_cannot_change_what_was_pushed(tracking: TrackingServer, cluster: Cluster, tmp_path: Path) -> None:
    import requests

    file = tmp_path / "kept.csv"
    file.write_text("x")
    address = upload(pushed(cluster, str(file))["inputs"]["kept"]["path"])
    assert address is not None
    url = f"{tracking.url}/api/2.0/mlflow-artifacts/artifacts/{address[0]}/kept.csv"
    login = ("runs", tracking.passwords["runs"])
    assert requests.get(url, auth=login, timeout=30).text == "x"
    assert requests.put(url, data=b"y", auth=login, timeout=30).status_code == 403


@pytest.mark.parametrize(
    ("changes", "arguments", "words"),
    [
        ({}, ["/no/such/file"], ["/no/such/file does not exist"]),
        ({"objects": {}}, [], ["knows no Workspace", "install Smalt"]),
        ({"objects": {WORKSPACES: {}}}, [], ["namespace 'team-a' has no Workspace", "apply one"]),
        ({}, ["-n", "team-b"], ["namespace 'team-b' has no Workspace"]),
        ({}, ["--workspace", "other"], ["no Workspace 'other'", "--workspace"]),
        ({"two": True}, [], ["has the Workspaces annex, lab", "--workspace"]),
        ({"not_ready": True}, [], ["Workspace 'lab'", "not ready", "no default StorageClass"]),
        ({"forbidden": ["secret"]}, [], ["may not read Secret 'lab-tracking'", "role edit"]),
        ({"forbidden": [WORKSPACES]}, [], ["may not see Workspaces in namespace 'team-a'"]),
        ({"forbidden": ["pods/portforward"]}, [], ["may not forward a port", "pods/portforward"]),
        ({"no_secret": True}, [], ["Secret 'lab-tracking' is not in namespace 'team-a'"]),
        ({"empty_secret": True}, [], ["has no key admin-password"]),
        ({"wrong": True}, [], ["refuses the password"]),
        ({"empty_folder": True}, [], ["holds no file"]),
    ],
)
def test_what_stands_in_the_way_is_said_in_a_sentence(
    cluster: Cluster, tmp_path: Path, changes: dict[str, Any], arguments: list[str], words: list[str]
) -> None:
    file = tmp_path / "a.csv"
    file.write_text("x")
    changes = dict(changes)
    if changes.pop("two", None):
        cluster.add(WORKSPACES, "annex", status=ready())
    if changes.pop("not_ready", None):
        cluster.add(WORKSPACES, "lab", status=NOT_READY)
    if changes.pop("no_secret", None):
        cluster.state["objects"]["secret"] = {}
    if changes.pop("empty_secret", None):
        cluster.add("secret", "lab-tracking", data={})
    if changes.pop("wrong", None):
        cluster.add("secret", "lab-tracking", data={"admin-password": base64.b64encode(b"another-password").decode()})
    if changes.pop("empty_folder", None):
        file = tmp_path / "empty"
        file.mkdir()
    cluster.write(**changes)
    named = [] if arguments and arguments[0].startswith("/") else [str(file)]
    done = push(cluster, *named, *arguments)
    assert done.returncode == 1
    for word in words:
        assert word in done.stderr
    assert "Traceback" not in done.stderr and done.stdout == ""
    assert not re.search("another-password", done.stderr)


def test_without_kubectl_it_says_where_kubectl_should_be(tmp_path: Path) -> None:
    done = push(None, str(tmp_path))
    assert done.returncode == 1
    assert "kubectl is not installed" in done.stderr
