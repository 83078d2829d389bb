"""Models imported by hand on the real node: from an https server that asks for a login, as archives, and what cannot be had."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import pytest
from sklearn.linear_model import LogisticRegression

from cluster.pki import Authority
from demo.__main__ import port_forward
from e2e.cluster_namespace import Json, Namespace, condition, shows
from e2e.test_bad_deployments import deployment
from e2e.test_bad_runs import workspace
from e2e.test_inputs import config_map, is_ready, pod, secret, service
from e2e.test_optimize import asking

TESTS = Path(__file__).resolve().parents[1]
PORT = 8443
TOKEN = "t0ken-that-nothing-shows"
# Below /guarded only who has the token is answered; the first connection to the model breaks off.
SERVER = f"""
import os, pathlib, sys, threading
sys.path.insert(0, "/programs")
from file_server import FileServer

class Guarded(FileServer):
    def answer(self, request, body=True):
        if request.path.startswith("/guarded/") and request.headers.get("Authorization") != "Bearer " + os.environ["TOKEN"]:
            request.send_error(401)
            return
        super().answer(request, body)

there = [path for path in pathlib.Path("/files").iterdir() if path.is_file()]
files = {{folder + path.name: path.read_bytes() for path in there for folder in ("/", "/guarded/")}}
pair = pathlib.Path("/tls/tls.crt"), pathlib.Path("/tls/tls.key")
with Guarded(files, {{"/guarded/churn.joblib": [200]}}, pair, ("0.0.0.0", {PORT})) as server:
    threading.Event().wait()
