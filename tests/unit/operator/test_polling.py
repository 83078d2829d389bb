"""Each running pod is asked once a round, beside the workers; only news wakes its run; the silent harm nobody."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from smalt.api.kinds import TRAINING_RUN
from smalt.api.references import Address
from smalt.engine import polling
from smalt.engine.polling import AT_A_TIME, Poller
from smalt.reconcilers.world import StatusOf

Json = dict[str, Any]
ROUND = 0.05


class Pods:
    """What the recorder at each address answers; an exception is raised, and None is silence."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.asked: Counter[str] = Counter()
        self.times: list[float] = []
        self.at_once = self.most_at_once = 0
        self.takes = 0.0

    async def ask(self, address: str) -> Json | None:
        self.asked[address] += 1
        self.times.append(asyncio.get_running_loop().time())
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            answer = self.answers.get(address)
            await asyncio.sleep(self.takes if answer is None else 0)
        finally:
            self.at_once -= 1
        if isinstance(answer, Exception):
            raise answer
        return dict(answer) if answer is not None else None


class Woken:
    """Who was told of news."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(self, who: Address) -> None:
        self.names.append(who.name)


def run_named(name: str) -> Address:
    return Address(TRAINING_RUN, "team-a", name)


def pod_at(address: str) -> StatusOf:
    return StatusOf(f"uid-{address}", address)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 — what is waited for tells nobody
            await asyncio.sleep(0.005)


@pytest.fixture
def pods() -> Pods:
    return Pods()


@pytest.fixture
def woken() -> Woken:
    return Woken()


@pytest.fixture
async def poller(pods: Pods, woken: Woken) -> AsyncIterator[Poller]:
    made = Poller(pods, woken, every=ROUND)
    yield made
    await made.stop()


async def test_news_wake_the_run_and_the_same_again_does_not(poller: Poller, pods: Pods, woken: Woken) -> None:
    pods.answers["a"] = {"metrics": {"auc": 0.5}}
    poller.follow(run_named("first"), [pod_at("a")])
    await until(lambda: pods.asked["a"] >= 4)
    assert woken.names == ["first"] and poller.said(run_named("first")) == {"metrics": {"auc": 0.5}}
    pods.answers["a"] = {"metrics": {"auc": 0.6}}
    await until(lambda: len(woken.names) == 2)
    assert poller.said(run_named("first")) == {"metrics": {"auc": 0.6}}


async def test_rounds_begin_at_equal_distances_whatever_answers_take(poller: Poller, pods: Pods) -> None:
    pods.answers["a"] = {}
    poller.follow(run_named("first"), [pod_at("a")])
    await until(lambda: pods.asked["a"] >= 4)
    gaps = [later - sooner for sooner, later in zip(pods.times, pods.times[1:], strict=False)]
    assert min(gaps) >= ROUND * 0.99


async def test_silence_leaves_the_last_answer(poller: Poller, pods: Pods, woken: Woken) -> None:
    pods.answers["a"] = {"metrics": {"auc": 0.5}}
    poller.follow(run_named("first"), [pod_at("a")])
    await until(lambda: woken.names == ["first"])
    pods.answers["a"] = None
    asked = pods.asked["a"]
    await until(lambda: pods.asked["a"] > asked + 1)
    assert poller.said(run_named("first")) == {"metrics": {"auc": 0.5}} and woken.names == ["first"]


async def test_who_reads_another_pod_hears_nothing_of_the_one_before(poller: Poller, pods: Pods, woken: Woken) -> None:
    pods.answers |= {"a": {"metrics": {"auc": 0.5}}, "b": None}
    poller.follow(run_named("first"), [pod_at("a")])
    await until(lambda: woken.names == ["first"])
    poller.follow(run_named("first"), [pod_at("b")])
    assert poller.said(run_named("first")) is None
    asked = pods.asked["a"]
    await until(lambda: pods.asked["b"] >= 2)
    assert pods.asked["a"] == asked


async def test_who_reads_no_pod_any_more_is_not_followed(poller: Poller, pods: Pods) -> None:
    pods.answers["a"] = {}
    for name in ("first", "second"):
        poller.follow(run_named(name), [pod_at("a")])
    await until(lambda: pods.asked["a"] >= 2)
    poller.follow(run_named("first"), [])
    await poller.stop()
    asked = pods.asked["a"]
    await asyncio.sleep(ROUND * 3)
    assert pods.asked["a"] == asked and poller.said(run_named("first")) is None


async def test_one_that_does_not_answer_is_asked_ever_more_rarely(
    poller: Poller, pods: Pods, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polling, "FIRST_SECONDS", 0.01)
    pods.answers |= {"silent": None, "there": {}}
    for address in ("silent", "there"):
        poller.follow(run_named(address), [pod_at(address)])
    await until(lambda: pods.asked["there"] >= 12)
    assert 2 <= pods.asked["silent"] < 12, "without patience it would have been fifty times"


async def test_a_defect_is_told_and_the_next_round_tries_again(
    poller: Poller, pods: Pods, woken: Woken, caplog: pytest.LogCaptureFixture
) -> None:
    pods.answers["a"] = ZeroDivisionError("a defect")
    poller.follow(run_named("first"), [pod_at("a")])
    await until(lambda: pods.asked["a"] >= 2)
    pods.answers["a"] = {"metrics": {}}
    await until(lambda: woken.names == ["first"])
    assert "a defect" in caplog.text


@pytest.mark.slow
async def test_a_thousand_runs_are_spread_over_the_round_and_their_silence_takes_few_places(
    pods: Pods, woken: Woken
) -> None:
    every = 1.0
    poller = Poller(pods, woken, every=every)
    pods.takes = 0.2
    for number in range(1000):
        poller.follow(run_named(f"run-{number}"), [pod_at(f"silent-{number}")])
    pods.answers["there"] = {"metrics": {"auc": 1.0}}
    poller.follow(run_named("there"), [pod_at("there")])
    began = asyncio.get_running_loop().time()
    await until(lambda: len(pods.asked) == 1001)
    assert woken.names == ["there"] and pods.most_at_once <= AT_A_TIME
    first = sum(1 for each in pods.times if each < began + every / 4)
    assert first < 500, "all at once would be in the way of everything else"
    await poller.stop()
    assert pods.at_once == 0
