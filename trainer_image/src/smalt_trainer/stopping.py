"""SIGTERM, turned into something the rest can wait for: the pod is being deleted, and time is short."""

from __future__ import annotations

import os
import select
import signal
import time
from types import FrameType
from typing import Callable, Optional

from smalt_trainer.failures import RunFailed
from smalt_trainer.tracking import Unreachable

# Kubernetes gives a pod 30 seconds by default, of which the script gets its share first.
GRACE_TO_STORE = 18.0


class Stopping:
    """Whether the pod is to end; before the script runs, the signal ends the preparation at once."""

    def __init__(self) -> None:
        self.requested_at: Optional[float] = None
        self.preparing = False
        # A pipe rather than an event: a handler that takes a lock the interrupted code holds would wait for ever.
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)

    def listen(self) -> None:
        """Handle SIGTERM and SIGINT from now on."""
        signal.signal(signal.SIGTERM, self._handle)
        signal.signal(signal.SIGINT, self._handle)

    def _handle(self, _number: int, _frame: Optional[FrameType]) -> None:
        if self.requested_at is None:
            self.requested_at = time.monotonic()
            os.write(self._write, b"x")
            if self.preparing:
                self.preparing = False
                raise terminated("before the script started")

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
        "apply the run again under another name, or give it limits.retries",
    )


def until_answered(
    action: Callable[[], None], deadline: float, stopping: Stopping, say: Callable[[str], None], pause: float = 0.5
) -> None:
    """Do something with the server, again and again while it is unreachable, until the deadline; then Unreachable."""
    told = 0.0
    while True:
        try:
            return action()
        except Unreachable as error:
            now = time.monotonic()
            if stopping.requested_at is not None:
                deadline = min(deadline, stopping.requested_at + GRACE_TO_STORE)
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
