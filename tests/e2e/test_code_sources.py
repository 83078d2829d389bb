"""Code from git and from an archive on the real node: fetched by a container of its own, pinned, and kept.

The server is a pod of the namespace, in the image that fetches, so that this works on every cluster: http, which is for
Services of the cluster, and https with a certificate that only the Workspace's trust bundle knows.
"""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from demo.kubectl import Kubectl
from e2e.cluster_namespace import Json, Namespace, condition, tracking
from e2e.test_bad_runs import experiment, workspace
from support.run_pod import wait_until

HTTP, HTTPS = 8080, 8443
TESTS = Path(__file__).resolve().parents[1]
USER, PASSWORD = "ada", "w0rd-that-nothing-shows"
# With `again` it ends badly once the branch has moved on.
TRAIN = """\
import os, sys, time, urllib.error, urllib.request
from smalt_trainer import run
assert not os.path.exists("/smalt/credentials"), "the script sees a Secret"
assert not os.access("/smalt/fetched", os.W_OK), "the script can change what was fetched"
print("this is version", open("version.txt").read(), flush=True)
if len(sys.argv) > 1:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(sys.argv[1], timeout=5).close()
            raise SystemExit("the branch has moved on")
        except urllib.error.URLError:
            time.sleep(0.5)
run.log("auc", 0.5)
"""


@dataclass(frozen=True)
class Server:
    """Where the code lies, and which commits there are."""

    http: str
    https: str
    public: str
    private: str


@pytest.fixture(scope="module")
def trainer_image(smalt: Kubectl) -> str:
    """The image that the operator gives to pods."""
    [container] = smalt.get("deployment", "smalt-operator")["spec"]["template"]["spec"]["containers"]
    return next(str(each["value"]) for each in container["env"] if each["name"] == "SMALT_TRAINER_IMAGE")


@pytest.fixture(scope="module")
def server(shared: Namespace, trainer_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    host = f"git.{shared.namespace}.svc"
    certificate, key = self_signed(tmp_path_factory.mktemp("tls"), host)
    programs = {path.name: path.read_text() for path in (TESTS / "support/git_server.py", TESTS / "e2e/code_server.py")}
    shared.apply(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "programs"}, "data": programs},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "authority"}, "data": {"ca.crt": certificate}},
        secret("tls", **{"tls.crt": certificate, "tls.key": key}),
        secret("git", username=USER, password=PASSWORD),
        secret("wrong", username=USER, password="not-it"),
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "git"},
            "spec": {
                "selector": {"app": "git"},
                "ports": [{"name": f"p{port}", "port": port} for port in (HTTP, HTTPS)],
            },
        },
        server_pod(trainer_image),
        workspace(trustBundle={"configMap": "authority"}),
        experiment(),
    )
    shared.until("pod", "git", lambda it: condition_of_pod(it, "Ready"), 120)

    def said() -> list[list[str]]:
        return [line.split() for line in shared("logs", "git").splitlines() if line.startswith("commits")]

    # The node's log of a pod comes a moment after the pod is ready.
    wait_until(lambda: bool(said()), "the server's naming its commits", 60)
    _, public, private = said()[0]
    shared.ready("experiment", "trials", 180)
    yield Server(f"http://{host}:{HTTP}", f"https://{host}:{HTTPS}", public, private)


