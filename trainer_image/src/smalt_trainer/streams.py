"""What the script prints: to the pod's log as it comes, to a file that is kept, and through the eye for metrics."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import IO, Callable, Optional

from smalt_trainer.spool import metric_line

_CHUNK = 1 << 16
_TAIL = 1 << 16
_LONGEST_METRIC = 1 << 14
# A script that prints without end must not fill the volume its outputs are to be written to.
KEPT = 100 << 20


class Stream:
    """One of the script's two streams, read by a thread of its own until it ends."""

    def __init__(
        self, source: IO[bytes], echo: int, file: Path, on_line: Optional[Callable[[bytes], None]] = None
    ) -> None:
        self._source, self._echo, self._file, self._on_line = source, echo, file, on_line
        self._partial = b""
        self._tail = b""
        self._kept = 0
        self.problems: list[str] = []
        self._thread = threading.Thread(target=self._work, name=file.name, daemon=True)
        self._thread.start()

    def finish(self, seconds: float) -> None:
        """Wait for the stream's end; a process that got away may hold it open, and is not waited for."""
        self._thread.join(seconds)

    @property
    def tail(self) -> str:
        """The last that was printed."""
        return self._tail.decode("utf-8", "replace")

    def _work(self) -> None:
        with self._file.open("ab", buffering=0) as kept:
            while True:
                piece = os.read(self._source.fileno(), _CHUNK)
                if not piece:
                    break
                # Whatever fails here, the script's pipe is read on: it must not block for want of a reader.
                self._guarded("the pod's log", _write_all, self._echo, piece)
                self._guarded(self._file.name, self._keep, kept, piece)
                self._tail = (self._tail + piece)[-_TAIL:]
                self._guarded("the metrics", self._lines, piece)
        if self._on_line and self._partial:
            self._guarded("the metrics", self._lines, b"\n")

    def _guarded(self, what: str, action: Callable[..., None], *arguments: object) -> None:
        try:
            action(*arguments)
        except Exception as error:
            problem = f"{what}: {error if isinstance(error, OSError) else f'{type(error).__name__}: {error}'}"
            if problem not in self.problems:
                self.problems.append(problem)

    def _keep(self, kept: IO[bytes], piece: bytes) -> None:
        if self._kept >= KEPT:
            return
        self._kept += len(piece)
        _write_all(kept.fileno(), piece)
        if self._kept >= KEPT:
            _write_all(
                kept.fileno(), f"\n[smalt] more than {KEPT >> 20} MiB were printed, the rest is not kept\n".encode()
            )

    def _lines(self, piece: bytes) -> None:
        if not self._on_line:
            return
        lines = (self._partial + piece).split(b"\n")
        self._partial = lines.pop()[-_LONGEST_METRIC:]
        for line in lines:
            if len(line) <= _LONGEST_METRIC:
                self._on_line(line)


def spooler(spool: Path) -> Callable[[bytes], None]:
    """Takes lines of standard output and appends those that are metrics to the spool."""
    target = os.open(spool, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def take(line: bytes) -> None:
        metric = metric_line(line)
        if metric:
            _write_all(target, metric)

    return take


def system_logger(spool: Path) -> Callable[[str, float], None]:
    """Appends values that the wrapper measures to the spool."""
    target = os.open(spool, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def log(name: str, value: float) -> None:
        point = {"metric": name, "value": value, "step": None, "time": time.time_ns() // 1_000_000}
        _write_all(target, json.dumps(point).encode() + b"\n")

    return log


def _write_all(target: int, content: bytes) -> None:
    while content:
        content = content[os.write(target, content) :]
