"""What recording costs a script: against mlflow.log_metric to the same server, and against the script alone.

Everything is real: the tracking server, wrapper and recorder as processes, and the clients that scripts use.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.rows import CannotMeasure, Row
from cluster.progress import step
from support.run_pod import SOURCE, RunPod, mlflow_variables
from support.tracking import TrackingServer

ROUNDS = 3
POINTS = 100_000
PEER_POINTS = 500
WORK_SECONDS = 8.0
SECONDS = 600.0

# Each prints the microseconds that a point took.
LOGS = """
import time
from smalt_trainer import run
run.log("loss", 1.0, 0)
began = time.perf_counter()
for step in range({points}): run.log("loss", 0.5, step)
print("us", (time.perf_counter() - began) / {points} * 1e6)
"""
PEER_LOGS = """
import time
import mlflow
mlflow.set_experiment("bench")
with mlflow.start_run():
    mlflow.log_metric("loss", 1.0, step=0)
    began = time.perf_counter()
    for step in range({points}): mlflow.log_metric("loss", 0.5, step=step)
    print("us", (time.perf_counter() - began) / {points} * 1e6)
"""
# So much work, counted and not timed, that a script which is disturbed by its recording takes longer.
WORKS = """
from smalt_trainer import run
total = 0
for epoch in range({epochs}):
    for number in range(20_000): total += number * number % 7
    run.log("loss", total / (epoch + 1), epoch)
    if epoch % 10 == 0: run.progress(epoch * 100 / {epochs})
"""


def measure(only: Sequence[str] = ()) -> list[Row]:
    """All rows; `only` some experiments by name, for whoever works on one of them."""
    rows: list[Row] = []
    experiments: tuple[Callable[[TrackingServer, Path], list[Row]], ...] = (points, whole_runs)
    with step("recording: a tracking server"), TrackingServer() as server, _compiled() as tools:
        for experiment in experiments:
            if not only or experiment.__name__ in only:
                with step(experiment.__name__):
                    rows += experiment(server, tools)
    return rows


def points(server: TrackingServer, tools: Path) -> list[Row]:
    """One logged value, as the script feels it."""
    ours, peer = [], []
    for _ in range(ROUNDS):
        ours.append(_printed(_run(server, tools, LOGS.format(points=POINTS))))
        variables = mlflow_variables(server.url, "runs", server.passwords["runs"])
        peer.append(_printed(_plain(PEER_LOGS.format(points=PEER_POINTS), variables)))
    return [Row("run.log against mlflow.log_metric, a point", "us", "<= 5", ours, peer, is_absolute=True)]


def whole_runs(server: TrackingServer, tools: Path) -> list[Row]:
    """A run from its first process to the end of its last, everything stored, and the same script alone."""
    script = WORKS.format(epochs=_epochs())
    ours, plain = [], []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        _run(server, tools, script)
        ours.append(time.perf_counter() - began)
        began = time.perf_counter()
        _plain(script, {})
        plain.append(time.perf_counter() - began)
    more = [run - alone for run, alone in zip(ours, plain, strict=True)]
    return [
        Row("a whole run, more than its script alone", "s", "<= 0.3", more),
        Row("a whole run against its script alone", "s", "<= 1.05", ours, plain),
    ]


def _epochs() -> int:
    """As many as this machine does in the time that the script is to take."""
    began = time.perf_counter()
    _plain(WORKS.format(epochs=200), {})
    return max(50, round(200 * WORK_SECONDS / (time.perf_counter() - began)))


@contextmanager
def _compiled() -> Iterator[Path]:
    """The trainer's programs as the image has them: compiled, and where nothing is written."""
    with tempfile.TemporaryDirectory(prefix="bench-tools-") as folder:
        tools = Path(folder) / "tools"
        shutil.copytree(SOURCE, tools)
        command = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", str(tools)]
        subprocess.run(command, check=True)
        yield tools


def _run(server: TrackingServer, tools: Path, script: str) -> str:
    """The script as a training run; what it printed."""
    limits = {"timeoutSeconds": SECONDS, "finalizingSeconds": SECONDS}
    with tempfile.TemporaryDirectory(prefix="bench-recording-") as folder:
        variables = mlflow_variables(server.url, "runs", server.passwords["runs"])
        pod = RunPod(Path(folder), variables, script, limits=limits)
        pod.recorder_tools = tools
        message = pod.start(tools=tools).finish(SECONDS)
        if message["outcome"] != "succeeded":
            raise CannotMeasure(f"the run failed: {message['message']}")
        return pod.out


def _plain(script: str, variables: dict[str, str]) -> str:
    """The script by itself, as on a laptop; what it printed."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(SOURCE),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        **variables,
    }
    ended = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise CannotMeasure(f"the plain script failed: {ended.stderr[-500:]}")
    return ended.stdout


def _printed(output: str) -> float:
    found = [line.split()[1] for line in output.splitlines() if line.startswith("us ")]
    if len(found) != 1:
        raise CannotMeasure(f"the script printed no measurement: {output[-500:]}")
    return float(found[0])
