"""How the tracking server starts: soon after its imports, within its memory, with the passwords of now, or not at all."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from support.tracking import USERS, TrackingFailed, TrackingServer, tracking_environment
from support.tracking_client import ask, basic

# Of the time that MLflow's own modules take to be imported.
READY_RATIO = 3
RESIDENT_MIB = 320
IMPORTING = {"PATH": "/usr/bin:/bin", "MLFLOW_FLASK_SERVER_SECRET_KEY": "of no use", "PYTHONDONTWRITEBYTECODE": "1"}


def imports_seconds() -> float:
    """What no start can do without, measured now: this machine may be slow, or busy."""
    started = time.monotonic()
    subprocess.run([str(tracking_environment()), "-c", "import mlflow.server.auth"], check=True, env=IMPORTING)
    return time.monotonic() - started


def test_ready_within_its_time_and_memory(tmp_path: Path) -> None:
    imports = imports_seconds()
    started = time.monotonic()
    with TrackingServer() as fresh:
        seconds = time.monotonic() - started
        assert fresh.process is not None
        ask(fresh, "admin", "GET", "/")
        status = Path(f"/proc/{fresh.process.pid}/status").read_text()
        resident = int(status.split("VmRSS:")[1].split()[0]) / 1024
    assert seconds <= READY_RATIO * max(imports, imports_seconds())
    assert resident <= RESIDENT_MIB


def test_other_passwords_in_the_files_hold_at_once_and_history_stays(tmp_path: Path) -> None:
    with TrackingServer() as own:
        ask(own, "runs", "POST", "/api/2.0/mlflow/experiments/create", {"name": "ns/kept"})
        old = dict(own.passwords)
        own.new_passwords()
        for _ in ("while it runs", "after a restart"):
            for user in USERS:
                assert ask(own, None, "GET", "/version", Authorization=basic(user, old[user])).status == 401
                assert ask(own, user, "GET", "/version").status == 200
            found = ask(own, "runs", "GET", "/api/2.0/mlflow/experiments/get-by-name?experiment_name=ns/kept").json()
            assert ask(own, "runs", "POST", "/api/2.0/mlflow/runs/create", found["experiment"]).status == 200
            own.restart()


@pytest.mark.parametrize("name", ["admin-password", "scoring-password", "registry-password", "flask-secret-key"])
def test_a_missing_secret_is_named_and_nothing_is_served(tmp_path: Path, name: str) -> None:
    own = TrackingServer()
    (own.secrets / name).unlink()
    with pytest.raises(TrackingFailed, match=f"add the key {name} to the Secret"), own:
        pass


def test_a_host_that_would_let_every_name_in_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrackingFailed, match="only its port may be"), TrackingServer(allowed_hosts="*.ns:5000"):
        pass
