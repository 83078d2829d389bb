"""What the script uses of the machine, sampled into the spool under the names that MLflow shows as system metrics.

The wrapper does it: its control group is the script's, which the recorder in its own container cannot see.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import Callable, Optional

from smalt_trainer.board import SYSTEM
from smalt_trainer.memory import memory_limit

FIRST = 1.0
EVERY = 10.0
_MEGABYTE = 1e6


class Usage:
    """Samples from a thread of its own until it is stopped, and then once more."""

    def __init__(self, groups: Path, log: Callable[[str, float], None], processes: Path = Path("/proc")) -> None:
        self._groups, self._processes, self._log = groups, processes, log
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="usage", daemon=True)
        self._smi = shutil.which("nvidia-smi")
        self._before = self._busy()

    def start(self) -> None:
        """Begin to sample."""
        self._thread.start()

    def stop(self) -> None:
        """The last sample has been taken when this returns."""
        self._over.set()
        self._thread.join(10.0)

    def _work(self) -> None:
        pause = FIRST
        while not self._over.wait(pause):
            self.sample()
            pause = EVERY
        # Without the cards: their tool takes its time, for which the run's end would wait.
        self.sample(with_gpus=False)

    def sample(self, with_gpus: bool = True) -> None:
        """One value of everything that can be read here."""
        for name, value in {**self._cpu(), **self._memory(), **(self._gpus() if with_gpus else {})}.items():
            self._log(SYSTEM + name, value)

    # --- CPU ---

    def _busy(self) -> Optional[tuple[float, float]]:
        """The clock, and the seconds that all CPUs together have worked for the container (or for the whole machine)."""
        for path, unit in ((self._groups / "cpu.stat", 1e-6), (self._groups / "cpuacct" / "cpuacct.usage", 1e-9)):
            words = _text(path).split()
            if words and words[0] == "usage_usec":
                words = words[1:]
            if words and words[0].isdigit():
                return time.monotonic(), int(words[0]) * unit
        words = _text(self._processes / "stat").split("\n")[0].split()[1:9]
        if len(words) < 8:
            return None
        ticks = sum(int(word) for word in words) - int(words[3]) - int(words[4])
        return time.monotonic(), ticks / os.sysconf("SC_CLK_TCK")

    def _cpu(self) -> dict[str, float]:
        before, now = self._before, self._busy()
        self._before = now
        if not before or not now or now[0] - before[0] < 0.01:
            return {}
        used = (now[1] - before[1]) / (now[0] - before[0]) / self._cpus()
        return {"cpu_utilization_percentage": round(max(used, 0.0) * 100, 1)}

    def _cpus(self) -> float:
        """How many the container may use."""
        quota, _, period = _text(self._groups / "cpu.max").strip().partition(" ")
        if not quota:
            quota = _text(self._groups / "cpu" / "cpu.cfs_quota_us").strip()
            period = _text(self._groups / "cpu" / "cpu.cfs_period_us").strip()
        if quota.isdigit() and period.isdigit() and int(period):
            return int(quota) / int(period)
        return float(len(os.sched_getaffinity(0)))

    # --- memory ---

    def _memory(self) -> dict[str, float]:
        """What is in use and cannot be given back at once, as the kubelet counts it."""
        machine = {
            name: int(rest.split()[0]) * 1024
            for name, _, rest in (line.partition(":") for line in _text(self._processes / "meminfo").splitlines())
            if rest.split()
        }
        used = _number(self._groups / "memory.current", self._groups / "memory" / "memory.usage_in_bytes")
        if used is None:
            used = machine.get("MemTotal", 0) - machine.get("MemAvailable", 0)
        else:
            used -= self._inactive()
        total = memory_limit(self._groups) or machine.get("MemTotal")
        made = {"system_memory_usage_megabytes": round(max(used, 0) / _MEGABYTE, 1)}
        return {**made, "system_memory_usage_percentage": round(max(used, 0) / total * 100, 1)} if total else made

    def _inactive(self) -> int:
        for path, key in (
            (self._groups / "memory.stat", "inactive_file"),
            (self._groups / "memory" / "memory.stat", "total_inactive_file"),
        ):
            for line in _text(path).splitlines():
                name, _, value = line.partition(" ")
                if name == key and value.isdigit():
                    return int(value)
        return 0

    # --- GPUs ---

    def _gpus(self) -> dict[str, float]:
        if not self._smi:
            return {}
        query = [
            self._smi,
            "--query-gpu=index,utilization.gpu,memory.used,memory.total",
            "--format=csv,noheader,nounits",
        ]
        try:
            told = subprocess.run(query, capture_output=True, text=True, timeout=5, check=True).stdout
        except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
            return {}  # a driver that is just being loaded, or none for this container; asked again next time
        made: dict[str, float] = {}
        for line in told.splitlines():
            try:
                index, busy, used, total = (float(word) for word in line.split(","))
            except ValueError:
                continue  # `[N/A]`: a card that does not tell
            name = f"gpu_{index:.0f}"
            made[f"{name}_utilization_percentage"] = busy
            made[f"{name}_memory_usage_megabytes"] = round(used * (1 << 20) / _MEGABYTE, 1)
            if total:
                made[f"{name}_memory_usage_percentage"] = round(used / total * 100, 1)
        return made


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""


def _number(*paths: Path) -> Optional[int]:
    for path in paths:
        text = _text(path).strip()
        if text.isdigit():
            return int(text)
    return None
