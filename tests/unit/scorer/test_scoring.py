"""The hand-over between the event loop and the main thread: who goes together, who is given up, whose error is whose."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from smalt_scorer.joined.runs import Runs
from smalt_scorer.runners import Alone, Failed, Runner, Turn
from smalt_scorer.scoring import Busy, CallerGone, Scoring, ScriptError, TimedOut

Asking = Callable[[Scoring], Awaitable[Any]]


class Together:
    """Answers what it is asked, doubled; the first batch holds until it is let go. Keeps what went together."""

    def __init__(self, most: int = 64) -> None:
        self.most = most
        self.batches: list[list[Any]] = []
        self.go = threading.Event()

    def __call__(self, questions: Sequence[Any]) -> Sequence[Any]:
        self.batches.append(list(questions))
        if len(self.batches) == 1:
            assert self.go.wait(10)
        if "bad" in questions:
            raise KeyError("bad")
        return [Failed(ValueError()) if each == "alone" else each * 2 for each in questions]


def played(scoring: Scoring, runner: Runner, asking: Asking) -> Any:
    """What comes of asking in an event loop, while this thread, the main one, works."""
    outcome: list[Any] = []

    def loop() -> None:
        try:
            outcome.append(asyncio.run(asking(scoring)))  # type: ignore[arg-type]
        except BaseException as error:
            outcome.append(error)
        finally:
            scoring.stop()

    thread = threading.Thread(target=loop)
    thread.start()
    scoring.work(runner)
    thread.join(10)
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]


def made(**changes: Any) -> Scoring:
    given: dict[str, Any] = {"timeout_seconds": 5.0, "max_waiting": 100, "max_queue_wait_seconds": 5.0}
    return Scoring(**(given | {"on_stuck": lambda: None} | changes))


async def until(holds: Callable[[], object]) -> None:
    """Until the main thread, which knows no event loop, has come so far."""
    while not holds():  # noqa: ASYNC110
        await asyncio.sleep(0.001)


async def held(scoring: Scoring, runner: Together, first: Any, *others: Any, let_go: bool = True) -> list[Any]:
    """The outcomes; the others are asked while the first is being worked on."""
    asked = [asyncio.create_task(scoring.score(first))]
    await until(lambda: runner.batches)
    asked += [asyncio.create_task(scoring.score(each)) for each in others]
    await asyncio.sleep(0)
    if let_go:
        runner.go.set()
    found = await asyncio.gather(*asked, return_exceptions=True)
    runner.go.set()
    return [each[0] if isinstance(each, tuple) else each for each in found]


def test_what_came_while_the_model_was_busy_goes_together_in_its_order() -> None:
    runner = Together()
    assert played(made(), runner, lambda it: held(it, runner, 1, 2, 3, 4)) == [2, 4, 6, 8]
    assert runner.batches == [[1], [2, 3, 4]]


def test_no_more_go_together_than_the_runner_takes() -> None:
    runner = Together(most=2)
    assert played(made(), runner, lambda it: held(it, runner, *range(6))) == [0, 2, 4, 6, 8, 10]
    assert runner.batches == [[0], [1, 2], [3, 4], [5]]


def test_nobody_gets_anothers_error(capsys: pytest.CaptureFixture[str]) -> None:
    runner = Together()
    found = played(made(), runner, lambda it: held(it, runner, 1, 2, "bad", 3))
    assert found[:2] == [2, 4] and found[3] == 6
    assert isinstance(found[2], ScriptError) and str(found[2]) == "KeyError"
    assert runner.batches[1:] == [[2, "bad", 3], [2], ["bad"], [3]]
    assert capsys.readouterr().err.count("KeyError: ") == 1


def test_an_answer_that_is_an_error_is_its_askers_alone() -> None:
    runner = Together()
    found = played(made(), runner, lambda it: held(it, runner, 1, "alone", 3))
    assert (found[0], str(found[1]), found[2]) == (2, "ValueError", 6)
    assert runner.batches == [[1], ["alone", 3]]


def test_who_has_gone_is_passed_over_and_gives_up_the_place() -> None:
    runner, scoring = Together(), made(max_waiting=2)

    async def asking(it: Scoring) -> Any:
        first = asyncio.create_task(it.score(1))
        await until(lambda: runner.batches)
        gone = asyncio.create_task(it.score(2, SimpleNamespace(disconnected=True)))
        await asyncio.sleep(0)
        runner.go.set()
        with pytest.raises(CallerGone):
            await gone
        await first
        return await it.score(3)

    assert played(scoring, runner, asking)[0] == 6
    assert runner.batches == [[1], [3]]


def test_more_than_may_wait_are_refused_at_once() -> None:
    runner = Together()
    found = played(made(max_waiting=2), runner, lambda it: held(it, runner, 1, 2, 3))
    assert found[:2] == [2, 4] and isinstance(found[2], Busy)


def test_who_waits_too_long_is_refused_and_not_worked_on() -> None:
    runner = Together()
    scoring = made(max_queue_wait_seconds=0.1)

    async def asking(it: Scoring) -> list[Any]:
        began = time.monotonic()
        held_ = asyncio.create_task(held(it, runner, 1, 2, let_go=False))
        await asyncio.sleep(0.3)
        runner.go.set()
        found = await held_
        assert time.monotonic() - began < 5
        return found

    found = played(scoring, runner, asking)
    assert found[0] == 2 and isinstance(found[1], Busy)
    assert runner.batches == [[1]]


def test_a_batch_over_its_time_is_interrupted_and_the_next_is_served(capsys: pytest.CaptureFixture[str]) -> None:
    def run(question: Any) -> Any:
        while question == "slow":
            pass
        return question

    async def asking(it: Scoring) -> list[Any]:
        return await asyncio.gather(it.score("slow"), it.score("quick"), return_exceptions=True)

    slow, quick = played(made(timeout_seconds=0.2), Alone(run, 0.2), asking)
    assert isinstance(slow, TimedOut) and quick[0] == "quick"
    assert "interrupted after 0.2 s" in capsys.readouterr().err


def test_who_watches_hears_how_long_each_waited_and_how_long_the_batch_took() -> None:
    heard: list[tuple[int, float]] = []

    class Watching:
        def asked(self, waited: Sequence[float], seconds: float) -> None:
            heard.append((len(waited), seconds))
            assert all(each >= 0 for each in waited)

    runner = Together()
    played(made(observer=Watching()), runner, lambda it: held(it, runner, 1, 2, 3))
    assert [count for count, _ in heard] == [1, 2] and all(seconds >= 0 for _, seconds in heard)


def test_runs_of_a_script_see_one_question_at_a_time_in_their_order(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[Any] = []
    begun, go = threading.Event(), threading.Event()

    def run(question: Any) -> Any:
        seen.append(question)
        if question == 0:
            begun.set()
            assert go.wait(10)
        if question == 2:
            sys.exit(2)
        while question == 3:
            pass
        return question * 2

    async def asking(it: Scoring) -> Any:
        asked = [asyncio.create_task(it.score(0))]
        await until(begun.is_set)
        asked += [asyncio.create_task(it.score(each)) for each in range(1, 6)]
        await asyncio.sleep(0)
        go.set()
        return await asyncio.gather(*asked, return_exceptions=True)

    began = time.monotonic()
    found = played(made(timeout_seconds=0.3), Alone(run, 0.3), asking)
    assert time.monotonic() - began < 5
    assert [found[at][0] for at in (0, 1, 4, 5)] == [0, 2, 8, 10]
    assert str(found[2]) == "SystemExit" and isinstance(found[3], TimedOut)
    assert seen == [0, 1, 2, 3, 4, 5]
    assert "run() was interrupted after 0.3 s" in capsys.readouterr().err


def test_answers_do_not_wait_for_slow_runs_behind_them() -> None:
    runner = Alone(lambda each: time.sleep(each) or each, 5.0)
    parts = [list(part) for part in runner.in_parts([0.01, 0.0, 0.01, 0.0], lambda number: True)]
    assert [number for part in parts for number in part] == [0, 1, 2, 3]
    assert parts[0] == [0] and len(parts) in (3, 4)


class InParts(Together):
    """Answers the first two questions of each batch, each in a part of its own, and leaves the others for later."""

    def in_parts(self, questions: Sequence[Any], turn: Turn) -> Iterator[dict[int, Any]]:
        self.batches.append(list(questions))
        for number, each in enumerate(questions[:2]):
            turn(number)
            if each == "broken":
                raise MemoryError
            yield {number: Failed(ValueError()) if each == "alone" else each * 2}


def test_those_whose_turn_has_not_come_are_first_in_the_next_batch() -> None:
    runner = InParts()
    assert played(made(), runner, lambda it: held(it, runner, *range(6))) == [0, 2, 4, 6, 8, 10]
    assert runner.batches == [[0], [1, 2, 3, 4, 5], [3, 4, 5], [5]]


def test_an_error_in_a_part_is_its_askers_alone(capsys: pytest.CaptureFixture[str]) -> None:
    runner = InParts()
    found = played(made(), runner, lambda it: held(it, runner, 1, "alone", 3))
    assert (found[0], str(found[1]), found[2]) == (2, "ValueError", 6)
    assert "ValueError" in capsys.readouterr().err


def test_a_runner_that_breaks_down_among_several_asks_each_alone() -> None:
    runner = InParts()
    found = played(made(), runner, lambda it: held(it, runner, 1, 2, "broken", 4))
    assert found == [2, 4, "brokenbroken", 8]
    assert runner.batches == [[1], [2, "broken", 4], ["broken"], [4]]


def test_what_is_put_off_is_done_before_it_stops() -> None:
    runner, scoring = InParts(), made()

    async def asking(it: Scoring) -> Any:
        asked = [asyncio.create_task(it.score(0))]
        await until(lambda: runner.batches)
        asked += [asyncio.create_task(it.score(each)) for each in range(1, 6)]
        await asyncio.sleep(0)
        it.stop()
        runner.go.set()
        return [each for each, _ in await asyncio.gather(*asked)]

    assert played(scoring, runner, asking) == [0, 2, 4, 6, 8, 10]


def test_who_waits_too_long_while_others_of_the_batch_have_their_turn_is_refused() -> None:
    class Slow(InParts):
        def in_parts(self, questions: Sequence[Any], turn: Turn) -> Iterator[dict[int, Any]]:
            for part in super().in_parts(questions, turn):
                time.sleep(0.2)
                yield part

    runner = Slow()
    found = played(made(max_queue_wait_seconds=0.3), runner, lambda it: held(it, runner, *range(6)))
    assert found[:3] == [0, 2, 4]
    assert [type(each) for each in found[3:]] == [Busy] * 3


@pytest.mark.parametrize("together", [False, True], ids=["one by one", "joined"])
def test_no_time_goes_into_what_nobody_waits_for_any_more(together: bool) -> None:
    """Taken together with others, and given up before its turn: it would keep the turn from those who still wait."""
    begun: list[int] = []

    def run(number: int) -> int:
        begun.append(number)
        time.sleep(0.1)
        return number

    async def asking(it: Scoring) -> list[Any]:
        return await asyncio.gather(*(it.score(number) for number in range(12)), return_exceptions=True)

    runner = Runs(run, 5.0, []) if together else Alone(run, 5.0)
    found = played(made(max_queue_wait_seconds=0.25), runner, asking)
    answered = [each[0] for each in found if isinstance(each, tuple)]
    assert answered == begun and 1 < len(answered) < 6
    assert sum(isinstance(each, Busy) for each in found) == 12 - len(answered)
