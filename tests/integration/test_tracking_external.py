"""A run is recorded by an MLflow server that somebody else runs, which knows nothing of Smalt."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from smalt_trainer.tracking import Tracking
from support.run_pod import RunPod
from support.tracking import free_port, tracking_environment

SCRIPT = """
import os, pathlib
import mlflow
from smalt_trainer import run
run.log("auc", 0.91)
mlflow.log_metric("plain", 0.5)
pathlib.Path(os.environ["SMALT_OUTPUTS_model"], "weights.bin").write_bytes(b"w" * 1000)
"""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """MLflow's own command, without authentication, as a team may have it for years."""
    folder = tmp_path_factory.mktemp("mlflow")
    port = free_port()
    python = tracking_environment()
    options = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    options += ["--backend-store-uri", f"sqlite:///{folder}/theirs.db", "--artifacts-destination", str(folder / "kept")]
    variables = {
        "PATH": f"{python.parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    with (folder / "log").open("wb") as log:
        command = [str(python), "-m", "mlflow", "server", *options]
        server = subprocess.Popen(command, env=variables, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    try:
        until = time.monotonic() + 120
        while True:
            assert server.poll() is None and time.monotonic() < until, (folder / "log").read_text()
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(20)


def test_everything_of_a_run_is_there(url: str, tmp_path: Path) -> None:
    pod = RunPod(tmp_path, {"MLFLOW_TRACKING_URI": url}, SCRIPT, outputs={"model": {"type": "customModel"}})
    message = pod.run(120)
    assert message["outcome"] == "succeeded", pod.err
    assert message["metrics"] == {"auc": 0.91, "plain": 0.5}
    run = Tracking(url).call("GET", "runs/get", run_id=message["tracking"]["runId"])["run"]
    assert run["info"]["status"] == "FINISHED"
    place = f"{message['tracking']['experimentId']}/{message['tracking']['runId']}/artifacts"
    stored = f"{url}/api/2.0/mlflow-artifacts/artifacts/{place}/outputs/model/weights.bin"
    with urllib.request.urlopen(stored, timeout=30) as answer:
        assert answer.read() == b"w" * 1000
