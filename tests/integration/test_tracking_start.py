"""How the tracking server starts: within its time and memory, with the passwords of now, or not at all."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from support.tracking import USERS, TrackingFailed, TrackingServer
from support.tracking_client import ask, basic

READY_SECONDS = 12
RESIDENT_MIB = 320


def test_ready_within_its_time_and_memory(tmp_path: Path) -> None:
    started = time.monotonic()
    with TrackingServer() as fresh:
        seconds = time.monotonic() - started
        assert fresh.process is not None
        ask(fresh, "admin", "GET", "/")
        status = Path(f"/proc/{fresh.process.pid}/status").read_text()
        resident = int(status.split("VmRSS:")[1].split()[0]) / 1024
    assert seconds <= READY_SECONDS
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


@pytest.mark.parametrize("name", ["admin-password", "scoring-password", "flask-secret-key"])
def test_a_missing_secret_is_named_and_nothing_is_served(tmp_path: Path, name: str) -> None:
    own = TrackingServer()
    (own.secrets / name).unlink()
    with pytest.raises(TrackingFailed, match=f"add the key {name} to the Secret"), own:
        pass


def test_a_host_that_would_let_every_name_in_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrackingFailed, match="only its port may be"), TrackingServer(allowed_hosts="*.ns:5000"):
        pass
