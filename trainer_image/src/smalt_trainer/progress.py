"""How far the fetching of one input or code archive has come, in lines of the log that say as much as somebody waiting wants."""

from __future__ import annotations

import threading
import time
from typing import Callable, Optional

_EVERY = 10.0
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


def amount(size: int) -> str:
    """A number of bytes as people read it: 512 bytes, 1.5 KiB, 12 GiB."""
    value, unit = float(size), 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.0f} {_UNITS[unit]}" if unit == 0 or value >= 10 else f"{value:.1f} {_UNITS[unit]}"


class Progress:
    """Counts what comes, from one thread or several; a line every ten seconds, and one at the end."""

    def __init__(self, what: str, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self.what, self.say, self.clock = what, say, clock
        self.total: Optional[int] = None
        self.received = 0
        self._is_of_many = False
        self._began = self._told = clock()
        self._lock = threading.Lock()

    def of_many(self, total: int) -> None:
        """So many bytes are to come in several files; else each file says how long it is."""
        self.total, self._is_of_many = total, True

    def begins(self, start: int, length: Optional[int]) -> None:
        """A file of that length from `start` on; what came of it before counts no more when it begins anew."""
        if self._is_of_many:
            return
        with self._lock:
            self.received = start
            self.total = start + length if length is not None else None

    def advance(self, size: int) -> None:
        """So many bytes more."""
        with self._lock:
            self.received += size
            now = self.clock()
            if now - self._told < _EVERY:
                return
            self._told = now
        self.say(f"{self.what}: {self._so_far()}, {self._speed()}")

    def done(self, files: int, size: int) -> None:
        """All of it is there."""
        count = "1 file" if files == 1 else f"{files} files"
        self.say(f"{self.what}: {count}, {amount(size)} in {self.clock() - self._began:.1f} s")

    def _so_far(self) -> str:
        if not self.total:
            return amount(self.received)
        percent = min(100, 100 * self.received // self.total)
        return f"{amount(self.received)} of {amount(self.total)} ({percent}%)"

    def _speed(self) -> str:
        elapsed = self.clock() - self._began
        return f"{amount(int(self.received / elapsed) if elapsed > 0 else 0)}/s"
