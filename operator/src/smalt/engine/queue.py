"""The work queue, with the semantics of client-go's: a key is worked on by one at a time and never lost.

A key that is added while it is being worked on comes back when that is done. Two priorities: what makes work exist
goes before what reports on it. Delays keep the earliest time that was asked for.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections import deque
from collections.abc import Callable, Hashable
from typing import Protocol

BASE_SECONDS = 0.2
MOST_SECONDS = 60.0


class QueueObserver(Protocol):
    """What metrics want to know of a queue."""

    def added(self, depth: int) -> None: ...
    def taken(self, depth: int, waited_seconds: float) -> None: ...
    def retried(self) -> None: ...


class Queue:
    """Keys to be worked on. Used from one event loop."""

    def __init__(self, observer: QueueObserver, clock: Callable[[], float] = time.monotonic) -> None:
        self._observer, self._clock = observer, clock
        self._urgent: deque[Hashable] = deque()
        self._other: deque[Hashable] = deque()
        self._dirty: dict[Hashable, float] = {}
        self._working: dict[Hashable, float] = {}
        self._urgently: set[Hashable] = set()
        self._later: list[tuple[float, int, Hashable]] = []
        self._due: dict[Hashable, float] = {}
        self._failures: dict[Hashable, int] = {}
        self._count = 0
        self._idle: deque[asyncio.Future[None]] = deque()
        self._alarm: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._urgent) + len(self._other)

    def working(self) -> list[float]:
        """For each key being worked on, for how many seconds."""
        now = self._clock()
        return [now - since for since in list(self._working.values())]

    def add(self, key: Hashable, urgent: bool = False) -> None:
        """Now, once, however often it is asked for."""
        if urgent:
            self._urgently.add(key)
        if key in self._dirty:
            return
        self._dirty[key] = self._clock()
        if key not in self._working:
            self._line_up(key)

    def add_after(self, key: Hashable, seconds: float) -> None:
        """After a delay; of several, the shortest counts."""
        if seconds <= 0:
            self.add(key)
            return
        due = self._clock() + seconds
        if self._due.get(key, float("inf")) <= due:
            return
        self._due[key] = due
        self._count += 1
        heapq.heappush(self._later, (due, self._count, key))
        if self._idle:
            self._set_alarm()

    def retry(self, key: Hashable, at_least: float = 0.0) -> None:
        """After a delay that doubles with every failure in a row."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        self._observer.retried()
        self.add_after(key, max(at_least, min(MOST_SECONDS, BASE_SECONDS * 2 ** min(failures, 20))))

    def forget(self, key: Hashable) -> None:
        """The key's failures in a row are over."""
        self._failures.pop(key, None)

    async def get(self) -> Hashable:
        """The next key, which is the caller's until `done`."""
        while True:
            self._promote()
            line = self._urgent or self._other
            if line:
                return self._take(line)
            await self._wait()

    def done(self, key: Hashable) -> None:
        """Gives the key back."""
        self._working.pop(key, None)
        if key in self._dirty:
            self._line_up(key)

    def _line_up(self, key: Hashable) -> None:
        urgent = key in self._urgently
        self._urgently.discard(key)
        (self._urgent if urgent else self._other).append(key)
        self._observer.added(len(self))
        self._wake_one()

    def _take(self, line: deque[Hashable]) -> Hashable:
        key = line.popleft()
        now = self._clock()
        waited = now - self._dirty.pop(key)
        self._working[key] = now
        self._observer.taken(len(self), waited)
        return key

    async def _wait(self) -> None:
        """Until something is lined up. One that waits is woken for each key: waking all would cost more than the work."""
        mine = asyncio.get_running_loop().create_future()
        self._idle.append(mine)
        self._set_alarm()
        try:
            await mine
        except asyncio.CancelledError:
            if mine in self._idle:
                self._idle.remove(mine)
            elif not mine.cancelled():
                self._wake_one()  # the key that it was woken for is there for another
            raise

    def _wake_one(self) -> None:
        while self._idle:
            waiting = self._idle.popleft()
            if not waiting.done():
                waiting.set_result(None)
                return

    def _set_alarm(self) -> None:
        """At the time when the first of the delayed keys is due."""
        if self._alarm:
            self._alarm.cancel()
        wait = self._promote()
        loop = asyncio.get_running_loop()
        self._alarm = None if wait is None else loop.call_later(wait, self._set_alarm)

    def _promote(self) -> float | None:
        """Lines up what is due; the seconds until something is, or None."""
        now = self._clock()
        while self._later and self._later[0][0] <= now:
            due, _, key = heapq.heappop(self._later)
            if self._due.get(key) == due:
                del self._due[key]
                self.add(key)
        return max(0.0, self._later[0][0] - now) if self._later else None
