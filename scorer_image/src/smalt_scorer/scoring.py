"""The meeting of two threads: the event loop hands requests over, the process's main thread asks the model.

Score scripts may rely on the main thread (signal handlers, SIGALRM against a run() that takes too long), and probes
are answered while a run() is busy. What has come while the model was busy is its next batch: nobody is waited for.
"""

from __future__ import annotations

import asyncio
import queue
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from smalt_scorer.runners import Failed, Interleaving, Runner, TookTooLong, in_time
from smalt_scorer.tracing import Timing

# An interrupted run() has answered by then; one that does not listen, as long calls of C code do not, is not waited for.
GRACE_SECONDS = 0.5
# A run() that is so far over its time will not end by itself.
STUCK_SECONDS = 3.0


class Busy(Exception):
    """No turn came in time, or too many are waiting."""


class CallerGone(Exception):
    """Nobody waits for the answer any more."""


class TimedOut(Exception):
    """run() did not come back in time."""


class ScriptError(Exception):
    """run() raised an error of the class that is its text; the log has the traceback."""


class Observer(Protocol):
    """Who wants to know how long questions waited and were worked on; called from the event loop."""

    def asked(self, waited: Sequence[float], seconds: float) -> None:
        """A batch of as many questions as have `waited` so many seconds each took the model `seconds`."""


class Work:
    """One request on its way through the main thread. Times are of time.monotonic()."""

    __slots__ = ("arrived", "caller", "done", "is_given_up", "question", "started")

    def __init__(self, question: Any, done: asyncio.Future[tuple[Any, float]], caller: Any) -> None:
        self.question, self.done, self.caller = question, done, caller
        self.arrived = time.monotonic()
        self.started: float | None = None
        self.is_given_up = False

    @property
    def is_wanted(self) -> bool:
        """Whether anybody still waits for the answer."""
        return not self.is_given_up and not getattr(self.caller, "disconnected", False)


