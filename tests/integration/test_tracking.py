"""The tracking server as its image starts it: who may do what, by which name it is called, and what a restart keeps."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from support.tracking import REPOSITORY, SOURCE, USERS, TrackingServer, tracking_environment
from support.tracking_client import ask, basic

SERVICE = ("lab-tracking:5000", "lab-tracking.ns:5000", "lab-tracking.ns.svc:5000")
SERVICE_IN_FULL = "lab-tracking.ns.svc.cluster.local:5000"


@pytest.fixture(scope="module")
def server() -> Iterator[TrackingServer]:
    with TrackingServer(allowed_hosts=",".join((*SERVICE, SERVICE_IN_FULL))) as started:
        yield started


class Run(NamedTuple):
    experiment: str
    run: str

    def artifact(self, name: str) -> str:
        return f"/api/2.0/mlflow-artifacts/artifacts/{self.experiment}/{self.run}/artifacts/{name}"


@pytest.fixture(scope="module")
def run(server: TrackingServer) -> Run:
    """A run of an experiment, both made by the user runs, with one artifact."""
    experiment = ask(server, "runs", "POST", "/api/2.0/mlflow/experiments/create", {"name": "ns/first"}).json()
    created = ask(server, "runs", "POST", "/api/2.0/mlflow/runs/create", experiment).json()["run"]["info"]
    made = Run(experiment["experiment_id"], created["run_id"])
    assert created["artifact_uri"] == f"mlflow-artifacts:/{made.experiment}/{made.run}/artifacts"
    assert ask(server, "runs", "PUT", made.artifact("kept.txt"), "kept").status == 200
    return made


@pytest.fixture(scope="module")
def routes(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str]]:
    """What the application itself says that it answers."""
    folder = tmp_path_factory.mktemp("routes")
    for name in (*(f"{user}-password" for user in USERS), "flask-secret-key"):
        (folder / name).write_text(secrets.token_urlsafe(24))
    listed = subprocess.run(
        [str(tracking_environment()), str(REPOSITORY / "tests/support/tracking_routes.py"), str(folder), str(folder)],
        env={"PYTHONPATH": str(SOURCE), "PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
        check=True,
        capture_output=True,
        text=True,
    )
    return [(method, path) for method, path in json.loads(listed.stdout)]


def test_every_route_but_health_needs_a_password(server: TrackingServer, routes: list[tuple[str, str]]) -> None:
    assert len(routes) > 500
    for expected in (("PUT", "/api/2.0/mlflow-artifacts/artifacts/1"), ("POST", "/v1/traces"), ("GET", "/version")):
        assert expected in routes
    open_routes = {(method, path) for method, path in routes if ask(server, None, method, path).status != 401}
    assert open_routes == {("GET", "/health"), ("HEAD", "/health")}


def test_scoring_writes_on_no_route(server: TrackingServer, routes: list[tuple[str, str]]) -> None:
    writing = [(method, path) for method, path in routes if method not in ("GET", "HEAD")]
    allowed = {path for method, path in writing if ask(server, "scoring", method, path).status != 403}
    assert all(path.endswith("/search") for path in allowed), sorted(allowed)


@pytest.mark.parametrize(
    "header",
    ["", "Basic", "Basic !", "Basic YWRtaW4=", "Bearer x", basic("admin", ""), basic("admin", "wrong"), basic("", "")],
)
def test_other_credentials_are_refused_with_a_challenge(server: TrackingServer, header: str) -> None:
    answered = ask(server, None, "GET", "/api/3.0/mlflow/server-info", Authorization=header)
    assert answered.status == 401
    assert answered.headers["www-authenticate"].startswith("Basic ")


def test_one_users_password_is_not_anothers(server: TrackingServer) -> None:
    mixed = basic("admin", server.passwords["scoring"])
    assert ask(server, None, "GET", "/version", Authorization=mixed).status == 401


def test_the_page_opens_in_a_browser_that_has_logged_in(server: TrackingServer) -> None:
    page = ask(server, "admin", "GET", "/", Host="localhost:43210")
    assert page.status == 200
    assert b"<html" in page.body


def test_runs_writes_what_it_made_and_nobody_elses(server: TrackingServer, run: Run) -> None:
    metric = {"run_id": run.run, "key": "auc", "value": 0.9, "timestamp": 1}
    assert ask(server, "runs", "POST", "/api/2.0/mlflow/runs/log-metric", metric).status == 200
    other = ask(server, "admin", "POST", "/api/2.0/mlflow/experiments/create", {"name": "admin's"}).json()
    assert ask(server, "runs", "POST", "/api/2.0/mlflow/runs/create", other).status == 403
    experiment = other["experiment_id"]
    assert ask(server, "runs", "PUT", Run(experiment, "0" * 32).artifact("x"), "x").status == 403


@pytest.fixture(scope="module")
def registered(server: TrackingServer) -> Run:
    """A model's copy as the registry's user makes it, with a version in MLflow's model registry."""
    experiment = ask(server, "registry", "POST", f"{MLFLOW}/experiments/create", {"name": "smalt-models"}).json()
    run = ask(server, "registry", "POST", f"{MLFLOW}/runs/create", experiment).json()["run"]["info"]["run_id"]
    made = Run(experiment["experiment_id"], run)
    assert ask(server, "registry", "PUT", made.artifact("model/model.joblib"), "the model").status == 200
    assert ask(server, "registry", "POST", f"{MLFLOW}/registered-models/create", {"name": "churn"}).status == 200
    source = {"name": "churn", "source": f"mlflow-artifacts:/{made.experiment}/{run}/artifacts/model", "run_id": run}
    assert ask(server, "registry", "POST", f"{MLFLOW}/model-versions/create", source).status == 200
    return made


