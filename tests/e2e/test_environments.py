"""Environments on the real cluster: files of the code, a cache between runs, and a private index inside the cluster."""

from __future__ import annotations

import base64
import json
import textwrap
from typing import Any

from e2e.cluster_namespace import Namespace, condition, tracking
from e2e.test_any_image import plain_python_image
from e2e.test_bad_runs import experiment, run, workspace
from support.package_index import Wheel

Json = dict[str, Any]
TINY = Wheel("tiny-thing", "1.2.0", "ANSWER = 42\n")
LOGIN = ("john", "s3cret-of-the-index")
PORT = 8080
# The index of a test, as a pod: a page and a wheel, to those who bring the login; its log tells what was fetched.
SERVER = """
import base64, http.server, pathlib

WANTED = "Basic " + base64.b64encode(b"LOGIN").decode()
FILE, HASH = "WHEEL", "SHA"

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/healthz":
            return self.answer(b"well")
        if self.headers.get("Authorization") != WANTED:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="packages"')
            self.send_header("Content-Length", "0")
            return self.end_headers()
        if self.path == "/simple/tiny-thing/":
            return self.answer(f'<a href="/files/{FILE}#sha256={HASH}">{FILE}</a>'.encode(), "text/html")
        if self.path == f"/files/{FILE}":
            print("fetched", FILE, flush=True)
            return self.answer(pathlib.Path("/index/wheel").read_bytes())
        self.send_error(404)

    do_HEAD = do_GET

    def answer(self, content, kind="application/octet-stream"):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
"""
SCRIPT = """
import json, os, pathlib
import tiny_thing
print(json.dumps({"metric": "answer", "value": tiny_thing.ANSWER}))
password = (os.environ["PART"] + "-of-the-index").encode()
assert password not in json.dumps(dict(os.environ)).encode(), "the script has the password among its variables"
for path in pathlib.Path("/smalt").rglob("*"):
    if path.is_file() and os.access(path, os.R_OK):
        assert password not in path.read_bytes(), f"the script can read the password in {path}"
"""


def private_index(namespace: Namespace) -> Json:
    """Deploys the index and returns `packages` for a Workspace."""
    text = SERVER.replace("LOGIN", ":".join(LOGIN)).replace("WHEEL", TINY.file).replace("SHA", TINY.sha256)
    labels = {"app": "index"}
    pod: Json = {
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
        "volumes": [{"name": "index", "configMap": {"name": "index"}}],
        "containers": [
            {
                "name": "index",
                "image": plain_python_image(),
                "imagePullPolicy": "IfNotPresent",
                "command": ["python3", "-u", "/index/server.py"],
                "volumeMounts": [{"name": "index", "mountPath": "/index"}],
                "readinessProbe": {"httpGet": {"path": "/healthz", "port": PORT}, "periodSeconds": 1},
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            }
        ],
    }
    namespace.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "index"},
            "data": {"server.py": text},
            "binaryData": {"wheel": base64.b64encode(TINY.content).decode()},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "index"},
            "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "index"},
            "spec": {"selector": labels, "ports": [{"port": PORT}]},
        },
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "index-login"},
            "stringData": {"username": LOGIN[0], "password": LOGIN[1]},
        },
    )
    namespace.until("deployments.apps", "index", lambda it: bool((it.get("status") or {}).get("availableReplicas")))
    return {"indexUrl": f"http://index.{namespace.namespace}:{PORT}/simple", "credentialsSecret": "index-login"}


def packaged(name: str, environment: Json, **files: str) -> Json:
    code = {
        "inline": {"train.py": textwrap.dedent(SCRIPT), **{key.replace("__", "."): text for key, text in files.items()}}
    }
    return run(
        name, SCRIPT, code=code, environment=environment, environmentVariables={"PART": LOGIN[1].partition("-")[0]}
    )


def fetched(namespace: Namespace) -> int:
    return namespace("logs", "deployments.apps/index").count("fetched")


def test_conda_and_requirements_files_from_a_private_index_and_a_cache_for_the_next_run(namespace: Namespace) -> None:
    packages = private_index(namespace)
    namespace.apply(workspace(packages=packages | {"cache": {"size": "1Gi"}}), experiment())

    namespace.apply(
        packaged("by-conda", {"condaFile": "conda.yml"}, conda__yml="dependencies:\n- python=3\n- tiny-thing\n")
    )
    first = namespace.ready("trainingrun", "by-conda", 240)["status"]
    assert first["metrics"] == {"answer": 42}
    assert fetched(namespace) >= 1

    before = fetched(namespace)
    namespace.apply(
        packaged("again", {"condaFile": "conda.yml"}, conda__yml="dependencies:\n- python=3\n- tiny-thing\n")
    )
    second = namespace.ready("trainingrun", "again", 240)["status"]
    assert fetched(namespace) == before, "the second run downloads nothing"
    assert second["digests"]["environment"] == first["digests"]["environment"]

    lock = artifact(namespace, first["tracking"]["runId"], "environment/requirements.lock")
    assert TINY.sha256 in lock and "index." not in lock
    namespace.apply(packaged("by-lock", {"requirementsFile": "requirements.txt"}, requirements__txt=lock))
    third = namespace.ready("trainingrun", "by-lock", 240)["status"]
    assert third["digests"]["environment"] == first["digests"]["environment"], "the lock is the same environment"

    everything = namespace("get", "trainingruns,jobs,pods,events", "-o", "json") + lock
    everything += namespace("logs", "job/by-conda-1", "--all-containers")
    assert LOGIN[1] not in everything


def test_a_login_that_is_missing_is_waited_for(namespace: Namespace) -> None:
    packages = private_index(namespace)
    namespace("delete", "secret", "index-login")
    namespace.apply(workspace(packages=packages), experiment())
    namespace.apply(packaged("patient", {"pip": ["tiny-thing"]}))
    waiting = namespace.until(
        "trainingrun", "patient", lambda it: "index-login" in condition(it, "Ready").get("message", ""), 120
    )
    assert condition(waiting, "Stalled") == {}
    login = {"username": LOGIN[0], "password": LOGIN[1]}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "index-login"}, "stringData": login}
    namespace.apply(secret)
    namespace.ready("trainingrun", "patient", 240)


def test_a_package_that_nobody_has_is_named_in_the_status(namespace: Namespace) -> None:
    packages = private_index(namespace)
    namespace.apply(workspace(packages=packages), experiment())
    namespace.apply(packaged("absent", {"conda": "dependencies:\n- tiny-thing\n- libodd\n- cudnn\n"}))
    message = condition(namespace.stalled("trainingrun", "absent", 240), "Stalled")["message"]
    assert "libodd (line 3)" in message and "cudnn (line 4)" in message


def artifact(namespace: Namespace, run_id: str, path: str) -> str:
    with tracking(namespace, "lab") as ask:
        found = json.loads(ask(f"api/2.0/mlflow/runs/get?run_id={run_id}"))["run"]["info"]["artifact_uri"]
        return ask(f"api/2.0/mlflow-artifacts/artifacts/{found.removeprefix('mlflow-artifacts:/')}/{path}")
