"""A backup taken while runs are recorded holds every run that was there, and a restore brings back all of them."""

from __future__ import annotations

import io
import subprocess
import tarfile
import threading
from pathlib import Path
from typing import Any

import pytest

from support.postgres import Postgres
from support.tracking import SOURCE, TrackingServer, tracking_environment
from support.tracking_client import ask

RUNS = 20


def command(server: TrackingServer, *arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """As `kubectl exec` runs it beside the server."""
    environment = {"PYTHONPATH": str(SOURCE), "PYTHONDONTWRITEBYTECODE": "1", "SMALT_DATA": str(server.data)}
    asked = [str(tracking_environment()), "-m", "smalt_tracking", *arguments]
    return subprocess.run(asked, env=environment, input=given, capture_output=True)


def record(server: TrackingServer, name: str) -> str:
    """One run with a metric and an artifact."""
    experiment = "/api/2.0/mlflow/experiments"
    found = ask(server, "runs", "GET", f"{experiment}/get-by-name?experiment_name=ns/e").json().get("experiment")
    at = (found or ask(server, "runs", "POST", f"{experiment}/create", {"name": "ns/e"}).json())["experiment_id"]
    body = {"experiment_id": at, "run_name": name}
    run: str = ask(server, "runs", "POST", "/api/2.0/mlflow/runs/create", body).json()["run"]["info"]["run_id"]
    path = f"/api/2.0/mlflow-artifacts/artifacts/{at}/{run}/artifacts/note.txt"
    assert ask(server, "runs", "PUT", path, name).status == 200
    point = {"run_id": run, "key": "auc", "value": 0.5, "timestamp": 1}
    assert ask(server, "runs", "POST", "/api/2.0/mlflow/runs/log-metric", point).status == 200
    return run


def notes(server: TrackingServer) -> dict[str, str]:
    """Every run by its name, with what its artifact says."""
    found = ask(server, "scoring", "GET", "/api/2.0/mlflow/experiments/get-by-name?experiment_name=ns/e").json()
    at = found["experiment"]["experiment_id"]
    body: dict[str, Any] = {"experiment_ids": [at], "max_results": 1000}
    runs = ask(server, "scoring", "POST", "/api/2.0/mlflow/runs/search", body).json()["runs"]
    told = {}
    for run in runs:
        if not run["data"].get("metrics"):
            continue  # still being recorded when the backup was taken
        path = f"/api/2.0/mlflow-artifacts/artifacts/{at}/{run['info']['run_id']}/artifacts/note.txt"
        told[run["info"]["run_name"]] = ask(server, "scoring", "GET", path).json()
    return told


def test_no_run_is_lost_though_others_are_recorded_meanwhile() -> None:
    with TrackingServer() as server:
        for number in range(RUNS):
            record(server, f"before-{number}")
        over = threading.Event()

        def go_on() -> None:
            number = 0
            while not over.is_set():
                record(server, f"meanwhile-{number}")
                number += 1

        busy = threading.Thread(target=go_on)
        busy.start()
        taken = command(server, "backup")
        over.set()
        busy.join()
        assert taken.returncode == 0, taken.stderr
        assert b"backed up" in taken.stderr
    with TrackingServer() as other:
        put = command(other, "restore", given=taken.stdout)
        assert put.returncode == 0, put.stderr
        assert b"when the server starts next" in put.stderr
        other.restart()
        found = notes(other)
        assert {f"before-{number}" for number in range(RUNS)} <= found.keys()
        assert all(name == note for name, note in found.items())
        assert record(other, "after")
        other.restart()
        assert notes(other) == found | {"after": "after"}


API = "/api/2.0/mlflow"


def register(server: TrackingServer) -> str:
    """A model as the registry keeps one: a run of its user's, a file, and a version. The path of the file."""
    at = ask(server, "registry", "POST", f"{API}/experiments/create", {"name": "smalt-models"}).json()["experiment_id"]
    run = ask(server, "registry", "POST", f"{API}/runs/create", {"experiment_id": at}).json()["run"]["info"]["run_id"]
    file = f"/api/2.0/mlflow-artifacts/artifacts/{at}/{run}/artifacts/model/model.joblib"
    assert ask(server, "registry", "PUT", file, "weights").status == 200
    assert ask(server, "registry", "POST", f"{API}/registered-models/create", {"name": "churn"}).status == 200
    version = {"name": "churn", "source": f"mlflow-artifacts:/{at}/{run}/artifacts/model", "run_id": run}
    assert ask(server, "registry", "POST", f"{API}/model-versions/create", version).status == 200
    return file


def test_registered_models_come_back_and_runs_still_may_not_write_them() -> None:
    with TrackingServer() as server:
        record(server, "one")
        file = register(server)
        taken = command(server, "backup").stdout
    with TrackingServer() as other:
        assert command(other, "restore", given=taken).returncode == 0
        other.restart()
        assert ask(other, "scoring", "GET", file).json() == "weights"
        found = ask(other, "scoring", "GET", f"{API}/model-versions/get?name=churn&version=1")
        assert found.json()["model_version"]["source"].endswith("/artifacts/model")
        assert ask(other, "runs", "PUT", file, "other weights").status == 403
        assert ask(other, "registry", "PUT", file, "weights").status == 200


@pytest.fixture(scope="module")
def backup() -> bytes:
    with TrackingServer() as server:
        record(server, "one")
        return command(server, "backup").stdout


def test_a_server_with_runs_is_replaced_only_when_that_is_said(backup: bytes) -> None:
    with TrackingServer() as server:
        record(server, "other")
        refused = command(server, "restore", given=backup)
        assert refused.returncode == 1
        assert b"1 runs already" in refused.stderr and b"--replace" in refused.stderr
        server.restart()
        assert notes(server) == {"other": "other"}
        assert command(server, "restore", "--replace", given=backup).returncode == 0
        server.restart()
        assert notes(server) == {"one": "one"}


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> bytes:
    """A tar of one hostile member."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = kind, target
        tar.addfile(entry, io.BytesIO())
    return made.getvalue()


def test_what_is_no_whole_backup_changes_nothing(backup: bytes, tmp_path: Path) -> None:
    hostile = {
        "nothing": b"",
        "no tar": b"history" * 1000,
        "a part": backup[: len(backup) // 2],
        "a way out": member("artifacts/../../outside"),
        "a link": member("artifacts/link", tarfile.SYMTYPE, "/etc/passwd"),
        "another file": member("id_rsa"),
    }
    with TrackingServer() as server:
        record(server, "kept")
        for what, given in hostile.items():
            refused = command(server, "restore", "--replace", given=given)
            assert refused.returncode == 1 and refused.stderr.strip(), what
            assert b"Traceback" not in refused.stderr, what
        server.restart()
        assert notes(server) == {"kept": "kept"}
        assert not (server.data.parent / "outside").exists()


@pytest.mark.parametrize("moved", [0, 1, 2])
def test_a_start_that_is_killed_while_it_puts_back_is_carried_on_by_the_next(backup: bytes, moved: int) -> None:
    with TrackingServer() as server:
        assert command(server, "restore", given=backup).returncode == 0
        server.stop()
        staged = server.data / ".restored"
        for name in ("mlflow.db", "auth.db", "artifacts")[:moved]:
            target = server.data / name
            (server.data / ".replaced").mkdir(exist_ok=True)
            if target.exists():
                target.rename(server.data / ".replaced" / name)
            (staged / name).rename(target)
        server.start()
        assert notes(server) == {"one": "one"}


def test_a_database_elsewhere_is_backed_up_there(tmp_path: Path) -> None:
    with Postgres() as postgres, TrackingServer(database=postgres.uri) as server:
        record(server, "one")
        refused = command(server, "backup")
        assert refused.returncode == 1 and b"pg_dump" in refused.stderr
        postgres.dump(tmp_path / "history.sql")
        assert "one" in (tmp_path / "history.sql").read_text()
