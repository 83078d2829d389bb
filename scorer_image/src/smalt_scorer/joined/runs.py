"""Several runs of a score script at once in one thread, each going on where it stopped when its prediction is there."""

from __future__ import annotations

import asyncio
import contextvars
import signal
import sys
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from greenlet import GreenletExit, getcurrent, greenlet

from smalt_scorer.joined.watched import Asked, Joinable
from smalt_scorer.runners import MOST_TOGETHER, TELLING_SECONDS, Failed, TookTooLong, Turn

# For so long further runs are begun while others wait for their prediction.
BEGINNING_SECONDS = 0.02
# And no more of them are begun than take so long in all, as far as those before them tell.
WHOLE_SECONDS = 0.25
# After a run() over its time, which held up those that were with it; doubled with each.
FIRST_PAUSE_SECONDS = 60.0
_LEAST_SECONDS = 0.001
_ALONE = object()


class Run(greenlet):  # type: ignore[misc]
    """A run() that can stop in the middle. When it has ended there is a result or an error, and it can be another's.

    To begin and end a greenlet takes five times as long as to stop one and go on.
    """

    number = 0
    seconds_left = own_seconds = 0.0
    is_interrupted = False
    result: Any = None
    error: BaseException | None = None

    def __init__(self, act: Callable[[Any], Any]) -> None:
        super().__init__()
        self._act, self._question = act, None

    def take(self, number: int, question: Any, seconds: float) -> None:
        """Has this question to answer, in a context of its own, as that of flask.request is."""
        self.gr_context = contextvars.copy_context()
        self.number, self._question = number, question
        self.seconds_left, self.own_seconds, self.is_interrupted = seconds, 0.0, False

    def run(self) -> None:
        while True:
            self.result = self.error = None
            try:
                self.result = self._act(self._question)
            except GreenletExit:  # nobody will go on with it
                return
            except BaseException as error:  # SystemExit too: it ends this run alone
                self.error = error
            self._question = None
            self.parent.switch(None)

    def wait(self, asked: Asked) -> Any:
        """Stops until its prediction is there."""
        asked.keep()
        filters = warnings.filters  # of `with warnings.catch_warnings()`, which knows no one but itself
        answer = self.parent.switch(asked)
        warnings.filters = filters
        return asked.alone() if answer is _ALONE else answer


