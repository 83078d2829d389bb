"""Inputs on the real node: S3, https over a connection that breaks, archives, other runs, Models, and what was pushed.

Both servers are pods of the namespace, so that this works on every cluster: the S3 server is the program of the other
tests, copied into a pod that waits for it; https has a certificate that only the Workspace's trust bundle knows.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import shlex
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import pytest
import yaml
from sklearn.linear_model import LogisticRegression

from cluster.pki import Authority
from cluster.programs import program
from e2e.cluster_namespace import Json, Namespace, condition
from e2e.test_any_image import plain_python_image
from e2e.test_bad_deployments import deployment
from e2e.test_bad_runs import ANOTHER_NAME, experiment, run, workspace
from smalt_scorer.digests import Entry, manifest_text, text_digest

TESTS = Path(__file__).resolve().parents[1]
REPOSITORY = TESTS.parent
ACCESS, SECRET_KEY = "AKTEST", "s3cr3t-that-nothing-shows"
S3_PORT, HTTPS_PORT = 7070, 8443
ROWS = b"a,b\n" + b"1,2\n" * 100_000
DECLARED = "sha256:" + hashlib.sha256(ROWS).hexdigest()
OTHER = "sha256:" + "0" * 64
# Loses the connection twice, once in the middle of what is asked for again.
HTTPS_SERVER = f"""
import pathlib, sys, threading
sys.path.insert(0, "/programs")
from file_server import FileServer
files = {{"/" + path.name: path.read_bytes() for path in pathlib.Path("/files").iterdir() if path.is_file()}}
files["/rows.csv"] = b"a,b\\n" + b"1,2\\n" * 100_000
breaks = {{"/rows.csv": [100_000, 150_000]}}
pair = pathlib.Path("/tls/tls.crt"), pathlib.Path("/tls/tls.key")
with FileServer(files, breaks, pair, ("0.0.0.0", {HTTPS_PORT})) as server:
    threading.Event().wait()
"""
S3_SERVER = f"""
until [ -e /data/ready ]; do sleep 0.2; done
mkdir -p /data/meta /data/buckets/data
exec /data/versitygw --port 0.0.0.0:{S3_PORT} posix --sidecar /data/meta /data/buckets
"""
READS = """
import hashlib, os, pathlib, sys
from smalt_trainer import run
assert not os.path.exists("/smalt/credentials"), "the script sees a Secret"
for name in sys.argv[1:]:
    path = pathlib.Path(os.environ["SMALT_INPUTS_" + name])
    files = [each for each in path.rglob("*") if each.is_file()] if path.is_dir() else [path]
    run.log(name + "_files", len(files))
    run.log(name + "_bytes", sum(each.stat().st_size for each in files))
