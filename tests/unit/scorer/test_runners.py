"""The time of each of several calls that have one alarm."""

from __future__ import annotations

import signal
import time
from typing import Any

import pytest

from smalt_scorer.runners import Alarm, Alone, Failed, TookTooLong

rang: list[str] = []


def busy(seconds: float) -> float:
    """Python that can be interrupted anywhere."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass
    return seconds


def test_each_has_the_whole_of_its_time_and_whoever_is_over_it_is_interrupted() -> None:
    began = time.perf_counter()
    with Alarm(0.2) as alarm:
        for _ in range(2):
            assert [alarm.over(busy, each) for each in (0.15, 0.15, 0.0, 0.15)] == [0.15, 0.15, 0.0, 0.15]
            with pytest.raises(TookTooLong):
                alarm.over(busy, 10)
    assert time.perf_counter() - began < 5
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


def own_alarm(question: str) -> str:
    signal.signal(signal.SIGALRM, lambda *_: rang.append(question))
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    return question


@pytest.mark.parametrize("is_handled", [True, False])
def test_an_alarm_that_a_call_leaves_behind_rings_in_nobody_elses(is_handled: bool) -> None:
    def run(question: Any) -> Any:
        if question == "own":
            return own_alarm(question) if is_handled else signal.setitimer(signal.ITIMER_REAL, 100)
        return busy(question)

    rang.clear()
    answers = [found for part in Alone(run, 0.3).in_parts(["own", 0.2, 10], lambda _: True) for found in part.values()]
    assert answers[1] == 0.2 and not rang
    assert isinstance(answers[2], Failed) and isinstance(answers[2].error, TookTooLong)