def server_pod(image: str) -> Json:
    variables = {"TRAIN": TRAIN, "GIT_USER": USER, "GIT_PASSWORD": PASSWORD, "HOME": "/tmp"}
    container: Json = {
        "name": "git",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-u", "/programs/code_server.py", "serve", str(HTTP), str(HTTPS)],
        "env": [{"name": name, "value": value} for name, value in variables.items()],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [
            {"name": "programs", "mountPath": "/programs"},
            {"name": "tls", "mountPath": "/tls"},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
        "readinessProbe": {"tcpSocket": {"port": HTTPS}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
    }
    spec: Json = {
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "fsGroup": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [
            {"name": "programs", "configMap": {"name": "programs"}},
            {"name": "tls", "secret": {"secretName": "tls"}},
            {"name": "tmp", "emptyDir": {}},
        ],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "git", "labels": {"app": "git"}}, "spec": spec}


def self_signed(folder: Path, host: str) -> tuple[str, str]:
    command = f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=git -addext subjectAltName=DNS:{host}"
    subprocess.run([*command.split(), "-keyout", "key", "-out", "crt"], cwd=folder, check=True, capture_output=True)
    return (folder / "crt").read_text(), (folder / "key").read_text()


def secret(name: str, **values: str) -> Json:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": values}


def condition_of_pod(found: Json, kind: str) -> bool:
    return any(
        each["type"] == kind and each["status"] == "True" for each in found.get("status", {}).get("conditions", [])
    )


def run(name: str, code: Json, **spec: Any) -> Json:
    whole = {"experiment": "trials", "code": code, "command": "python train.py"} | spec
    return {"apiVersion": "smalt.dev/v1alpha1", "kind": "TrainingRun", "metadata": {"name": name}, "spec": whole}


def test_a_private_repository_runs_and_its_commit_is_in_the_run_and_in_its_model(
    shared: Namespace, server: Server
) -> None:
    git = {"url": f"{server.https}/private.git", "revision": "main", "path": "churn", "credentialsSecret": "git"}
    command = "python train.py && cp train.py ${{outputs.model}}"
    outputs, register = {"model": {"type": "customModel"}}, {"model": "from-git", "from": "model"}
    shared.apply(run("private", {"git": git}, command=command, outputs=outputs, register=register))
    status = shared.ready("trainingrun", "private", 240)["status"]
    assert status["code"] == {"commit": server.private}
    model = shared.ready("model", "from-git-1")
    assert model["status"]["lineage"]["code"] == {"commit": server.private, "digest": status["digests"]["code"]}
    _, _, _, experiment_id, _, run_id = status["tracking"]["url"].split("/")
    with tracking(shared, "lab") as ask:
        kept = f"api/2.0/mlflow-artifacts/artifacts/{experiment_id}/{run_id}/artifacts/code"
        assert ask(f"{kept}/train.py") == TRAIN
        tags = json.loads(ask(f"api/2.0/mlflow/runs/get?run_id={run_id}"))["run"]["data"]["tags"]
        assert {"key": "mlflow.source.git.commit", "value": server.private} in tags
    for container in ("fetch", "training"):
        assert PASSWORD not in shared("logs", "job/private-1", "-c", container)
    everything = json.dumps([shared.get(kind) for kind in ("trainingruns", "jobs", "pods", "events")])
    served = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    # The pod that serves the repository has it in its own specification.
    assert everything.count(PASSWORD) <= json.dumps(shared.get("pod", "git")).count(PASSWORD)
    assert served not in everything


def test_a_further_attempt_runs_the_commit_of_the_first_though_the_branch_has_moved_on(
    shared: Namespace, server: Server
) -> None:
    git = {"url": f"{server.http}/public.git", "revision": "main", "path": "churn"}
    command = f"python train.py {server.http}/files/moved"
    shared.apply(run("moving", {"git": git}, command=command, limits={"retries": 1}))
    pinned = shared.until("trainingrun", "moving", lambda it: it["status"].get("phase") == "Running", 180)
    assert pinned["status"]["code"] == {"commit": server.public}
    moved = shared("exec", "git", "--", "python3", "/programs/code_server.py", "move").strip()
    assert moved != server.public
    status = shared.stalled("trainingrun", "moving", 240)["status"]
    assert (status["attempt"], status["code"]) == (2, {"commit": server.public})
    assert "this is version one" in shared("logs", "job/moving-2", "-c", "training")
    shared.apply(run("moved", {"git": git}))
    assert shared.ready("trainingrun", "moved", 180)["status"]["code"] == {"commit": moved}


def test_an_archive_runs_when_its_digest_is_the_declared_one(shared: Namespace, server: Server) -> None:
    code = {"url": f"{server.https}/files/code.tar.gz", "path": "churn"}
    shared.apply(run("archive", code), run("altered", code | {"digest": "sha256:" + "0" * 64}))
    status = shared.ready("trainingrun", "archive", 240)["status"]
    assert status["code"]["archiveDigest"].startswith("sha256:")
    failed = condition(shared.stalled("trainingrun", "altered", 180), "Ready")
    assert failed["reason"] == "DigestMismatch"
    assert status["code"]["archiveDigest"] in failed["message"] and "under another name" in failed["message"]


@pytest.mark.parametrize(
    ("name", "git", "reason", "words"),
    [
        ("no-revision", {"url": "{http}/public.git", "revision": "v9"}, "CodeInvalid", ["'v9'", "main"]),
        ("no-repository", {"url": "{http}/nowhere.git"}, "CodeUnavailable", ["nowhere.git", "no repository"]),
        ("no-login", {"url": "{https}/private.git"}, "CodeUnavailable", ["private", "credentialsSecret"]),
        (
            "bad-login",
            {"url": "{https}/private.git", "credentialsSecret": "wrong"},
            "CodeUnavailable",
            ["Secret 'wrong'", "correct the Secret"],
        ),
    ],
)
def test_what_cannot_be_fetched_is_told_in_words(
    shared: Namespace, server: Server, name: str, git: dict[str, str], reason: str, words: list[str]
) -> None:
    whole = {key: value.format(http=server.http, https=server.https) for key, value in git.items()}
    shared.apply(run(name, {"git": whole}))
    failed = condition(shared.stalled("trainingrun", name, 180), "Ready")
    assert failed["reason"] == reason
    for each in [*words, "under another name"]:
        assert each in failed["message"]


def test_a_run_goes_on_when_its_secret_is_there(shared: Namespace, server: Server) -> None:
    git = {"url": f"{server.https}/private.git", "path": "churn", "credentialsSecret": "later"}
    shared.apply(run("waiting", {"git": git}))
    shared.until("trainingrun", "waiting", lambda it: it["status"].get("job") == "waiting-1", 60)
    shared.apply(secret("later", token=PASSWORD, username=USER))
    assert shared.ready("trainingrun", "waiting", 300)["status"]["code"] == {"commit": server.private}
