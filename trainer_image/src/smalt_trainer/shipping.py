"""Carries metrics from the spool to the tracking server while the script works, so that they can be watched live.

The script never waits for it: it appends to a file, and this thread reads that file at its own pace.
"""

from __future__ import annotations

import threading
from typing import Callable

from smalt_trainer.board import Board
from smalt_trainer.refusals import Refused, Unreachable
from smalt_trainer.spool import Point, Spool
from smalt_trainer.tracking import Tracking

BATCH = 1000
FIRST = 0.2
EVERY = 1.0
_LONGEST_PAUSE = 30.0


class Shipper:
    """Ships what the spool holds; a batch that was not answered is kept and sent again."""

    def __init__(self, tracking: Tracking, run: str, spool: Spool, say: Callable[[str], None], board: Board) -> None:
        self._tracking, self._run, self._spool, self._say, self._board = tracking, run, spool, say, board
        self._waiting: list[Point] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="metrics", daemon=True)
        self.names: dict[str, None] = {}
        self.refused = 0

    def start(self) -> None:
        """Begin to ship from a side thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the side thread; what is not shipped yet is `drain`'s."""
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join()

    def drain(self) -> None:
        """Ship everything that is left, from the caller's thread; Unreachable leaves the rest for the next call."""
        while self._ship():
            pass
        if self._spool.unreadable:
            self._say(f"{self._spool.unreadable} lines of {self._spool.path} are no metrics and are left out")

    def _work(self) -> None:
        pause = FIRST
        while not self._over.wait(pause):
            try:
                # Only what does not fit into one batch is worth another at once: the server is not to be asked for every
                # point of a script that logs all the time.
                while self._ship() == BATCH and not self._over.is_set():
                    pass
                pause = EVERY
            except Unreachable:
                # Told at the end, if it lasts until then: `drain` meets the same server and has the deadline.
                self._look_ahead()
                pause = min(pause * 2, _LONGEST_PAUSE)

    def _ship(self) -> int:
        """Ship one batch; how many points it had."""
        if not self._waiting:
            self._waiting = self._read(self._spool)
            self.names.update(dict.fromkeys(point.name for point in self._waiting))
        if self._spool.tags:
            self._send_tags(dict(self._spool.tags))
            self._spool.tags.clear()
        count = len(self._waiting)
        if count:
            self._send(self._waiting)
            self._waiting = []
        return count

    def _send_tags(self, tags: dict[str, str]) -> None:
        try:
            self._tracking.log_batch(self._run, tags=tags)
        except Refused as error:
            self._say(f"the tags {', '.join(tags)} are not recorded: {error}")

    def _read(self, spool: Spool) -> list[Point]:
        points = spool.read(BATCH)
        self._board.see([(point.name, point.value) for point in points], spool.offset)
        if spool.percent is not None:
            self._board.progress(spool.percent)
            spool.percent = None
        return points

    def _look_ahead(self) -> None:
        """What cannot be sent can still be shown."""
        ahead = Spool(self._spool.path, max(self._spool.offset, self._board.seen))
        while not self._over.is_set() and self._read(ahead):
            pass

    def _send(self, points: list[Point]) -> None:
        """Send points; when the server refuses them, find the one it means and go on without it."""
        try:
            self._tracking.log_batch(self._run, metrics=[point.as_json() for point in points])
        except Refused as error:
            if len(points) == 1:
                self.refused += 1
                self._say(
                    f"metric {points[0].name} = {points[0].value} at step {points[0].step} is not recorded: {error}"
                )
                return
            middle = len(points) // 2
            self._send(points[:middle])
            self._send(points[middle:])
