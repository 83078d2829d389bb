"""Reads the file of metrics that the script and its output are written to, line by line, and keeps count of steps."""

from __future__ import annotations

import json
import math
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Iterable, Optional

from smalt_trainer.exchange import open_plain
from smalt_trainer.run import name_problem


@dataclass(frozen=True)
class Point:
    """One value of one metric."""

    name: str
    value: float
    step: int
    time: int

    def as_json(self) -> dict[str, Any]:
        """As the tracking server takes it; JSON has no word for a number that is none, so it goes as text."""
        value: Any = self.value
        if math.isnan(value):
            value = "NaN"
        elif math.isinf(value):
            value = "Infinity" if value > 0 else "-Infinity"
        return {"key": self.name, "value": value, "timestamp": self.time, "step": self.step}


def append(spool: Path, points: Iterable[Point]) -> None:
    """Write points down as the script's own calls do."""
    lines = [{"metric": point.name, "value": point.value, "step": point.step, "time": point.time} for point in points]
    target = os.open(spool, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        os.write(target, b"".join(json.dumps(line).encode() + b"\n" for line in lines))
    finally:
        os.close(target)


def metric_line(line: bytes) -> Optional[bytes]:
    """The spool's line for a line of standard output that is a metric or says how far the script is, else None.

    Anything else a script prints is its own affair, also JSON that merely resembles one of them.
    """
    text = line.strip()
    if not (text.startswith(b"{") and text.endswith(b"}") and (b'"metric"' in text or b'"progress"' in text)):
        return None
    try:
        item = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if item.keys() == {"progress"}:
        percent = percent_of(item["progress"])
        return None if percent is None else json.dumps({"progress": percent}).encode() + b"\n"
    name, value, step = item.get("metric"), item.get("value"), item.get("step")
    if name_problem(name) or not _is_number(value) or not (step is None or _is_step(step)):
        return None
    point = {"metric": name, "value": float(value), "step": None if step is None else int(step), "time": _now()}
    return json.dumps(point).encode() + b"\n"


def percent_of(value: Any) -> Optional[float]:
    """A number from 0 to 100, or None."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and 0 <= value <= 100 else None


def _is_number(value: Any) -> bool:
    if isinstance(value, str):
        return value.lower() in ("nan", "inf", "-inf", "infinity", "-infinity")
    if isinstance(value, int):
        return not isinstance(value, bool) and abs(value) < 10**308
    return isinstance(value, float)


def _is_step(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == value and abs(value) < 2**63


def _now() -> int:
    return time.time_ns() // 1_000_000


@dataclass
class Spool:
    """The reader; values without a step are counted per name, whichever process logged them."""

    path: Path
    offset: int = 0
    unreadable: int = 0
    percent: Optional[float] = None
    tags: dict[str, str] = field(default_factory=dict)
    _steps: dict[str, int] = field(default_factory=dict)

    def read(self, limit: int) -> list[Point]:
        """The next points, at most so many; a line still being written stays for later."""
        opened = open_plain(self.path)
        if opened is None:
            return []
        points: list[Point] = []
        with opened as stream:
            stream.seek(self.offset, os.SEEK_SET)
            while len(points) < limit:
                line = stream.readline()
                if not line.endswith(b"\n"):
                    break
                self.offset += len(line)
                point = self._point(line)
                if point:
                    points.append(point)
        return points

    def _point(self, line: bytes) -> Optional[Point]:
        try:
            item = json.loads(line)
            if "tag" in item:
                if name_problem(item["tag"]) or not isinstance(item["value"], str):
                    raise ValueError(item["tag"])
                self.tags[item["tag"]] = item["value"][:5000]
                return None
            if "progress" in item:
                self.percent = percent_of(item["progress"])
                return None
            name, value, step = item["metric"], float(item["value"]), item["step"]
            stamp = int(item["time"])
            # Anybody in the pod can write to this file: what the server has no place for would stop all that follows.
            if name_problem(name) or not (step is None or _is_step(step)) or not _is_step(stamp):
                raise ValueError(name)
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            self.unreadable += 1
            return None
        if step is None:
            step = self._steps.get(name, -1) + 1
        self._steps[name] = int(step)
        return Point(name, value, int(step), stamp)
