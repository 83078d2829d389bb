"""The operator as a process of the test's own, ended with the block."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


class OperatorProcess:
    """`python -m smalt` with a kubeconfig; its log lies beside it."""

    def __init__(self, kubeconfig: Path, folder: Path, lease: str = "smalt-operator", **settings: str) -> None:
        self.folder, self.lease = folder, lease
        self.log_file = folder / f"operator-{time.monotonic_ns()}.log"
        self.environment = {
            "KUBECONFIG": str(kubeconfig),
            "SMALT_LEASE_NAME": lease,
            "SMALT_LEASE_NAMESPACE": "default",
            "SMALT_METRICS_PORT": "0",
            "PYTHONPATH": str(REPOSITORY / "operator/src"),
            **settings,
        }
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> OperatorProcess:
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "smalt"], env=os.environ | self.environment, stdout=log, stderr=log
            )
        return self

    def __exit__(self, *_: object) -> None:
        self.end(signal.SIGTERM)

    def end(self, how: signal.Signals) -> None:
        """Sends the signal and waits; nothing when it has ended already."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(how)
        self.process.wait(30)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def port(self) -> int:
        """The port of metrics and probes, as the log tells it."""
        found = re.search(r"metrics on port (\d+)", self.wait_for("metrics on port"))
        assert found
        return int(found[1])

    def wait_for(self, words: str, seconds: float = 30) -> str:
        """The log, once it has the words."""
        deadline = time.monotonic() + seconds
        while words not in (text := self.log()):
            assert self.process is not None and self.process.poll() is None, f"the operator has ended:\n{text[-3000:]}"
            assert time.monotonic() < deadline, f"{words!r} is not in the log:\n{text[-3000:]}"
            time.sleep(0.05)
        return text
