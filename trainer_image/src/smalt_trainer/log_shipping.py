"""Carries what the script prints and draws to the tracking server while it goes on, so that it can be looked at there."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import BinaryIO, Callable, Iterator, Tuple

from smalt_trainer.digests import files_below
from smalt_trainer.exchange import open_plain
from smalt_trainer.refusals import Refused, Unreachable, Unreadable

FIRST = 1.0
# An artifact can only be written as a whole: the longer that takes, the more seldom it is done.
EVERY = 5.0
_SHARE = 20.0


class LogShipper:
    """Writes each file anew when it has changed; the last word is the recorder's, at the end."""

    def __init__(
        self, logs: Path, artifacts: Path, store: Callable[[str, BinaryIO], None], more: Callable[[], None]
    ) -> None:
        self._logs, self._artifacts, self._store, self._more = logs, artifacts, store, more
        self._states: dict[str, Tuple[int, int]] = {}
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
            self._do_more()
            pause = max(EVERY, _SHARE * (time.monotonic() - began))

    def ship(self) -> None:
        """Store what has changed since the last time; what cannot be, the recorder tries again at the end, and says so."""
        for name, path in self._files():
            stream = None if self._over.is_set() else open_plain(path)
            if stream is None:
                continue
            with stream:
                status = os.fstat(stream.fileno())
                state = (status.st_size, status.st_mtime_ns)
                is_to_come = not status.st_size and not name.startswith("logs/")  # an artifact that is just being begun
                if is_to_come or self._states.get(name) == state:
                    continue
                try:
                    self._store(name, stream)
                    self._states[name] = state
                except (Unreachable, Refused, Unreadable):
                    continue

    def _do_more(self) -> None:
        try:
            if not self._over.is_set():
                self._more()
        except (Unreachable, Refused, Unreadable):
            return  # as with files, the recorder tries again at the end

    def whole(self) -> list[str]:
        """The logs that were stored to their end. They only grow, so that their size tells; of artifacts it does not."""
        found = []
        for name, path in self._logs_of_script():
            state = self._states.get(name)
            stream = open_plain(path)
            if stream is None:
                continue
            with stream:
                if state is not None and state[0] == os.fstat(stream.fileno()).st_size:
                    found.append(name)
        return found

    def _logs_of_script(self) -> Iterator[Tuple[str, Path]]:
        for name in ("stdout.txt", "stderr.txt"):
            yield f"logs/{name}", self._logs / name

    def _files(self) -> Iterator[Tuple[str, Path]]:
        yield from self._logs_of_script()
        if self._artifacts.is_dir():
            try:
                yield from files_below(self._artifacts, self._artifacts.parent, [])
            except OSError:
                return  # the script has made something else of it; told at the end
