"""SIGTERM, turned into something the rest can wait for: the pod is being deleted, and time is short."""

from __future__ import annotations

import os
import select
import signal
import time
from contextlib import contextmanager
from types import FrameType
from typing import Callable, Iterator, Optional

from smalt_trainer.failures import ANOTHER_NAME, RunFailed
from smalt_trainer.refusals import Unreachable

# Kubernetes gives a pod 30 seconds by default, of which the script gets its share first.
GRACE_TO_WAIT = 11.0
GRACE_TO_STORE = 18.0
# What has to be said at last, after everything else: the summary and the end of the run.
GRACE_TO_CLOSE = 23.0


class Stopping:
    """Whether the pod is to end; before the script runs, the signal ends the preparation at once."""

    def __init__(self) -> None:
        self.requested_at: Optional[float] = None
        self.preparing = False
        self._grace: Optional[float] = None
        # A pipe rather than an event: a handler that takes a lock the interrupted code holds would wait for ever.
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)

    def listen(self) -> None:
        """Handle SIGTERM and SIGINT from now on."""
        signal.signal(signal.SIGTERM, self._handle)
        signal.signal(signal.SIGINT, self._handle)
        signal.signal(signal.SIGALRM, self._expire)

    def _handle(self, _number: int, _frame: Optional[FrameType]) -> None:
        if self.requested_at is None:
            self.requested_at = time.monotonic()
            os.write(self._write, b"x")
            if self.preparing:
                self.preparing = False
                raise terminated("before the script started")
            self._limit()

    @contextmanager
    def within(self, grace: float) -> Iterator[None]:
        """What is done here is broken off with Unreachable so many seconds after the signal, also while it hangs."""
        self._grace = grace
        try:
            self._limit()
            yield
        finally:
            self._grace = None
            if self.requested:
                signal.setitimer(signal.ITIMER_REAL, 0)

    def _limit(self) -> None:
        if self._grace is not None and self.requested_at is not None:
            left = self.requested_at + self._grace - time.monotonic()
            signal.setitimer(signal.ITIMER_REAL, max(left, 0.001))

    def _expire(self, _number: int, _frame: Optional[FrameType]) -> None:
        if self._grace is not None:
            raise Unreachable("it was broken off, because the pod has to end")

    @property
    def requested(self) -> bool:
        """Whether the signal has come."""
        return self.requested_at is not None

    def wait(self, seconds: float) -> bool:
        """Wait so long, or until the signal comes; true when it has."""
        if not self.requested:
            select.select([self._read], [], [], max(seconds, 0.0))
        return self.requested


def terminated(when: str) -> RunFailed:
    """The pod was told to end; nothing is wrong with the run itself."""
    return RunFailed(
        "Terminated",
        f"the pod was told to end {when} (deleted, evicted, or its node drained); "
        f"give it limits.retries if that may happen again, {ANOTHER_NAME}",
    )


def until_answered(
    action: Callable[[], None],
    deadline: float,
    stopping: Stopping,
    say: Callable[[str], None],
    pause: float = 0.5,
    grace: float = GRACE_TO_STORE,
) -> None:
    """Do something with the server, again and again while it is unreachable, until the deadline; then Unreachable.

    Once the pod is to end, `grace` is the deadline, and it breaks off even what hangs.
    """
    told = 0.0
    while True:
        try:
            with stopping.within(grace):
                return action()
        except Unreachable as error:
            now = time.monotonic()
            if stopping.requested_at is not None:
                deadline = min(deadline, stopping.requested_at + grace)
            if now + pause > deadline:
                raise
            if now - told >= 60.0:
                say(f"{error}; trying again for at most {deadline - now:.0f} s")
                told = now
        if stopping.requested:
            time.sleep(min(pause, 1.0))
        else:
            stopping.wait(pause)
        pause = min(pause * 2, 15.0)
