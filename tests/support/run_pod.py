"""A run's pod without a cluster: wrapper and recorder as processes in a folder of their own, with the operator's contract."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.tracking import free_port

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
        # What the image of the script has, and nothing of the tracking server.
        self.variables = {
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "HOME": str(folder / "home"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "SMALT_ROOT": str(folder),
            "SMALT_CONTROL_GROUPS": str(folder / "cgroup"),
        }
        self.port = free_port()
        self.recorder_tools = SOURCE
        self.recorder_variables = {
            "PYTHONDONTWRITEBYTECODE": "1",
            "SMALT_ROOT": str(folder),
            "SMALT_PAGE_PORT": str(self.port),
            **tracking,
        }
        self.training: subprocess.Popen[bytes] | None = None
        self.recorder: subprocess.Popen[bytes] | None = None

    def fetch(self, announce: int | None = None, **secrets: dict[str, str]) -> dict[str, Any]:
        """The init container that brings what the contract names, with a Secret by purpose; its last words.

        It tells how it goes at the port `announce`.
        """
        for purpose, values in secrets.items():
            folder = self.folder / "credentials" / purpose.replace("_", "-")
            folder.mkdir(parents=True, exist_ok=True)
            for key, value in values.items():
                (folder / key).write_text(value)
        variables = {"PATH": self.variables["PATH"], **self.recorder_variables}
        told = ["--announce", str(announce)] if announce else []
        process = self._started([sys.executable, "-s", "-u", str(SOURCE), "fetch", *told], variables, "fetch-")
        code = process.wait(120)
        message = self._words("termination-log")
        assert (code == 0) == (message["outcome"] == "succeeded"), self.err
        return message

    def start(self, python: str = sys.executable, tools: Path = SOURCE) -> RunPod:
        """Start the wrapper from the folder of the tools, the recorder beside it, and return at once."""
        self.start_recorder()
        return self.start_training(python, tools)

    def start_training(self, python: str = sys.executable, tools: Path = SOURCE) -> RunPod:
        """The user's container, after the one that makes its environment."""
        if self.contract["environment"].keys() - {"image"}:
            self._write_contract()
            self.prepare(python, tools)
        self.training = self._started([python, "-s", "-u", str(tools), "run"], self.variables, "")
        return self

    def start_recorder(self) -> RunPod:
        """Our own container alone."""
        command = [sys.executable, "-s", "-u", str(self.recorder_tools), "record"]
        self.recorder = self._started(command, self.recorder_variables, "recorder-")
        return self

    def _started(self, command: list[str], variables: dict[str, str], prefix: str) -> subprocess.Popen[bytes]:
        self._write_contract()
        with (self.folder / f"{prefix}out.log").open("wb") as out, (self.folder / f"{prefix}err.log").open("wb") as err:
            return subprocess.Popen(command, env=variables, cwd=self.folder, stdout=out, stderr=err)

    def _write_contract(self) -> None:
        for name in ("run", "home"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "run/run.json").write_text(json.dumps(self.contract))

    def prepare(self, python: str = sys.executable, tools: Path = SOURCE) -> None:
        """What the init container `environment` does, in the same image."""
        contract, into = self.folder / "run/run.json", self.folder / "environment"
        command = [python, "-s", "-u", str(tools), "environment", "--from", str(contract), "--into", str(into)]
        command += ["--cache", str(self.folder / "cache")]
        subprocess.run(command, env=self.variables, cwd=self.folder, check=True, timeout=60)

    def finish(self, seconds: float = 60) -> dict[str, Any]:
        """Wait for both and return the recorder's last words; exit codes must agree with what was said."""
        until = time.monotonic() + seconds
        assert self.training is not None and self.recorder is not None
        codes = [self._ended(process, until) for process in (self.training, self.recorder)]
        message = self.message
        assert codes[1] == (0 if message["outcome"] == "succeeded" else 1), self.err
        assert codes[0] in (-9, 0 if self.training_message["outcome"] == "succeeded" else 1), self.err
        assert codes[0] == 0 or codes[1] != 0, f"the script failed, and the recorder says it is well:\n{self.err}"
        return message

    def _ended(self, process: subprocess.Popen[bytes], until: float) -> int:
        if process.poll() is not None:  # its number may be another's by now
            return process.returncode
        # Not process.wait(timeout), which looks now and then, and would be up to 50 ms late.
        end = os.pidfd_open(process.pid)
        try:
            ended, _, _ = select.select([end], [], [], max(until - time.monotonic(), 0.0))
        finally:
            os.close(end)
        if not ended:
            self.kill()
            raise AssertionError(f"the pod did not end in time:\n{self.err}")
        return process.wait()

    def run(self, seconds: float = 60) -> dict[str, Any]:
        """Start, wait, and return the recorder's last words."""
        return self.start().finish(seconds)

    def page(self, path: str) -> str:
        """What the recorder shows whoever asks the pod; empty while it does not listen yet."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return str(answer.read(), "utf-8")
        except ConnectionError:
            return ""
        except urllib.error.URLError as error:
            if isinstance(error.reason, ConnectionError):
                return ""
            raise

    def kill(self) -> None:
        """What a node that is lost does: nothing is written any more."""
        for process in (self.training, self.recorder):
            if process is not None:
                process.kill()
                process.wait()

    def terminate(self) -> None:
        """What the kubelet does when the pod is deleted."""
        for process in (self.training, self.recorder):
            if process is not None:
                process.send_signal(signal.SIGTERM)

    @property
    def message(self) -> dict[str, Any]:
        """The recorder's termination message as the kubelet would report it."""
        return self._words("recorder-termination-log")

    @property
    def training_message(self) -> dict[str, Any]:
        """The wrapper's."""
        return self._words("termination-log")

    def _words(self, name: str) -> dict[str, Any]:
        raw = (self.folder / name).read_bytes()
        assert len(raw) <= 4096
        message = json.loads(raw)
        assert isinstance(message, dict)
        return message

    @property
    def out(self) -> str:
        """What the user's container printed."""
        return (self.folder / "out.log").read_text()

    @property
    def err(self) -> str:
        """What the containers printed as errors, our own lines included."""
        files = [self.folder / f"{prefix}err.log" for prefix in ("fetch-", "", "recorder-")]
        return "".join(file.read_text() for file in files if file.exists())


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Poll until something holds; says what did not come to pass."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"{what} did not happen within {seconds} s"
        time.sleep(0.02)


def mlflow_variables(url: str, user: str, password: str) -> dict[str, str]:
    """The tracking variables of a run's pod."""
    return {"MLFLOW_TRACKING_URI": url, "MLFLOW_TRACKING_USERNAME": user, "MLFLOW_TRACKING_PASSWORD": password}
