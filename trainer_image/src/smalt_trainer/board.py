"""What can be said of an attempt while it goes on: its phase, how far it is, and the latest value of each metric."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Iterable, Mapping, Optional, Tuple

PREPARING, RUNNING, FINALIZING = "Preparing", "Running", "Finalizing"
# Names are the script's to choose: what is kept of them, here and by whoever asks, has an end.
MOST_METRICS = 256
# Of the machine, not of the model: MLflow shows them in a place of their own.
SYSTEM = "system/"


@dataclass
class Board:
    """Written by the threads that record, read by those that answer."""

    phase: str = PREPARING
    message: str = "the run is being prepared"
    points: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    percent: Optional[float] = None
    # How far the spool has been read for this.
    seen: int = 0
    _started_at: float = field(default_factory=time.time)
    _told_at: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def enter(self, phase: str, message: str) -> None:
        """What is done now, in a sentence."""
        with self._lock:
            if phase == RUNNING and self.phase != RUNNING:
                self._started_at = time.time()
            self.phase, self.message = phase, message

    def see(self, values: Iterable[Tuple[str, float]], upto: Optional[int] = None) -> None:
        """Values in the order they were logged. `upto` is how far the spool was read: what was seen stays seen."""
        with self._lock:
            if upto is not None:
                if upto <= self.seen:
                    return
                self.seen = upto
            for name, value in values:
                if name.startswith(SYSTEM):
                    continue
                self.points += 1
                if name in self.metrics or len(self.metrics) < MOST_METRICS:
                    self.metrics[name] = value

    def progress(self, percent: float) -> None:
        """How much of its work the script has done, in its own words."""
        with self._lock:
            self.percent, self._told_at = min(max(percent, 0.0), 100.0), time.time()

    def status(self) -> dict[str, Any]:
        """As `/status.json` shows it."""
        with self._lock:
            finite = {name: value for name, value in self.metrics.items() if math.isfinite(value)}
            shown: dict[str, Any] = {"phase": self.phase, "message": self.message[:1000]}
            if self.percent is not None:
                shown["progress"] = self._progress()
            return {**shown, "metrics": finite}

    def _progress(self) -> dict[str, Any]:
        assert self.percent is not None
        progress: dict[str, Any] = {"percent": round(self.percent, 2)}
        taken = self._told_at - self._started_at
        if self.phase == RUNNING and 0.0 < self.percent < 100.0 and taken > 0.0:
            left = taken * (100.0 - self.percent) / self.percent
            # As far as a year can be written down.
            if self._told_at + left < 200_000_000_000:
                end = datetime.fromtimestamp(self._told_at + left, timezone.utc)
                progress["estimatedCompletionTime"] = end.strftime("%Y-%m-%dT%H:%M:%SZ")
        return progress

    def exposition(self, labels: Mapping[str, str]) -> str:
        """As `/metrics` shows it: Prometheus' text format."""
        with self._lock:
            common = ",".join(f"{name}={_quoted(value)}" for name, value in labels.items())
            lines = [
                "# HELP smalt_run_metric The latest value of each metric that the run has logged.",
                "# TYPE smalt_run_metric gauge",
                *(
                    f"smalt_run_metric{{{common},metric={_quoted(name)}}} {_number(value)}"
                    for name, value in self.metrics.items()
                ),
                "# HELP smalt_run_points_total Values that the run has logged.",
                "# TYPE smalt_run_points_total counter",
                f"smalt_run_points_total{{{common}}} {self.points}",
            ]
            if self.percent is not None:
                lines += [
                    "# HELP smalt_run_progress_percent How much of its work the run says it has done.",
                    "# TYPE smalt_run_progress_percent gauge",
                    f"smalt_run_progress_percent{{{common}}} {_number(self.percent)}",
                ]
        return "\n".join([*lines, ""])


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return ("+Inf" if value > 0 else "-Inf") if math.isinf(value) else repr(value)
