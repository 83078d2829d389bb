"""A run whose code was fetched, from the container that fetches to what the tracking server keeps of it."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from smalt_trainer.digests import manifest, manifest_digest
from smalt_trainer.tracking import Tracking
from support.fetch_pod import FetchPod
from support.git_server import GitServer
from support.run_pod import RunPod, mlflow_variables
from support.tracking import TrackingServer

TRAIN = """
import pathlib
from smalt_trainer import run
run.log("auc", 0.75)
print(pathlib.Path("data/version.txt").read_text(), pathlib.Path("link.txt").read_text())
pathlib.Path("train.py").write_text("the script may write where it runs")
"""
FILES = {"churn/train.py": TRAIN, "churn/data/version.txt": "one"}


@pytest.fixture(scope="module")
def tracking() -> Iterator[TrackingServer]:
    with TrackingServer() as started:
        yield started


@pytest.fixture(scope="module")
def git(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitServer]:
    with GitServer(tmp_path_factory.mktemp("git")) as started:
        repository = started.repository("churn.git")
        (repository.folder / "churn").mkdir()
        (repository.folder / "churn/link.txt").symlink_to("data/version.txt")
        repository.commit(FILES)
        (started.root / "files").mkdir()
        with tarfile.open(started.root / "files/code.tar.xz", "w:xz") as packed:
            link = tarfile.TarInfo("churn/link.txt")
            link.type, link.linkname = tarfile.SYMTYPE, "data/version.txt"
            packed.addfile(link)
            for name, text in FILES.items():
                member = tarfile.TarInfo(name)
                member.size = len(text)
                packed.addfile(member, io.BytesIO(text.encode()))
        yield started


def sources(git: GitServer) -> dict[str, dict[str, Any]]:
    return {
        "git": {"git": {"url": f"{git.url}/churn.git", "revision": "main", "path": "churn"}},
        "archive": {"archive": {"url": f"{git.url}/files/code.tar.xz", "path": "churn"}},
    }


def run_of(tracking: TrackingServer, folder: Path, code: dict[str, Any], **changes: Any) -> RunPod:
    variables = mlflow_variables(tracking.url, "runs", tracking.passwords["runs"])
    return RunPod(folder, variables, "", code=code, **changes)


@pytest.mark.parametrize("source", ["git", "archive"])
def test_the_code_that_ran_is_kept_with_where_it_came_from(
    tracking: TrackingServer, git: GitServer, tmp_path: Path, source: str
) -> None:
    code = sources(git)[source]
    fetched = FetchPod(tmp_path).fetch(code)
    digest = manifest_digest(manifest(tmp_path / "fetched/code"))
    pod = run_of(tracking, tmp_path, code)
    message = pod.run()
    assert message["outcome"] == "succeeded", pod.err
    assert "one one" in pod.out
    assert message["digests"]["code"] == digest
    assert message["code"] == fetched["code"]
    run = message["tracking"]
    root = tracking.data / "artifacts" / run["experimentId"] / run["runId"] / "artifacts"
    kept = {path.relative_to(root / "code").as_posix(): path.read_text() for path in (root / "code").rglob("*.*")}
    assert kept == {"train.py": TRAIN, "data/version.txt": "one", "link.txt": "one"}
    assert json.loads((root / "summary.json").read_text())["code"] == fetched["code"]
    client = Tracking(tracking.url, "runs", tracking.passwords["runs"])
    tags = {
        each["key"]: each["value"]
        for each in client.call("GET", "runs/get", run_id=run["runId"])["run"]["data"]["tags"]
    }
    if source == "git":
        assert tags["mlflow.source.git.commit"] == fetched["code"]["commit"]
        assert tags["mlflow.source.git.repoURL"] == code["git"]["url"]
    else:
        assert tags["smalt.code.digest"] == fetched["code"]["archiveDigest"]
        assert tags["smalt.code.url"] == code["archive"]["url"]


def test_the_same_files_have_one_digest_wherever_they_came_from(git: GitServer, tmp_path: Path) -> None:
    for name, code in sources(git).items():
        FetchPod(tmp_path / name).fetch(code)
    assert len({manifest_digest(manifest(tmp_path / name / "fetched/code")) for name in sources(git)}) == 1


@pytest.mark.parametrize("field", ["condaFile", "requirementsFile"])
def test_an_environment_file_that_is_not_in_what_was_fetched_is_named(
    tracking: TrackingServer, git: GitServer, tmp_path: Path, field: str
) -> None:
    code = sources(git)["git"]
    FetchPod(tmp_path).fetch(code)
    message = run_of(tracking, tmp_path, code, environment={field: "env/missing.txt"}).run()
    assert message["reason"] == "EnvironmentFailed"
    assert "env/missing.txt" in message["message"] and field in message["message"]


def test_a_run_without_what_should_have_been_fetched_says_whose_mistake_that_is(
    tracking: TrackingServer, git: GitServer, tmp_path: Path
) -> None:
    message = run_of(tracking, tmp_path, sources(git)["git"]).run()
    assert message["reason"] == "InternalError"
    assert "of one version" in message["message"]
