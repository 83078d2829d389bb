"""A run's pod without a cluster: the wrapper as a process in a folder of its own, with the contract the operator writes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCE = REPOSITORY / "trainer_image/src"


class RunPod:
    """One pod: write its contract, start it, read what it left behind."""

    def __init__(self, folder: Path, tracking: dict[str, str], script: str, **changes: Any) -> None:
        self.folder = folder
        self.contract: dict[str, Any] = {
            "version": 1,
            "run": {"namespace": "team-a", "name": "churn-1", "uid": str(uuid.uuid4()), "attempt": 1},
            "workspace": "lab",
            "experiment": "churn",
            "command": "python train.py",
            "code": {"inline": {"train.py": script}},
            "environmentVariables": {},
            "parameters": {},
            "inputs": {},
            "outputs": {},
            "environment": {},
            "image": "smalt/trainer:0.1.0",
            "limits": {"timeoutSeconds": 60, "finalizingSeconds": 60},
            **changes,
        }
        self.variables = {
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "HOME": str(folder / "home"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "SMALT_ROOT": str(folder),
            "SMALT_CONTROL_GROUPS": str(folder / "cgroup"),
            **tracking,
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, python: str = sys.executable, tools: Path = SOURCE) -> RunPod:
        """Start the wrapper from the folder of the tools and return at once."""
        for name in ("run", "home"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "run/run.json").write_text(json.dumps(self.contract))
        command = [python, "-s", "-u", str(tools), "run"]
        with (self.folder / "out.log").open("wb") as out, (self.folder / "err.log").open("wb") as err:
            self.process = subprocess.Popen(command, env=self.variables, cwd=self.folder, stdout=out, stderr=err)
        return self

    def finish(self, seconds: float = 60) -> dict[str, Any]:
        """Wait for the wrapper and return its termination message; its exit code must agree with it."""
        assert self.process is not None
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the wrapper did not end within {seconds} s:\n{self.err}") from None
        message = self.message
        assert code == (0 if message["outcome"] == "succeeded" else 1), self.err
        return message

    def run(self, seconds: float = 60) -> dict[str, Any]:
        """Start, wait, and return the termination message."""
        return self.start().finish(seconds)

    def kill(self) -> None:
        """What a node that is lost does: nothing is written any more."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def terminate(self) -> None:
        """What the kubelet does when the pod is deleted."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)

    @property
    def message(self) -> dict[str, Any]:
        """The termination message as the kubelet would report it."""
        raw = (self.folder / "termination-log").read_bytes()
        assert len(raw) <= 4096
        message = json.loads(raw)
        assert isinstance(message, dict)
        return message

    @property
    def out(self) -> str:
        """What the pod printed."""
        return (self.folder / "out.log").read_text()

    @property
    def err(self) -> str:
        """What the pod printed as errors, the wrapper's own lines included."""
        return (self.folder / "err.log").read_text()


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 30) -> None:
    """Poll until something holds; says what did not come to pass."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"{what} did not happen within {seconds} s"
        time.sleep(0.02)


def mlflow_variables(url: str, user: str, password: str) -> dict[str, str]:
    """The tracking variables of a run's pod."""
    return {"MLFLOW_TRACKING_URI": url, "MLFLOW_TRACKING_USERNAME": user, "MLFLOW_TRACKING_PASSWORD": password}