MLFLOW = "/api/2.0/mlflow"
VERSION = {"name": "churn", "version": "1"}
CHANGING = [
    ("POST", "runs/update", {"run_id": "RUN", "status": "FAILED"}),
    ("POST", "runs/delete", {"run_id": "RUN"}),
    ("POST", "runs/log-metric", {"run_id": "RUN", "key": "auc", "value": 1, "timestamp": 1}),
    ("POST", "runs/log-batch", {"run_id": "RUN", "tags": [{"key": "a", "value": "b"}]}),
    ("POST", "runs/set-tag", {"run_id": "RUN", "key": "smalt.model.uid", "value": "x"}),
    ("POST", "runs/create", {"experiment_id": "EXPERIMENT"}),
    ("POST", "experiments/update", {"experiment_id": "EXPERIMENT", "new_name": "mine"}),
    ("POST", "experiments/delete", {"experiment_id": "EXPERIMENT"}),
    ("POST", "experiments/set-experiment-tag", {"experiment_id": "EXPERIMENT", "key": "a", "value": "b"}),
    ("PATCH", "registered-models/update", {"name": "churn", "description": "x"}),
    ("POST", "registered-models/rename", {"name": "churn", "new_name": "mine"}),
    ("DELETE", "registered-models/delete", {"name": "churn"}),
    ("POST", "registered-models/set-tag", {"name": "churn", "key": "a", "value": "b"}),
    ("POST", "registered-models/alias", {"name": "churn", "alias": "production", "version": "1"}),
    ("POST", "model-versions/create", {"name": "churn", "source": "mlflow-artifacts:/1/x/artifacts/model"}),
    ("PATCH", "model-versions/update", VERSION | {"description": "x"}),
    ("POST", "model-versions/set-tag", VERSION | {"key": "digest", "value": "x"}),
    ("POST", "model-versions/transition-stage", VERSION | {"stage": "Production", "archive_existing_versions": False}),
    ("DELETE", "model-versions/delete", VERSION),
]


@pytest.mark.parametrize("user", ["runs", "scoring"])
def test_what_is_registered_is_read_by_all_and_changed_by_nobody_else(
    server: TrackingServer, registered: Run, run: Run, user: str
) -> None:
    place = registered.artifact("model/model.joblib")
    inside = f"{registered.experiment}/{registered.run}/artifacts/model/model.joblib"
    own = f"{run.experiment}/{run.run}/artifacts"
    for base in ("/api/2.0", "/ajax-api/2.0"):
        artifacts = f"{base}/mlflow-artifacts"
        for path in (
            f"{artifacts}/artifacts/{inside}",
            f"{artifacts}/artifacts//{inside}",
            f"{artifacts}/artifacts/./{inside}",
            f"{artifacts}/artifacts/{own}/../../../{inside}",
            f"{artifacts}/artifacts/{own}/%2e%2e/%2e%2e/%2e%2e/{inside}",
            f"{artifacts}/artifacts/{inside.replace('/', '%2F')}",
            f"{artifacts}/artifacts/{inside.replace('/', '%252F')}",
        ):
            for method in ("PUT", "DELETE"):
                ask(server, user, method, path, "altered" if method == "PUT" else None)
        for step in ("create", "complete", "abort"):
            body = {"path": inside, "num_parts": 1, "upload_id": "x", "parts": []}
            assert ask(server, user, "POST", f"{artifacts}/mpu/{step}/{inside}", body).status >= 400
        for method, route, given in CHANGING:
            text = json.dumps(given).replace("RUN", registered.run).replace("EXPERIMENT", registered.experiment)
            found = ask(server, user, method, f"{base}/mlflow/{route}", json.loads(text))
            assert found.status in (403, 404), (route, found.status)
    read = ask(server, user, "GET", place)
    assert read.status == 200 and read.json() == "the model"
    kept = ask(server, user, "GET", f"{MLFLOW}/model-versions/get?name=churn&version=1").json()["model_version"]
    assert kept["run_id"] == registered.run and not kept.get("tags") and not kept.get("description")
    shown = ask(server, user, "GET", f"{MLFLOW}/runs/get?run_id={registered.run}").json()["run"]
    assert shown["info"]["lifecycle_stage"] == "active" and shown["info"]["status"] == "RUNNING"