"""


def written() -> bytes:
    made = io.BytesIO()
    joblib.dump(LogisticRegression().fit([[0.0], [1.0]], [0, 1]), made)
    return made.getvalue()


def packed(members: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return made.getvalue()


MODEL = written()
FILES = {
    "churn.joblib": MODEL,
    "churn.tar.gz": packed({"model.joblib": MODEL, "labels.json": b"{}"}),
    "outside.tar.gz": packed({"../model.joblib": MODEL}),
}
OTHER = "sha256:" + "0" * 64


def digest(name: str) -> str:
    """As `sha256sum` shows it."""
    return f"sha256:{hashlib.sha256(FILES[name]).hexdigest()}"


@pytest.fixture(scope="module")
def lab(shared: Namespace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Namespace]:
    """The server, and a Workspace that trusts it."""
    authority = Authority(tmp_path_factory.mktemp("authority"))
    authority.create()
    certificate, key = authority.issue("models", "/CN=models", f"DNS:models.{shared.namespace}.svc")
    files = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "files"},
        "binaryData": {name: base64.b64encode(content).decode() for name, content in FILES.items()},
    }
    server = pod(
        "models",
        ["python3", "-u", "-c", SERVER],
        [PORT],
        [
            {"name": "programs", "configMap": {"name": "programs"}},
            {"name": "files", "configMap": {"name": "files"}},
            {"name": "tls", "secret": {"secretName": "tls"}},
        ],
        [{"name": each, "mountPath": f"/{each}"} for each in ("programs", "files", "tls")],
        TOKEN=TOKEN,
    )
    shared.apply(
        config_map("programs", **{"file_server.py": (TESTS / "support/file_server.py").read_text()}),
        config_map("authority", **{"ca.crt": authority.certificate.read_text()}),
        files,
        secret("tls", **{"tls.crt": certificate.read_text(), "tls.key": key.read_text()}),
        secret("login", token=TOKEN),
        service("models", PORT),
        server,
        workspace(trustBundle={"configMap": "authority"}),
    )
    shared.until("pod", "models", is_ready, 120)
    shared.ready("workspace", "lab", 180)
    yield shared


def address(lab: Namespace, name: str) -> str:
    return f"https://models.{lab.namespace}.svc:{PORT}/{name}"


def imported(name: str, uri: str, declared: str, **source: Any) -> Json:
    """Version 1 of a model."""
    spec = {
        "name": name,
        "version": 1,
        "workspace": "lab",
        "source": {"uri": uri, "digest": declared} | source,
    }
    return {"apiVersion": "smalt.dev/v1alpha1", "kind": "Model", "metadata": {"name": f"{name}-1"}, "spec": spec}


def test_what_is_imported_with_a_login_is_served_as_it_is_and_no_run_can_change_it(lab: Namespace) -> None:
    uri = address(lab, "guarded/churn.joblib")
    lab.apply(imported("churn", uri, digest("churn.joblib"), credentialsSecret="login"))
    status = lab.ready("model", "churn-1", 240)["status"]
    assert status["format"] == "joblib" and status["artifact"]["bytes"] == len(MODEL)
    assert status["lineage"] == {"source": {"uri": uri, "digest": digest("churn.joblib")}}
    lab.apply(deployment("direct", "churn"))
    lab.ready("modeldeployment", "direct", 180)
    with asking(lab, "direct") as ask:
        assert ask("/score", {"data": [[0.0], [1.0]]}) == (200, {"predictions": [0, 1]})

    place = status["artifact"]["uri"].removeprefix("mlflow-artifacts:/")
    passwords = lab.get("secret", "lab-tracking")["data"]
    with port_forward(lab, "service/lab-tracking", 5000) as port:
        for user in ("runs", "scoring"):
            password = base64.b64decode(passwords[f"{user}-password"]).decode()
            file = f"http://127.0.0.1:{port}/api/2.0/mlflow-artifacts/artifacts/{place}/churn.joblib"
            login = {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}
            with urllib.request.urlopen(urllib.request.Request(file, headers=login), timeout=30) as answer:
                assert answer.read() == MODEL
            for method in ("PUT", "DELETE"):
                asked = urllib.request.Request(file, data=b"other", method=method, headers=login)
                with pytest.raises(urllib.error.HTTPError) as refused:
                    urllib.request.urlopen(asked, timeout=30)
                assert refused.value.code == 403, f"{method} as {user}"


def test_an_archive_is_the_model_that_is_in_it(lab: Namespace) -> None:
    lab.apply(imported("packed", address(lab, "churn.tar.gz"), digest("churn.tar.gz"), unpack=True))
    status = lab.ready("model", "packed-1", 240)["status"]
    assert (status["format"], status["artifact"]["files"]) == ("joblib", 2)
    assert status["artifact"]["digest"] != digest("churn.tar.gz"), "the registry's digest is that of the folder"
    lab.apply(imported("outside", address(lab, "outside.tar.gz"), digest("outside.tar.gz"), unpack=True))
    refused = condition(lab.stalled("model", "outside-1", 180), "Ready")
    assert refused["reason"] == "ModelRefused" and "../model.joblib" in refused["message"]


def test_what_cannot_be_had_says_why_and_goes_on_when_it_can(lab: Namespace) -> None:
    right = digest("churn.joblib")
    lab.apply(
        secret("wrong", token="not-this-one"),
        imported("none", address(lab, "none.joblib"), right),
        imported("away", f"https://nobody.{lab.namespace}.svc:{PORT}/churn.joblib", right),
        imported("wrong", address(lab, "guarded/churn.joblib"), right, credentialsSecret="wrong"),
        imported("later", address(lab, "guarded/churn.joblib"), right, credentialsSecret="later"),
        imported("other", address(lab, "churn.joblib"), OTHER),
    )
    for name, reason, words in (
        ("none-1", "SourceUnreachable", "404"),
        ("away-1", "SourceUnreachable", f"nobody.{lab.namespace}.svc"),
        ("wrong-1", "SourceUnreachable", "401"),
        ("later-1", "CredentialsMissing", "Secret 'later'"),
    ):
        waiting = lab.until(
            "model",
            name,
            lambda it, wanted=reason: condition(it, "Ready").get("reason") == wanted,  # type: ignore[misc]
            240,
        )
        said = condition(waiting, "Ready")["message"]
        assert words in said and "it is tried again (attempt" in said
        assert condition(waiting, "Reconciling")["status"] == "True" and not condition(waiting, "Stalled")
    refused = condition(lab.stalled("model", "other-1", 180), "Ready")
    assert refused["reason"] == "DigestMismatch" and right in refused["message"]
    shows(lab, "model", "other-1", refused["message"])

    lab.apply(secret("wrong", token=TOKEN), secret("later", token=TOKEN))
    for name in ("wrong-1", "later-1"):
        lab.ready("model", name, 420)
    # What the operator has made; the server's own pod has the token.
    made = lab("get", "jobs,pods", "-l", "app.kubernetes.io/managed-by=smalt", "-o", "json")
    shown = made + lab("get", "models,events", "-o", "json")
    assert TOKEN not in shown and base64.b64encode(TOKEN.encode()).decode() not in shown