class Runs:
    """What the main thread does with several questions of a script."""

    def __init__(self, act: Callable[[Any], Any], seconds: float, joining: Collection[Joinable]) -> None:
        """`act` answers one question, and may take so many seconds for it; what these methods give is waited for."""
        self._act, self._seconds = act, seconds
        self._joining = frozenset(map(id, joining))
        self._has_own_alarm = False
        self._hub: Any = None
        self._idle: list[Run] = []
        # Who has how long for what goes on now.
        self._present: Sequence[Run] = ()
        self._since = 0.0
        self._is_predicting = self._has_rung = False
        self._pause, self._paused_until = FIRST_PAUSE_SECONDS, 0.0
        self._usual_seconds = 0.0

    @property
    def most(self) -> int:
        """How many may be under way at once: fewer where a run() takes long, whose end all the others wait for."""
        if self._has_own_alarm or time.monotonic() < self._paused_until:
            return 1
        return max(1, min(MOST_TOGETHER, int(WHOLE_SECONDS / max(self._usual_seconds, _LEAST_SECONDS))))

    def __call__(self, questions: Sequence[Any]) -> list[Any]:
        """As scoring.Runner."""
        answers = []
        for each in questions:
            since = time.perf_counter()
            answers.append(self._act(each))
            self._took(time.perf_counter() - since)
        return answers

    def answer(self, asked: Asked) -> Any:
        """What a caught call gives: waits with the others where it can, else it is answered alone."""
        run = getcurrent()
        if id(asked.method) not in self._joining or not isinstance(run, Run) or run.parent is not self._hub:
            return asked.alone()
        # In a coroutine others could not begin a loop of their own.
        return asked.alone() if asyncio.events._get_running_loop() is not None else run.wait(asked)

    def in_parts(self, questions: Sequence[Any], turn: Turn) -> Iterator[dict[int, Any]]:
        """As scoring.Interleaving: one part, and a part of its own when a run() was over its time."""
        self._hub = getcurrent()
        filters = warnings.filters
        began = time.perf_counter()
        # Once for all: nobody can be over its time before. From then on it is set for each.
        self._has_rung = False
        self._set_alarm(self._seconds)
        waiting: list[Waiting] = []
        answers: dict[int, Any] = {}
        try:
            for number, question in enumerate(questions):
                if not turn(number):
                    continue
                run = self._idle.pop() if self._idle else Run(self._act)
                run.take(number, question, self._seconds)
                waiting += self._go_on(run, None, turn, answers)
                gone = time.perf_counter() - began
                if waiting:
                    warnings.filters = filters
                    if gone > BEGINNING_SECONDS:
                        break
                elif gone > TELLING_SECONDS:
                    yield answers
                    answers, began = {}, time.perf_counter()
            while waiting:
                if any(_is_over_time(each) for each in answers.values()):
                    self._rest(len(waiting))
                    yield answers
                    answers = {}
                present, waiting = waiting, []
                for (run, _), answer in zip(present, self._predicted(present, turn), strict=True):
                    waiting += self._go_on(run, answer, turn, answers)
            if answers:
                yield answers
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            warnings.filters = filters
            self._hub = None

    def _go_on(self, run: Run, answer: Any, turn: Turn, answers: dict[int, Any]) -> tuple[Waiting, ...]:
        """Until it waits, or has ended and is among the answers."""
        turn(run.number)
        self._begin((run,), run.seconds_left)
        asked = run.switch(answer) if run else run.switch()  # what run() takes when it begins is nothing
        seconds, self._present = time.perf_counter() - self._since, ()
        run.seconds_left -= seconds
        run.own_seconds += seconds
        if not 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= self._seconds:
            self._has_own_alarm = True  # which could ring in another run()
            self._set_alarm(self._seconds)
        if asked is not None:
            return ((run, asked),)
        self._took(run.own_seconds)
        answers[run.number] = run.result if run.error is None else Failed(run.error)
        run.result = run.error = None
        self._idle.append(run)
        return ()

    def _took(self, seconds: float) -> None:
        self._usual_seconds += (seconds - self._usual_seconds) / 16

    def _predicted(self, waiting: list[Waiting], turn: Turn) -> list[Any]:
        """An answer for each, in order."""
        forms: dict[Any, list[int]] = {}
        for at, (_, asked) in enumerate(waiting):
            forms.setdefault(asked.form, []).append(at)
        answers = [_ALONE] * len(waiting)
        for places in forms.values():
            if len(places) > 1:
                found = self._joined([waiting[at] for at in places], turn)
                for at, answer in zip(places, found, strict=True):
                    answers[at] = answer
        return answers

    def _joined(self, waiting: Sequence[Waiting], turn: Turn) -> Sequence[Any]:
        """One answer, taken apart. Whatever goes wrong, each asks for itself and hears it in its own run()."""
        runs = [run for run, _ in waiting]
        turn(runs[0].number)
        try:
            self._is_predicting = True
            self._begin(runs, max(each.seconds_left for each in runs))
            found = waiting[0][1].method.joined([asked.rows for _, asked in waiting])
            self._is_predicting = False
        except (Exception, TookTooLong):
            self._is_predicting, found = False, None
        seconds, self._present = time.perf_counter() - self._since, ()
        for run in runs:
            run.seconds_left -= seconds
        return [_ALONE] * len(runs) if found is None else found

    def _begin(self, runs: Sequence[Run], seconds: float) -> None:
        self._present, self._since = runs, time.perf_counter()
        if self._has_rung:
            self._set_alarm(seconds)

    def _set_alarm(self, seconds: float) -> None:
        signal.signal(signal.SIGALRM, self._interrupt)
        signal.setitimer(signal.ITIMER_REAL, max(seconds, _LEAST_SECONDS))

    def _interrupt(self, signum: int, frame: object) -> None:
        """Ends what goes on now if it is over its time, once; else looks again when it can be."""
        self._has_rung = True
        gone = time.perf_counter() - self._since
        left = max((each.seconds_left - gone for each in self._present if not each.is_interrupted), default=None)
        self._set_alarm(self._seconds if left is None or left <= 0 else left)
        # One that comes when its run() has just stopped is for nobody.
        if left is not None and left <= 0 and (self._is_predicting or getcurrent() is not self._hub):
            for each in () if self._is_predicting else self._present:
                each.is_interrupted = True
            raise TookTooLong

    def _rest(self, held_up: int) -> None:
        print(
            f"{held_up} requests waited for a run() that was over its time: one by one for {self._pause:.0f} s",
            file=sys.stderr,
        )
        self._paused_until = time.monotonic() + self._pause
        self._pause *= 2


Waiting = tuple[Run, Asked]


def _is_over_time(answer: Any) -> bool:
    return isinstance(answer, Failed) and isinstance(answer.error, TookTooLong)
