"""Carries what the script prints to the tracking server while it goes on, so that it can be read there live."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import BinaryIO, Callable

from smalt_trainer.exchange import open_plain
from smalt_trainer.tracking import Refused, Unreachable, Unreadable

FIRST = 1.0
# An artifact can only be written as a whole: the longer that takes, the more seldom it is done.
EVERY = 5.0
_SHARE = 20.0


class LogShipper:
    """Writes each file anew when it has grown; the last word is the recorder's, at the end."""

    def __init__(self, folder: Path, store: Callable[[str, BinaryIO], None]) -> None:
        self._folder, self._store = folder, store
        self._sizes: dict[str, int] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="logs", daemon=True)

    def start(self) -> None:
        """Begin to ship."""
        self._thread.start()

    def stop(self) -> None:
        """End; an upload that hangs is not waited for."""
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join(5.0)

    def _work(self) -> None:
        pause = FIRST
        while not self._over.wait(pause):
            began = time.monotonic()
            self.ship()
            pause = max(EVERY, _SHARE * (time.monotonic() - began))

    def ship(self) -> None:
        """Store what has grown since the last time."""
        for name in ("stdout.txt", "stderr.txt"):
            stream = open_plain(self._folder / name)
            if stream is None:
                continue
            with stream:
                size = stream.seek(0, 2)
                if size == self._sizes.get(name, 0):
                    continue
                stream.seek(0)
                try:
                    self._store(f"logs/{name}", stream)
                    self._sizes[name] = size
                except (Unreachable, Refused, Unreadable):
                    continue  # the recorder stores it at the end, and tells then what stands in the way
