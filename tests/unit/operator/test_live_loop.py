"""What recorders say comes into the status of running runs, in few writes, and holds nobody up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import pytest

from smalt.api.kinds import EXPERIMENT, JOB, POD, TRAINING_RUN, WORKSPACE, Kind
from smalt.api.references import Address, address
from smalt.engine.loop import WORDS_SECONDS, Loop
from smalt.metrics import Metrics
from smalt.reconcilers.world import LiveRead
from support.memory_api import MemoryApi
from support.resources import NAMESPACE, SETTINGS, THEN, experiment, job, pod, run, workspace

Json = dict[str, Any]


class Clock:
    """Time that a test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def saying(phase: str = "Running", **said: Any) -> Json:
    return {"phase": phase, "reason": phase, "message": "", "metrics": {}} | said


class Recorder:
    """Answers at once, or hangs."""

    def __init__(self) -> None:
        self.said: Json | None = saying()
        self.asked: list[str] = []

    async def ask(self, address: str) -> Json | None:
        self.asked.append(address)
        if self.said is None:
            await asyncio.Event().wait()
        return self.said


class Answers:
    """In the place of the poller: its answer is there at once."""

    def __init__(self) -> None:
        self.answer: Json | None = None

    def follow(self, who: Address, reads: Iterable[LiveRead]) -> None: ...

    def said(self, who: Address) -> Json | None:
        return self.answer


class Bench:
    """A leading loop with one run whose two containers run."""

    def __init__(self) -> None:
        self.api, self.clock, self.recorder = MemoryApi(), Clock(), Recorder()
        self.loop = Loop(self.api, SETTINGS, Metrics(), clock=self.clock, is_leading=True, recorders=self.recorder)
        self.put(WORKSPACE, workspace())
        self.put(EXPERIMENT, experiment())
        self.begin("first", "10.0.0.7")

    def put(self, kind: Kind, each: Json) -> None:
        self.loop.absorb(kind, self.api.put(kind, each))

    def begin(self, name: str, ip: str) -> None:
        it = run(name)
        states = [{"name": each, "state": {"running": {"startedAt": THEN}}} for each in ("training", "recorder")]
        self.put(TRAINING_RUN, it)
        self.put(JOB, job(it))
        self.put(POD, pod(job(it), f"pod-{name}", podIP=ip, containerStatuses=states))

    async def reconcile(self) -> float | None:
        return await self.loop.reconcile(address(TRAINING_RUN, run()))

    @property
    def status(self) -> Json:
        found = self.loop.store.get(TRAINING_RUN, NAMESPACE, "first")
        assert found is not None
        return dict(found.get("status", {}))

    @property
    def following(self) -> int:
        assert self.loop._poller
        return self.loop._poller.following()


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    await made.loop.finish()


async def until(holds: Callable[[], bool], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 — what is waited for tells nobody
            await asyncio.sleep(0.001)


async def test_an_answer_wakes_the_run_and_comes_into_its_status(bench: Bench) -> None:
    bench.recorder.said = saying(progress={"percent": 40}, metrics={"auc": 0.5})
    bench.loop.lead()
    working = asyncio.create_task(bench.loop.work())
    await until(lambda: bench.status.get("metrics") == {"auc": 0.5})
    assert (bench.status["progress"], bench.status["phase"]) == ({"percent": 40}, "Running")
    assert bench.recorder.asked == ["10.0.0.7"]
    await bench.loop.finish()
    await asyncio.gather(working, return_exceptions=True)


async def test_it_is_written_once_in_ten_seconds_and_not_again_unchanged(bench: Bench) -> None:
    answers = Answers()
    bench.loop._poller = answers  # type: ignore[assignment]
    for auc, percent, seconds, writes in (
        (0.5, 40, 0.0, 1),  # the phase, and the numbers with it
        (0.5, 40, 60.0, 1),
        (0.6, 40, 1.0, 2),
        (0.7, 40, 1.0, 2),  # too soon
        (0.7, 50, WORDS_SECONDS - 1.1, 2),  # still
        (0.8, 50, 0.1, 3),
        (0.8, 50, 3600.0, 3),
    ):
        answers.answer = saying(progress={"percent": percent}, metrics={"auc": auc})
        bench.clock.now += seconds
        wait = await bench.reconcile()
        assert bench.api.writes.count("STATUS TrainingRun/first") == writes, (auc, percent)
        assert wait is None or 0 < wait < WORDS_SECONDS
    assert bench.status["metrics"] == {"auc": 0.8}
    answers.answer = saying("Finalizing", metrics={"auc": 0.8})
    await bench.reconcile()
    assert bench.status["phase"] == "Finalizing", "another phase does not wait"
    bench.loop._poller = None


async def test_a_run_that_is_gone_is_not_asked_any_more(bench: Bench) -> None:
    await bench.reconcile()
    assert bench.following == 1
    found = bench.loop.store.get(TRAINING_RUN, NAMESPACE, "first")
    assert found is not None
    bench.loop.lose(TRAINING_RUN, found)
    assert bench.following == 0


async def test_a_run_whose_job_has_ended_is_not_asked_any_more(bench: Bench) -> None:
    await bench.reconcile()
    ended = job(run(), conditions=[{"type": "Complete", "status": "True"}])
    bench.put(JOB, ended)
    await bench.reconcile()
    assert bench.following == 0


async def test_one_who_leads_no_more_asks_nobody(bench: Bench) -> None:
    bench.recorder.said = None
    await bench.reconcile()
    await until(lambda: bench.recorder.asked != [])
    await bench.loop.finish()
    assert bench.following == 0


@pytest.mark.slow
async def test_a_thousand_recorders_that_hang_hold_up_no_other_run(bench: Bench) -> None:
    bench.recorder.said = None
    for number in range(1000):
        bench.begin(f"running-{number}", f"10.0.{number // 250}.{number % 250}")
    bench.loop.lead()
    working = asyncio.create_task(bench.loop.work())
    await until(lambda: bench.following == 1001 and len(bench.recorder.asked) > 0)
    bench.put(TRAINING_RUN, run("new"))
    await until(lambda: "POST Job/new-1" in bench.api.writes)
    await bench.loop.finish()
    await asyncio.gather(working, return_exceptions=True)
