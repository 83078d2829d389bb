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


@pytest.mark.slow
def test_each_has_the_whole_of_its_time_and_whoever_is_over_it_is_interrupted() -> None:
    with Alarm(2.0) as alarm:
        for _ in range(2):
            # Together they take longer than each may.
            assert [alarm.over(busy, each) for each in (0.8, 0.8, 0.0, 0.8)] == [0.8, 0.8, 0.0, 0.8]
            began = time.perf_counter()
            with pytest.raises(TookTooLong):
                alarm.over(busy, 60)
            assert time.perf_counter() - began < 30
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


def own_alarm(question: str) -> str:
    signal.signal(signal.SIGALRM, lambda *_: rang.append(question))
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    return question


@pytest.mark.slow
@pytest.mark.parametrize("is_handled", [True, False])
def test_an_alarm_that_a_call_leaves_behind_rings_in_nobody_elses(is_handled: bool) -> None:
    def run(question: Any) -> Any:
        if question == "own":
            return own_alarm(question) if is_handled else signal.setitimer(signal.ITIMER_REAL, 100)
        return busy(question)

    rang.clear()
    answers = [found for part in Alone(run, 1.5).in_parts(["own", 0.5, 60], lambda _: True) for found in part.values()]
    assert answers[1] == 0.5 and not rang
    assert isinstance(answers[2], Failed) and isinstance(answers[2].error, TookTooLong)
