"""A hundred thousand logged values are all at the real server at the end, whatever happens to it or to the script."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.run_pod import RunPod, mlflow_variables, wait_until
from support.tracking import TrackingServer

POINTS = 100_000
SECONDS = 240
SCRIPT = f"""
import os, pathlib, sys, time
from smalt_trainer import run
pathlib.Path("pid").write_text(str(os.getpid()))
for step in range({POINTS // 2}): run.log("loss", 1 / (step + 1), step)
pathlib.Path("half").touch()
while not os.path.exists("go"): time.sleep(0.02)
for step in range({POINTS // 2}, {POINTS}): run.log("loss", 1 / (step + 1), step)
pathlib.Path("all").touch()
"""


@pytest.fixture(scope="module")
def server() -> Iterator[TrackingServer]:
    with TrackingServer() as started:
        yield started


@pytest.fixture
def pod(server: TrackingServer, tmp_path: Path) -> Iterator[RunPod]:
    limits = {"timeoutSeconds": SECONDS, "finalizingSeconds": SECONDS}
    variables = mlflow_variables(server.url, "runs", server.passwords["runs"])
    made = RunPod(tmp_path, variables, SCRIPT, limits=limits)
    yield made
    made.kill()


def recorded(server: TrackingServer, message: dict[str, Any]) -> list[tuple[int, float]]:
    """Steps and values as the server's database has them."""
    database = sqlite3.connect(f"file:{server.data / 'mlflow.db'}?mode=ro", uri=True)
    query = "select step, value from metrics where run_uuid = ? and key = 'loss' order by step"
    found = database.execute(query, (message["tracking"]["runId"],)).fetchall()
    database.close()
    return found


def check_all_are_there(server: TrackingServer, message: dict[str, Any]) -> None:
    found = recorded(server, message)
    assert len(found) == POINTS
    assert found == [(step, 1 / (step + 1)) for step in range(POINTS)]
    assert message["metrics"] == {"loss": 1 / POINTS}


def half_done(pod: RunPod) -> Path:
    """Start it; the folder of the code, when half of the values are logged."""
    code = pod.folder / "work/code"
    pod.start()
    wait_until((code / "half").exists, "half of the values", SECONDS)
    return code


def test_a_server_that_is_killed_and_restarted_in_the_middle(server: TrackingServer, pod: RunPod) -> None:
    code = half_done(pod)
    server.kill()
    try:
        (code / "go").touch()
        wait_until((code / "all").exists, "the script's going on without the server", SECONDS)
    finally:
        server.start()
    message = pod.finish(SECONDS)
    assert message["outcome"] == "succeeded", pod.err
    check_all_are_there(server, message)


def test_a_run_that_fails(server: TrackingServer, pod: RunPod) -> None:
    pod.contract["code"] = {"inline": {"train.py": SCRIPT + "raise ValueError('no column churned')"}}
    (half_done(pod) / "go").touch()
    message = pod.finish(SECONDS)
    assert (message["reason"], message["exitCode"]) == ("ScriptFailed", 1)
    check_all_are_there(server, message)


def test_a_script_that_is_killed(server: TrackingServer, pod: RunPod) -> None:
    pod.contract["code"] = {"inline": {"train.py": SCRIPT + "os.kill(os.getpid(), 9)"}}
    (half_done(pod) / "go").touch()
    message = pod.finish(SECONDS)
    assert (message["outcome"], message["exitCode"]) == ("failed", 137)
    check_all_are_there(server, message)


def test_a_container_that_is_killed_with_its_wrapper(server: TrackingServer, pod: RunPod) -> None:
    pod.contract["code"] = {"inline": {"train.py": SCRIPT + "time.sleep(600)"}}
    code = half_done(pod)
    (code / "go").touch()
    wait_until((code / "all").exists, "all values", SECONDS)
    assert pod.training is not None
    pod.training.kill()
    os.kill(int((code / "pid").read_text()), signal.SIGKILL)
    message = pod.finish(SECONDS)
    assert (message["reason"], message["provisional"]) == ("Interrupted", True)
    check_all_are_there(server, message)