def test_scoring_reads_artifacts_and_changes_none(server: TrackingServer, run: Run) -> None:
    assert ask(server, "scoring", "GET", run.artifact("kept.txt")).json() == "kept"
    found = ask(server, "scoring", "POST", "/api/2.0/mlflow/runs/search", {"experiment_ids": [run.experiment]})
    assert [each["info"]["run_id"] for each in found.json()["runs"]] == [run.run]
    for method in ("PUT", "DELETE", "POST"):
        refused = ask(server, "scoring", method, run.artifact("kept.txt"), "changed")
        assert (refused.status, refused.json()["error_code"]) == (403, "PERMISSION_DENIED")
    multipart = run.artifact("search").replace("/artifacts/", "/mpu/create/", 1)
    assert ask(server, "scoring", "POST", multipart, {"path": "search", "num_parts": 1}).status == 403
    assert ask(server, "scoring", "GET", run.artifact("kept.txt")).json() == "kept"


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/2.0/mlflow/users/create"),
        ("PATCH", "/api/2.0/mlflow/users/update-password"),
        ("GET", "/ajax-api/3.0/mlflow/assistant/config"),
        ("POST", "/gateway/mlflow/v1/chat/completions"),
        ("POST", "/ajax-api/2.0/mlflow/gateway-proxy"),
        ("POST", "/api/2.0/mlflow/webhooks"),
        ("POST", "/ajax-api/3.0/jobs/"),
    ],
)
def test_accounts_and_ways_out_are_closed_to_all(server: TrackingServer, user: str, method: str, path: str) -> None:
    assert ask(server, user, method, path, {}).status == 403


def test_an_artifact_may_be_called_like_a_closed_route(server: TrackingServer, run: Run) -> None:
    for name in ("code/gateway/client.py", "outputs/model/api/2.0/mlflow/webhooks", "code/signup", "code/search"):
        assert ask(server, "runs", "PUT", run.artifact(name), name).status == 200
        assert ask(server, "scoring", "GET", run.artifact(name)).json() == name


@pytest.mark.parametrize("path", ["../../../auth.db", "%2e%2e/%2e%2e/%2e%2e/auth.db", "..%2f..%2f..%2fauth.db"])
def test_no_path_leads_out_of_the_artifacts(server: TrackingServer, run: Run, path: str) -> None:
    for user in USERS:
        assert ask(server, user, "GET", run.artifact(path)).status in (400, 403, 404)


@pytest.mark.parametrize("host", [*SERVICE, SERVICE_IN_FULL, "localhost:5000", "localhost:40001", "127.0.0.1:5000"])
def test_the_server_answers_to_its_services_names(server: TrackingServer, host: str) -> None:
    assert ask(server, "runs", "GET", "/api/3.0/mlflow/server-info", Host=host).status == 200


@pytest.mark.parametrize("host", ["evil.example", "other.ns:5000", "localhost.evil.example:5000", "lab-tracking.ns"])
def test_the_server_answers_to_no_other_name(server: TrackingServer, host: str) -> None:
    for path in ("/api/3.0/mlflow/server-info", "/api/2.0/mlflow/experiments/get?experiment_id=0"):
        assert ask(server, "admin", "GET", path, Host=host).status == 403


CLIENT = """
import mlflow, pathlib, sys
mlflow.set_experiment("ns/client")
with mlflow.start_run() as run:
    mlflow.log_metric("auc", 0.75)
    pathlib.Path("note.txt").write_text("noted")
    mlflow.log_artifact("note.txt")
print(run.info.run_id, mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="note.txt"))
"""


def test_the_plain_client_logs_as_runs(server: TrackingServer, tmp_path: Path) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "MLFLOW_TRACKING_URI": server.url,
        "MLFLOW_TRACKING_USERNAME": "runs",
        "MLFLOW_TRACKING_PASSWORD": server.passwords["runs"],
    }
    finished = subprocess.run(
        [sys.executable, "-c", CLIENT], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stderr
    run_id, downloaded = finished.stdout.strip().splitlines()[-1].split()
    assert Path(downloaded).read_text() == "noted"
    found = ask(server, "scoring", "GET", f"/api/2.0/mlflow/runs/get?run_id={run_id}").json()["run"]
    assert found["data"]["metrics"][0]["value"] == 0.75


def test_no_secret_is_in_the_log_or_the_arguments(server: TrackingServer) -> None:
    assert server.process is not None
    shown = server.log.read_text() + Path(f"/proc/{server.process.pid}/cmdline").read_text()
    for path in server.secrets.iterdir():
        assert path.read_text() not in shown, path.name
