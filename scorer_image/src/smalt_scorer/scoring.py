"""The meeting of two threads: the event loop hands requests over, the process's main thread runs the script.

Score scripts may rely on the main thread (signal handlers, SIGALRM against a run() that takes too long), and probes
are answered while a run() is busy.
"""

from __future__ import annotations

import asyncio
import queue
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from smalt_scorer.answers import body_of
from smalt_scorer.direct import BadRequest

# An interrupted run() has answered by then; one that does not listen, as long calls of C code do not, is not waited for.
GRACE_SECONDS = 0.5
# A run() that is so far over its time will not end by itself.
STUCK_SECONDS = 30.0


class Busy(Exception):
    """No turn came in time, or too many are waiting."""


class TimedOut(Exception):
    """run() did not come back in time."""


class TookTooLong(BaseException):
    """Raised into a run() that is over its time. Not an Exception: a script's own `except Exception` must not keep it."""


class ScriptError(Exception):
    """run() raised; the log has the traceback."""


@dataclass
class Work:
    """One request on its way through the main thread."""

    raw: str
    headers: Mapping[str, str]
    loop: asyncio.AbstractEventLoop
    started: asyncio.Event = field(default_factory=asyncio.Event)
    done: asyncio.Future[tuple[bytes, float]] = field(init=False)
    is_given_up: bool = False

    def __post_init__(self) -> None:
        self.done = self.loop.create_future()

    def tell(self, act: Callable[[], None]) -> None:
        """Lets the event loop do something about this request, unless it has ended."""
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(act)


class Scoring:
    """The queue between the threads, and the main thread's work on it."""

    def __init__(
        self,
        timeout_seconds: float,
        max_waiting: int,
        max_queue_wait_seconds: float,
        on_stuck: Callable[[], object],
        most_stuck_seconds: float = STUCK_SECONDS,
    ) -> None:
        self.timeout_seconds = timeout_seconds
        self.max_waiting = max_waiting
        self.max_queue_wait_seconds = max_queue_wait_seconds
        self.on_stuck = on_stuck
        self.most_stuck_seconds = most_stuck_seconds
        self._queue: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._accepted = 0
        self._present: Work | None = None
        self._busy_since: float | None = None

    # --- the event loop's side ---

    async def score(self, raw: str, headers: Mapping[str, str]) -> tuple[bytes, float]:
        """The script's answer as JSON and its milliseconds. Busy, TimedOut, ScriptError, BadRequest."""
        if self._accepted >= self.max_waiting:
            raise Busy
        self._accepted += 1
        try:
            work = Work(raw, headers, asyncio.get_running_loop())
            self._queue.put(work)
            try:
                await asyncio.wait_for(work.started.wait(), self.max_queue_wait_seconds)
            except TimeoutError:
                if not work.started.is_set():
                    work.is_given_up = True
                    raise Busy from None
            return await self._outcome(work)
        finally:
            self._accepted -= 1

    async def _outcome(self, work: Work) -> tuple[bytes, float]:
        """What the main thread makes of it. Its caller hears of the end of the time whether run() does or not."""
        try:
            return await asyncio.wait_for(work.done, self.timeout_seconds + GRACE_SECONDS)
        except TimeoutError:
            print(f"run() goes on after {self.timeout_seconds} s and cannot be interrupted", file=sys.stderr)
            work.loop.call_later(self.most_stuck_seconds, self._judge, work)
            raise TimedOut from None

    def _judge(self, work: Work) -> None:
        if self._present is work:
            self.on_stuck()

    def stuck_seconds(self) -> float:
        """For how long a run() has been over its time; it does not listen to SIGALRM, as some C code does."""
        since = self._busy_since
        return 0.0 if since is None else max(0.0, time.monotonic() - since - self.timeout_seconds)

    def is_stuck(self) -> bool:
        """Whoever asks now would wait for a run() that was given up."""
        return self.stuck_seconds() > GRACE_SECONDS

    def stop(self) -> None:
        """Ends `work` when what is queued is done."""
        self._queue.put(None)

    # --- the main thread's side ---

    def work(self, run: Callable[[str, Mapping[str, str]], Any]) -> None:
        """Until `stop`: one request after the other."""
        while (work := self._queue.get()) is not None:
            if not work.is_given_up:
                self._one(run, work)

    def _one(self, run: Callable[[str, Mapping[str, str]], Any], work: Work) -> None:
        work.tell(work.started.set)
        self._present, self._busy_since = work, time.monotonic()
        began = time.perf_counter()
        try:
            # Put into JSON here: the next run() may change what this one gave back.
            body = body_of(self._in_time(run, work))
        except BadRequest as error:
            work.tell(partial(_fail, work, error))
        except TookTooLong as error:
            print(f"run() was interrupted after {self.timeout_seconds} s, at:", file=sys.stderr)
            traceback.print_exception(error)
            # The event loop's futures know no BaseException of ours: the script's frames end here.
            work.tell(partial(_fail, work, TimedOut()))
        except BaseException as error:  # SystemExit too: sys.exit() in a run() ends that request, not the server
            traceback.print_exception(error)
            work.tell(partial(_fail, work, ScriptError(f"{type(error).__name__}: {error}")))
        else:
            milliseconds = (time.perf_counter() - began) * 1000
            work.tell(partial(_succeed, work, (body, milliseconds)))
        finally:
            self._present, self._busy_since = None, None

    def _in_time(self, run: Callable[[str, Mapping[str, str]], Any], work: Work) -> Any:
        # Each time anew: a script may have set an alarm of its own.
        signal.signal(signal.SIGALRM, _interrupt)
        signal.setitimer(signal.ITIMER_REAL, self.timeout_seconds)
        try:
            return run(work.raw, work.headers)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)


def _interrupt(signum: int, frame: object) -> None:
    raise TookTooLong


def _succeed(work: Work, result: tuple[bytes, float]) -> None:
    if not work.done.done():
        work.done.set_result(result)


def _fail(work: Work, error: Exception) -> None:
    if not work.done.done():
        work.done.set_exception(error)