class Scoring:
    """The queue between the threads, and the main thread's work on it."""

    def __init__(
        self,
        timeout_seconds: float,
        max_waiting: int,
        max_queue_wait_seconds: float,
        on_stuck: Callable[[], object],
        most_stuck_seconds: float = STUCK_SECONDS,
        observer: Observer | None = None,
    ) -> None:
        self.timeout_seconds = timeout_seconds
        self.max_waiting = max_waiting
        self.max_queue_wait_seconds = max_queue_wait_seconds
        self.on_stuck = on_stuck
        self.most_stuck_seconds = most_stuck_seconds
        self.observer = observer
        self._queue: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._accepted: dict[Work, None] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._looks_every = max(0.002, min(0.025, max_queue_wait_seconds / 10, timeout_seconds / 10))
        self._is_looking = False
        self._put_off: deque[Work] = deque()
        self._present: Sequence[Work] = ()
        self._busy_since: float | None = None

    # --- the event loop's side ---

    async def score(self, question: Any, caller: Any = None, timing: Timing | None = None) -> tuple[Any, float]:
        """What the main thread makes of the question, and its milliseconds. Busy, CallerGone, TimedOut, ScriptError.

        A caller whose `disconnected` becomes true before its turn is passed over. `timing` is told of whatever comes of it.
        """
        if len(self._accepted) >= self.max_waiting:
            raise Busy
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        work = Work(question, loop.create_future(), caller)
        self._accepted[work] = None
        if not self._is_looking:
            self._is_looking = True
            loop.call_later(self._looks_every, self._look)
        self._queue.put(work)
        try:
            return await work.done
        finally:
            self._accepted.pop(work, None)
            if timing is not None:
                timing.arrived, timing.started = work.arrived, work.started
                timing.seconds = time.monotonic() - work.started if work.started is not None else 0.0

    def _look(self) -> None:
        """Gives up whoever waits too long; one look for all costs less than a timer for each."""
        assert self._loop is not None
        now = time.monotonic()
        for work in list(self._accepted):
            if work.started is None:
                if now - work.arrived >= self.max_queue_wait_seconds:
                    self._give_up(work, Busy())
            elif now - work.started >= self.timeout_seconds + GRACE_SECONDS and not work.done.done():
                print(f"run() goes on after {self.timeout_seconds} s and cannot be interrupted", file=sys.stderr)
                self._loop.call_later(self.most_stuck_seconds, self._judge, work)
                self._give_up(work, TimedOut())
        self._is_looking = bool(self._accepted)
        if self._is_looking:
            self._loop.call_later(self._looks_every, self._look)

    def _give_up(self, work: Work, why: Exception) -> None:
        work.is_given_up = True
        if not work.done.done():
            work.done.set_exception(why)

    def _judge(self, work: Work) -> None:
        if not any(each is work for each in self._present):
            return
        self.max_waiting = 0  # nobody's turn will come here
        for each in list(self._accepted):
            self._give_up(each, Busy())
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

    def _deliver(self, works: Sequence[Work], answers: Sequence[Any], seconds: float) -> None:
        milliseconds = seconds * 1000
        for work, answer in zip(works, answers, strict=True):
            if work.done.done():
                continue
            if isinstance(answer, Failed):
                work.done.set_exception(_told(answer.error))
            else:
                work.done.set_result((answer, milliseconds))
        if self.observer is not None:
            self.observer.asked([(each.started or each.arrived) - each.arrived for each in works], seconds)

    def _pass_over(self, works: Sequence[Work]) -> None:
        for work in works:
            if not work.done.done():
                work.done.set_exception(CallerGone())

    # --- the main thread's side ---

    def work(self, runner: Runner) -> None:
        """Until `stop`: what has come, together as far as the runner takes it."""
        interleaving = runner if isinstance(runner, Interleaving) else None
        is_going_on = True
        while is_going_on or self._put_off:
            works, is_more_to_come = self._take(runner.most)
            is_going_on = is_going_on and is_more_to_come
            wanted = [each for each in works if each.is_wanted]
            if len(wanted) < len(works):
                self._tell(self._pass_over, [each for each in works if each not in wanted])
            if len(wanted) > 1 and interleaving is not None:
                self._ask_in_parts(interleaving, wanted)
            elif wanted:
                self._ask(runner, wanted)

    def _take(self, most: int) -> tuple[list[Work], bool]:
        """What has come, at least one; and whether more is to come."""
        taken = [self._put_off.popleft() for _ in range(min(most, len(self._put_off)))]
        while len(taken) < most and not (taken and self._queue.empty()):
            found = self._queue.get()
            if found is None:
                return taken, False
            taken.append(found)
        return taken, True

    def _ask(self, runner: Runner, works: Sequence[Work]) -> None:
        began = time.monotonic()
        for each in works:
            each.started = began
        self._present, self._busy_since = works, began
        try:
            answers = in_time(self.timeout_seconds, lambda: runner([each.question for each in works]))
        except TookTooLong as error:
            self._log(error)
            answers = [Failed(error)] * len(works)
        except BaseException as error:  # SystemExit too: sys.exit() in a run() ends that request, not the server
            if len(works) > 1:
                answers = None
            else:
                self._log(error)
                answers = [Failed(error)]
        self._present, self._busy_since = (), None
        if answers is not None:
            self._tell(self._deliver, works, answers, time.monotonic() - began)
            return
        for each in works:  # nobody gets another's error
            if each.is_wanted:
                self._ask(runner, [each])

    def _ask_in_parts(self, runner: Interleaving, works: Sequence[Work]) -> None:
        def turn(number: int) -> bool:
            if works[number].started is None and not works[number].is_wanted:
                return False
            self._present, self._busy_since = works[number : number + 1], time.monotonic()
            if works[number].started is None:
                works[number].started = self._busy_since
            return True

        began = time.monotonic()
        left = dict(enumerate(works))
        try:
            for answers in runner.in_parts([each.question for each in works], turn):
                self._present, self._busy_since = (), None
                for answer in answers.values():
                    if isinstance(answer, Failed):
                        self._log(answer.error)
                told = [left.pop(each) for each in answers]
                self._tell(self._deliver, told, list(answers.values()), time.monotonic() - began)
        except BaseException as error:  # nobody's run() raises here: memory that ran out, a fault of the scorer
            self._log(error)
            for each in left.values():
                self._ask(runner, [each])
        else:
            self._put_off.extend(left.values())

    def _log(self, error: BaseException) -> None:
        if isinstance(error, TookTooLong):
            print(f"run() was interrupted after {self.timeout_seconds} s, at:", file=sys.stderr)
        traceback.print_exception(error)
        _let_go(error)

    def _tell(self, act: Callable[..., None], *what: Any) -> None:
        """Has the event loop act, unless it has ended."""
        assert self._loop is not None
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(act, *what)


def _let_go(error: BaseException) -> None:
    """A script's frames hold what it was working on, perhaps hundreds of megabytes, and a frame of ours would hold them."""
    each: BaseException | None = error
    while each is not None and each.__traceback__ is not None:
        traceback.clear_frames(each.__traceback__)
        each.__traceback__ = None
        each = each.__cause__ or each.__context__


def _told(error: BaseException) -> Exception:
    """The event loop's futures know no BaseException of ours: the script's frames end here."""
    return TimedOut() if isinstance(error, TookTooLong) else ScriptError(type(error).__name__)
