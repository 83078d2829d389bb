"""What the main thread asks: one question after the other, several together, or several at a time."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

# More rows do not make one row cheaper, and all of a batch wait for its last.
MOST_TOGETHER = 64
# Whoever has an answer waits at most so long, and the run() after it, to hear of it.
TELLING_SECONDS = 0.001


class TookTooLong(BaseException):
    """Raised into a run() that is over its time. Not an Exception: a script's own `except Exception` must not keep it."""


class Runner(Protocol):
    """What the main thread asks."""

    @property
    def most(self) -> int:
        """How many questions it takes together."""

    def __call__(self, questions: Sequence[Any]) -> Sequence[Any]:
        """An answer for each, in order; one that is a Failed is raised to who asked. What it raises concerns them all, so
        that of several each is asked again by itself."""


Turn = Callable[[int], bool]
"""Hears the number of the question that is worked on from now on. False for one that has not begun, and that nobody
waits for any more: it is to be left alone."""


@runtime_checkable
class Interleaving(Runner, Protocol):
    """A runner that has several questions under way at once, keeps their time itself, and may leave some for later."""

    def in_parts(self, questions: Sequence[Any], turn: Turn) -> Iterator[Mapping[int, Any]]:
        """Answers by the number of their question, as soon as it is worth telling them; whoever is in none asks again."""


class Failed:
    """An answer that is an error of run()."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


class Alone:
    """A run() that sees one question at a time. Several are answered in turn, each in the whole of its own time."""

    most = MOST_TOGETHER

    def __init__(self, run: Callable[[Any], Any], seconds: float) -> None:
        self._run, self._seconds = run, seconds

    def __call__(self, questions: Sequence[Any]) -> Sequence[Any]:
        return [self._run(each) for each in questions]

    def in_parts(self, questions: Sequence[Any], turn: Turn) -> Iterator[dict[int, Any]]:
        """As Interleaving: to tell of each by itself costs more than a quick run() does."""
        answers: dict[int, Any] = {}
        told = time.perf_counter()
        for number, question in enumerate(questions):
            if not turn(number):
                continue
            try:
                answers[number] = in_time(self._seconds, lambda: self._run(question))  # noqa: B023  called at once
            except BaseException as error:  # SystemExit too: sys.exit() in a run() ends that request, not the server
                answers[number] = Failed(error)
            if time.perf_counter() - told > TELLING_SECONDS:
                yield answers
                answers, told = {}, time.perf_counter()
        if answers:
            yield answers


def in_time(seconds: float, act: Callable[[], Any]) -> Any:
    """What it gives. TookTooLong is raised in it when it takes longer."""
    # Each time anew: a script may have set an alarm of its own.
    signal.signal(signal.SIGALRM, _interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        return act()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _interrupt(signum: int, frame: object) -> None:
    raise TookTooLong