"""


def pod(name: str, command: list[str], ports: list[int], volumes: list[Json], mounts: list[Json], **env: str) -> Json:
    container: Json = {
        "name": name,
        "image": plain_python_image(),
        "imagePullPolicy": "IfNotPresent",
        "command": command,
        "env": [{"name": key, "value": value} for key, value in env.items()],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": mounts,
        "readinessProbe": {"tcpSocket": {"port": ports[0]}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}},
    }
    spec: Json = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 1,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "fsGroup": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": volumes,
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": spec}


def service(name: str, port: int) -> Json:
    spec = {"selector": {"app": name}, "ports": [{"port": port}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def config_map(name: str, **data: str) -> Json:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def secret(name: str, **values: str) -> Json:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": values}


def archive() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name in ("a.csv", "sub/b.csv"):
            member = tarfile.TarInfo(name)
            member.size = len(ROWS)
            tar.addfile(member, io.BytesIO(ROWS))
    return packed.getvalue()


def is_ready(found: Json) -> bool:
    return any(each["type"] == "Ready" and each["status"] == "True" for each in found["status"].get("conditions", []))


@pytest.fixture(scope="module")
def lab(shared: Namespace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Namespace]:
    """The servers, and a Workspace that trusts them."""
    authority = Authority(tmp_path_factory.mktemp("authority"))
    authority.create()
    certificate, key = authority.issue("files", "/CN=files", f"DNS:files.{shared.namespace}.svc")
    packed = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "files"},
        "binaryData": {"packed.tar.gz": base64.b64encode(archive()).decode()},
    }
    shared.apply(
        config_map("programs", **{"file_server.py": (TESTS / "support/file_server.py").read_text()}),
        config_map("authority", **{"ca.crt": authority.certificate.read_text()}),
        packed,
        secret("tls", **{"tls.crt": certificate.read_text(), "tls.key": key.read_text()}),
        secret(
            "s3-login",
            accessKeyId=ACCESS,
            secretAccessKey=SECRET_KEY,
            endpointUrl=f"http://s3.{shared.namespace}.svc:{S3_PORT}",
        ),
        service("files", HTTPS_PORT),
        service("s3", S3_PORT),
        pod(
            "files",
            ["python3", "-u", "-c", HTTPS_SERVER],
            [HTTPS_PORT],
            [
                {"name": "programs", "configMap": {"name": "programs"}},
                {"name": "files", "configMap": {"name": "files"}},
                {"name": "tls", "secret": {"secretName": "tls"}},
            ],
            [{"name": each, "mountPath": f"/{each}"} for each in ("programs", "files", "tls")],
        ),
        pod(
            "s3",
            ["sh", "-c", S3_SERVER],
            [S3_PORT],
            [{"name": "data", "emptyDir": {}}],
            [{"name": "data", "mountPath": "/data"}],
            ROOT_ACCESS_KEY=ACCESS,
            ROOT_SECRET_KEY=SECRET_KEY,
        ),
        workspace(trustBundle={"configMap": "authority"}),
        experiment(),
    )
    shared.until("pod", "s3", lambda it: it["status"].get("phase") == "Running", 120)
    into(shared, "/data/versitygw", Path(program("versitygw", "versitygw")).read_bytes(), "755")
    for name in ("part-1/a.csv", "part-2/b.csv"):
        into(shared, f"/data/buckets/data/all/{name}", ROWS, "644")
    into(shared, "/data/ready", b"", "644")
    for name in ("s3", "files"):
        shared.until("pod", name, is_ready, 120)
    shared.ready("experiment", "trials", 180)
    yield shared


def into(namespace: Namespace, path: str, content: bytes, mode: str) -> None:
    """A file of the pod of S3."""
    place = shlex.quote(path)
    text = f"mkdir -p $(dirname {place}) && cat > {place}.part && chmod {mode} {place}.part && mv {place}.part {place}"
    command = ["kubectl", "-n", namespace.namespace, "exec", "-i", "s3", "--", "sh", "-c", text]
    subprocess.run(command, env=namespace.environment, input=content, check=True, capture_output=True)


def reads(name: str, inputs: Json, **spec: Any) -> Json:
    return run(name, READS, command=f"python train.py {' '.join(inputs)}", inputs=inputs, **spec)


def test_s3_https_and_an_archive_arrive_whole_over_connections_that_break_and_no_secret_is_shown(
    lab: Namespace,
) -> None:
    files = f"https://files.{lab.namespace}.svc:{HTTPS_PORT}"
    inputs = {
        "bucket": {"type": "uriFolder", "path": "s3://data/all", "credentialsSecret": "s3-login"},
        "object": {
            "type": "uriFile",
            "path": "s3://data/all/part-1/a.csv",
            "credentialsSecret": "s3-login",
            "digest": DECLARED,
        },
        "web": {"type": "uriFile", "path": f"{files}/rows.csv", "digest": DECLARED},
        "packed": {"type": "uriFolder", "path": f"{files}/packed.tar.gz", "unpack": True},
        "mounted": {"type": "uriFolder", "path": "configmap://files/packed.tar.gz", "unpack": True},
    }
    lab.apply(reads("everywhere", inputs))
    status = lab.ready("trainingrun", "everywhere", 240)["status"]
    counts = {"bucket": 2, "object": 1, "web": 1, "packed": 2, "mounted": 2}
    assert {name: status["metrics"][f"{name}_files"] for name in counts} == counts
    assert {name: status["metrics"][f"{name}_bytes"] for name in counts} == {
        name: count * len(ROWS) for name, count in counts.items()
    }
    assert {name: each["files"] for name, each in status["inputs"].items()} == counts
    assert status["digests"]["data"]["packed"] == status["digests"]["data"]["mounted"]
    told = lab("logs", "job/everywhere-1", "-c", "fetch")
    assert told.count("going on from there") == 2 and "inputs.bucket: 2 files, 781 KiB" in told
    everything = json.dumps([lab.get(kind) for kind in ("trainingruns", "jobs", "events")])
    assert SECRET_KEY not in everything + told + lab("logs", "job/everywhere-1", "--all-containers")


@pytest.mark.parametrize(
    ("name", "given", "reason", "words"),
    [
        ("altered", {"path": "s3://data/all/part-1/a.csv", "digest": OTHER}, "DigestMismatch", [DECLARED, OTHER]),
        ("nothing", {"path": "s3://data/nothing.csv"}, "InputFailed", ["s3://data/nothing.csv", "no such object"]),
    ],
)
def test_what_cannot_be_had_ends_the_run_before_its_script(
    lab: Namespace, name: str, given: Json, reason: str, words: list[str]
) -> None:
    lab.apply(reads(name, {"train": {"type": "uriFile", "credentialsSecret": "s3-login"} | given}))
    stalled = condition(lab.stalled("trainingrun", name, 240), "Stalled")
    assert stalled["reason"] == reason
    for word in ["inputs.train", *words, ANOTHER_NAME]:
        assert word in stalled["message"]
    assert condition(lab.get("trainingrun", name), "Ready")["status"] == "False"


PREPARES = """
import os, pathlib
pathlib.Path(os.environ["SMALT_OUTPUTS_clean"], "rows.csv").write_text("a,b\\n1,2\\n")
pathlib.Path(os.environ["SMALT_OUTPUTS_model"], "model.bin").write_bytes(b"m" * 10)
"""


def test_a_run_waits_for_the_run_and_the_model_it_reads_and_pins_what_it_got(lab: Namespace) -> None:
    inputs = {
        "train": {"type": "uriFolder", "path": "run://prepare/clean"},
        "file": {"type": "uriFile", "path": "run://prepare/clean"},
        "model": {"type": "uriFolder", "path": "model://churn/1"},
    }
    lab.apply(reads("chained", inputs))
    waiting = lab.until(
        "trainingrun", "chained", lambda it: condition(it, "Ready").get("reason") == "WaitingForRun", 60
    )
    assert "TrainingRun 'prepare', which does not exist" in condition(waiting, "Ready")["message"]
    outputs = {"clean": {"type": "uriFolder"}, "model": {"type": "customModel"}}
    lab.apply(run("prepare", PREPARES, outputs=outputs, register={"model": "churn", "from": "model"}))
    status = lab.ready("trainingrun", "chained", 360)["status"]
    made = lab.get("trainingrun", "prepare")["status"]["outputs"]
    assert status["digests"]["data"] == {
        "train": made["clean"]["digest"],
        "file": made["clean"]["digest"],
        "model": lab.get("model", "churn-1")["status"]["artifact"]["digest"],
    }
    assert status["inputs"]["train"] == made["clean"]
    assert status["metrics"]["model_bytes"] == 10 and status["metrics"]["file_bytes"] == 8


def test_a_run_whose_producer_failed_goes_on_when_a_better_one_takes_its_place(lab: Namespace) -> None:
    outputs = {"clean": {"type": "uriFolder"}}
    lab.apply(
        run("mended", "raise SystemExit('no column churned')", outputs=outputs),
        reads("follower", {"train": {"type": "uriFolder", "path": "run://mended/clean"}}),
    )
    stalled = condition(lab.stalled("trainingrun", "follower", 240), "Stalled")
    assert stalled["reason"] == "InputFailed"
    assert "no column churned" in stalled["message"] and "anew under the same name" in stalled["message"]
    lab("delete", "trainingrun", "mended")
    script = "import os; open(os.path.join(os.environ['SMALT_OUTPUTS_clean'], 'a'), 'w').write('x')"
    lab.apply(run("mended", script, outputs=outputs))
    assert lab.ready("trainingrun", "follower", 300)["status"]["metrics"]["train_files"] == 1


def test_a_folder_that_was_pushed_from_here_is_the_code_of_a_run_there(lab: Namespace, tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/train.py").write_text('print(\'{"metric": "auc", "value": 0.5}\')')
    command = [sys.executable, "-m", "smalt", "push", str(tmp_path / "src"), "-n", lab.namespace]
    variables = lab.environment | {"PYTHONPATH": str(REPOSITORY / "operator/src")}
    printed = subprocess.run(command, env=variables, check=True, capture_output=True, text=True).stdout
    lab.apply(run("pushed-code", "", code=yaml.safe_load(printed)["code"]))
    status = lab.ready("trainingrun", "pushed-code", 240)["status"]
    assert status["metrics"] == {"auc": 0.5}


def test_what_was_pushed_from_here_is_an_input_there(lab: Namespace, tmp_path: Path) -> None:
    folder = tmp_path / "my data"
    folder.mkdir()
    for name in ("a.csv", "b ä.csv"):
        (folder / name).write_bytes(ROWS)
    command = [sys.executable, "-m", "smalt", "push", str(folder), "-n", lab.namespace]
    variables = lab.environment | {"PYTHONPATH": str(REPOSITORY / "operator/src")}
    printed = [subprocess.run(command, env=variables, check=True, capture_output=True, text=True) for _ in range(2)]
    assert printed[0].stdout == printed[1].stdout
    assert "is there already" in printed[1].stderr
    given = yaml.safe_load(printed[0].stdout)["inputs"]["my_data"]
    lab.apply(reads("from-here", {"data": given}))
    status = lab.ready("trainingrun", "from-here", 240)["status"]
    assert status["metrics"]["data_bytes"] == 2 * len(ROWS)
    assert status["digests"]["data"]["data"] == given["digest"]


def test_a_model_is_imported_from_a_bucket_by_its_digest_once_its_secret_is_there_and_then_served(
    lab: Namespace,
) -> None:
    written = io.BytesIO()
    joblib.dump(LogisticRegression().fit([[0.0], [1.0]], [0, 1]), written)
    into(lab, "/data/buckets/data/models/churn/model.joblib", written.getvalue(), "644")
    into(lab, "/data/buckets/data/models/churn/labels.json", b"{}", "644")
    files = {"labels.json": b"{}", "model.joblib": written.getvalue()}
    found = [Entry(name, len(data), hashlib.sha256(data).hexdigest()) for name, data in files.items()]
    source = {
        "uri": "s3://data/models/churn",
        "digest": text_digest(manifest_text(found)),
        "credentialsSecret": "later",
    }
    spec = {"name": "imported", "version": 1, "workspace": "lab", "source": source, "stage": "Production"}
    model = {"apiVersion": "smalt.dev/v1alpha1", "kind": "Model", "metadata": {"name": "imported-1"}, "spec": spec}
    lab.apply(model)
    lab.until("model", "imported-1", lambda it: "Secret 'later'" in condition(it, "Ready").get("message", ""), 120)
    login = lab.get("secret", "s3-login")["data"]
    lab.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "later"}, "data": login})
    registered = lab.ready("model", "imported-1", 240)["status"]
    assert (registered["format"], registered["artifact"]["files"]) == ("joblib", 2)
    assert registered["artifact"]["digest"] == source["digest"] and "/artifacts/model" in registered["artifact"]["uri"]
    lab.apply(deployment("imported", "imported"))
    lab.ready("modeldeployment", "imported", 180)
    everything = json.dumps([lab.get(kind) for kind in ("models", "jobs", "events")])
    assert SECRET_KEY not in everything + lab("logs", "deployments.apps/imported", "--all-containers")

    wrong = {**spec, "version": 2, "source": source | {"digest": OTHER, "credentialsSecret": "s3-login"}}
    lab.apply({**model, "metadata": {"name": "imported-2"}, "spec": wrong})
    said = condition(lab.stalled("model", "imported-2", 180), "Ready")
    assert said["reason"] == "DigestMismatch" and source["digest"] in said["message"]
