"""What the main thread asks: one question after the other, several together, or several at a time."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # typeshed has the public face alone
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
        with Alarm(self._seconds) as alarm:
            for number, question in enumerate(questions):
                if not turn(number):
                    continue
                try:
                    answers[number] = alarm.over(self._run, question)
                except (
                    BaseException
                ) as error:  # SystemExit too: sys.exit() in a run() ends that request, not the server
                    answers[number] = Failed(error)
                if time.perf_counter() - told > TELLING_SECONDS:
                    yield answers
                    answers, told = {}, time.perf_counter()
        if answers:
            yield answers


class Alarm:
    """Raises TookTooLong into each of several calls that is over its time. It is set once for all of them, which nobody can
    be over before, and again when it has rung: to set it for each costs as much as a quick call.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since: float | None = None
        self._handler = self._ring

    def __enter__(self) -> Alarm:
        self._set()
        return self

    def __exit__(self, *raised: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)

    def over(self, act: Callable[[Any], Any], question: Any) -> Any:
        """What it gives."""
        self._since = time.perf_counter()
        try:
            return act(question)
        finally:
            self._since = None
            # signal.getsignal asks the same, and looks for a member of an enumeration, which takes 300 times as long.
            is_ours = _signal.getsignal(signal.SIGALRM) is self._handler
            if not is_ours or not 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= self._seconds:
                self._set()  # the call has set an alarm of its own

    def _set(self) -> None:
        signal.signal(signal.SIGALRM, self._handler)
        signal.setitimer(signal.ITIMER_REAL, self._seconds)

    def _ring(self, signum: int, frame: object) -> None:
        left = self._seconds if self._since is None else self._seconds - (time.perf_counter() - self._since)
        signal.setitimer(signal.ITIMER_REAL, left if left > 0 else self._seconds)
        if left <= 0:
            raise TookTooLong


def in_time(seconds: float, act: Callable[[], Any]) -> Any:
    """What it gives. TookTooLong is raised in it when it takes longer."""
    with Alarm(seconds) as alarm:
        return alarm.over(lambda _: act(), None)
