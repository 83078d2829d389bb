"""A measured program in a process of its own, as it runs in a cluster, with what the kernel knows of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

from bench.rows import CannotMeasure

REPOSITORY = Path(__file__).resolve().parents[3]
PEERS = REPOSITORY / "tests/bench/peers"
_TICKS = os.sysconf("SC_CLK_TCK")


class Program:
    """Runs from `with` to its end; whoever waits for its doings is told when it has died."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self._command, self._environment, self.log = command, environment, log
        self.started = 0.0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.started = time.time()
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command, env={**os.environ, **self._environment}, stdout=log, stderr=log
            )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        # Asked to end, so that it gives its lease back; insisted on, since a round must not outlive the next.
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)

    def wait(self, holds: Callable[[], bool], what: str, seconds: float = 180, every: float = 0.1) -> None:
        """Until it holds. CannotMeasure with the end of the log when the program ends before, or time does."""
        deadline = time.monotonic() + seconds
        while not holds():
            if self._process is None or self._process.poll() is not None:
                raise CannotMeasure(f"{self.log.stem} ended before there were {what}:\n{self._tail()}")
            if time.monotonic() > deadline:
                raise CannotMeasure(f"no {what} from {self.log.stem} after {seconds:.0f} s:\n{self._tail()}")
            time.sleep(every)

    def wait_until_idle(self, seconds: float = 3.0) -> None:
        """Until it has spent next to no CPU for so long: what a start leaves to do must not count for what comes then."""
        last, since = self.cpu_seconds, time.monotonic()

        def is_idle() -> bool:
            nonlocal last, since
            now = self.cpu_seconds
            if now - last > 0.02 * seconds:
                last, since = now, time.monotonic()
            return time.monotonic() - since > seconds

        self.wait(is_idle, "idle seconds")

    @property
    def resident_mib(self) -> float:
        for line in self._proc("status").splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise CannotMeasure(f"{self.log.stem} has no memory any more:\n{self._tail()}")

    @property
    def cpu_seconds(self) -> float:
        fields = self._proc("stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def _proc(self, name: str) -> str:
        assert self._process is not None
        return Path(f"/proc/{self._process.pid}/{name}").read_text()

    def _tail(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]


def ours(kubeconfig: Path, namespace: str, lease: str, port: int, log: Path) -> Program:
    """The operator from this repository, with the settings of an installation for one namespace."""
    settings = {
        "KUBECONFIG": str(kubeconfig),
        "SMALT_NAMESPACE": namespace,
        "SMALT_LEASE_NAMESPACE": namespace,
        "SMALT_LEASE_NAME": lease,
        "SMALT_METRICS_PORT": str(port),
        "PYTHONPATH": str(REPOSITORY / "operator/src"),
    }
    return Program([sys.executable, "-m", "smalt"], settings, log)


def naive(kubeconfig: Path, namespace: str, template: Path, log: Path) -> Program:
    """The operator that kopf's documentation leads to, by kopf's own command."""
    command = [sys.executable, "-m", "kopf", "run", "--standalone", "--namespace", namespace]
    environment = {"KUBECONFIG": str(kubeconfig), "JOB_TEMPLATE": str(template)}
    return Program([*command, str(PEERS / "naive_kopf.py")], environment, log)


def plain_loop(kubeconfig: Path, namespace: str, template: Path, count: int, log: Path) -> Program:
    """The official client making Jobs with nothing around it."""
    environment = {"KUBECONFIG": str(kubeconfig), "JOB_TEMPLATE": str(template)}
    return Program([sys.executable, str(PEERS / "plain_loop.py"), namespace, str(count)], environment, log)
