"""What the loop does when it does not lead, when a child is refused, and when an answer says how long to wait."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from smalt.api.kinds import EXPERIMENT, JOB, MODEL, POD, SECRET, TRAINING_RUN, WORKSPACE, Kind
from smalt.api.references import Address, address
from smalt.engine.loop import HOLD_SECONDS, Loop
from smalt.errors import ApiError, Conflict, NotFound, Refused, Unavailable
from smalt.metrics import Metrics
from support.memory_api import MemoryApi
from support.resources import (
    DIGEST,
    NAMESPACE,
    REGISTERING,
    SETTINGS,
    completed,
    ended,
    experiment,
    finished_run,
    job,
    model,
    pod,
    resource,
    run,
    said,
    workspace,
)

Json = dict[str, Any]


class Refusing(MemoryApi):
    """Answers writes of one kind with an error."""

    def __init__(self, verb: str = "", error: ApiError | None = None) -> None:
        super().__init__()
        self.verb, self.error = verb, error

    def _write(self, verb: str, kind: Kind, manifest: Json) -> None:
        super()._write(verb, kind, manifest)
        if self.error is not None and verb == self.verb:
            raise self.error


class Clock:
    """Time that a test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def leading(api: MemoryApi, *resources: Json) -> Loop:
    loop = Loop(api, SETTINGS, Metrics(), clock=Clock())
    loop.is_leading = True
    kinds = {kind.kind: kind for kind in (WORKSPACE, EXPERIMENT, TRAINING_RUN, MODEL)}
    for each in resources:
        loop.absorb(kinds[each["kind"]], api.put(kinds[each["kind"]], each))
    return loop


def emptied(loop: Loop) -> None:
    loop.queue = type(loop.queue)(loop.metrics, loop.clock)


def status_of(loop: Loop, name: str = "first") -> Json:
    found = loop.store.get(TRAINING_RUN, NAMESPACE, name)
    assert found is not None
    return dict(found.get("status") or {})


TRAINING = (workspace(), experiment(), run())
FIRST = address(TRAINING_RUN, run())
ARTIFACT = {"uri": "mlflow-artifacts:/1/a", "digest": DIGEST, "bytes": 1, "files": 1}
REPORT = json.dumps({"outputs": {"model": ARTIFACT}})


async def test_a_standby_keeps_its_cache_and_queues_nothing() -> None:
    api = MemoryApi()
    loop = Loop(api, SETTINGS, Metrics())
    loop.absorb(TRAINING_RUN, api.put(TRAINING_RUN, run()))
    assert len(loop.store.all(TRAINING_RUN)) == 1 and len(loop.queue) == 0


async def test_a_new_leader_looks_at_everything_and_at_runs_without_a_job_first() -> None:
    api = MemoryApi()
    loop = Loop(api, SETTINGS, Metrics())
    for kind, each in ((WORKSPACE, workspace()), (TRAINING_RUN, finished_run("old")), (TRAINING_RUN, run())):
        loop.absorb(kind, api.put(kind, each))
    loop.lead()
    order = [await loop.queue.get() for _ in range(len(loop.queue))]
    assert order[0] == FIRST
    assert set(order) == {FIRST, Address(TRAINING_RUN, NAMESPACE, "old"), address(WORKSPACE, workspace())}


async def test_a_child_that_is_refused_is_told_in_the_servers_words_and_tried_again() -> None:
    loop = leading(Refusing("POST", Refused("admission webhook says no", 403)), *TRAINING)
    with pytest.raises(Refused):
        await loop.reconcile(FIRST)
    found = said(status_of(loop))
    assert found["reason"] == "ChildRefused" and "admission webhook says no" in found["message"]


async def test_an_object_whose_deletion_was_missed_is_forgotten_and_its_job_is_not_made_again() -> None:
    api = Refusing("STATUS", NotFound("gone", 404))
    loop = leading(api, *TRAINING)
    loop.clock.now += HOLD_SECONDS  # type: ignore[attr-defined]
    for _ in range(3):
        await loop.reconcile(FIRST)
        loop.clock.now += HOLD_SECONDS  # type: ignore[attr-defined]
        api.objects.pop(("Job", NAMESPACE, "first-1"), None)
    assert api.writes.count("POST Job/first-1") == 1
    assert loop.store.get(TRAINING_RUN, NAMESPACE, "first") is None


async def test_a_status_decided_by_an_old_view_is_not_written_over_a_newer_one() -> None:
    api = MemoryApi()
    loop = leading(api, *TRAINING)
    loop.store.upsert(JOB, job(run(), startTime="2026-01-02T03:04:00Z"))
    ended_elsewhere = api.put(TRAINING_RUN, finished_run())
    with pytest.raises(Conflict):
        await loop.reconcile(FIRST)
    assert api.objects[("TrainingRun", NAMESPACE, "first")] == ended_elsewhere


class Slow(MemoryApi):
    """Writes a Job when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.let = asyncio.Event(), asyncio.Event()

    async def create(self, kind: Kind, manifest: Json) -> Json:
        self.asked.set()
        await self.let.wait()
        return await super().create(kind, manifest)


async def test_what_is_being_written_at_the_end_is_finished_and_nothing_new_is_begun() -> None:
    api = Slow()
    loop = leading(api, *TRAINING)
    working = asyncio.create_task(loop.work())
    await asyncio.wait_for(api.asked.wait(), 1)
    finishing = asyncio.create_task(loop.finish())
    await asyncio.sleep(0.01)
    assert not finishing.done()
    api.let.set()
    await asyncio.wait_for(asyncio.gather(finishing, working), 1)
    assert "POST Job/first-1" in api.writes
    loop.queue.add(FIRST)
    written = list(api.writes)
    await asyncio.sleep(0.01)
    assert api.writes == written


async def test_what_takes_too_long_at_the_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smalt.engine.loop.FINISH_SECONDS", 0.01)
    api = Slow()
    loop = leading(api, *TRAINING)
    working = asyncio.create_task(loop.work())
    await asyncio.wait_for(api.asked.wait(), 1)
    await asyncio.wait_for(loop.finish(), 1)
    api.let.set()
    await asyncio.wait_for(working, 1)
    assert "POST Job/first-1" not in api.writes


@pytest.mark.parametrize(
    ("error", "after"),
    [(Conflict("changed since", 409), 0.2), (Unavailable("busy", 429, 7.0), 7.0), (Unavailable("down", 503), 0.2)],
    ids=["conflict", "retry-after", "down"],
)
async def test_trouble_that_passes_is_tried_again_in_its_time_and_confessed_to_nobody(
    error: ApiError, after: float
) -> None:
    loop = leading(Refusing("POST", error), *TRAINING)
    emptied(loop)
    await loop._handle(FIRST)
    assert status_of(loop) == {}
    clock = loop.clock
    assert isinstance(clock, Clock)
    clock.now += after * 0.9
    loop.queue._promote()
    assert len(loop.queue) == 0
    clock.now += after * 0.2
    loop.queue._promote()
    assert len(loop.queue) == 1


async def test_an_end_is_written_at_once_though_a_child_was_made_with_it() -> None:
    it = run(**REGISTERING)
    done = job(it, **completed())
    loop = leading(MemoryApi(), workspace(), experiment(), it)
    loop.store.upsert(JOB, done)
    loop.store.upsert(POD, pod(done, **ended(REPORT)))
    await loop.reconcile(FIRST)
    assert isinstance(loop.api, MemoryApi)
    assert loop.api.writes == ["POST Model/churn-1", "STATUS TrainingRun/first"]
    assert status_of(loop)["model"] == "churn-1"


class Early(MemoryApi):
    """Somebody looks at what was just made before the answer is there."""

    looks: list[float | None]
    loop: Loop

    async def create(self, kind: Kind, manifest: Json) -> Json:
        made = await super().create(kind, manifest)
        self.loop.absorb(kind, made)
        if kind is MODEL:
            self.looks.append(await self.loop.reconcile(address(kind, made)))
        return made


async def test_a_model_whose_event_is_faster_than_the_answer_waits_for_its_run() -> None:
    api = Early()
    it = run(**REGISTERING)
    done = job(it, **completed())
    loop = leading(api, workspace(), experiment(), it)
    api.loop, api.looks = loop, []
    loop.store.upsert(JOB, done)
    loop.store.upsert(POD, pod(done, **ended(REPORT)))
    await loop.reconcile(FIRST)
    assert api.writes == ["POST Model/churn-1", "STATUS TrainingRun/first"]
    assert api.looks == [HOLD_SECONDS]
    await loop.reconcile(Address(MODEL, NAMESPACE, "churn-1"))
    assert api.writes[2:] == ["POST Job/churn-1-r1"], "what it says is held until the Job's pod has said something"


async def test_of_two_runs_that_register_at_once_one_waits_and_gets_the_next_number() -> None:
    api = MemoryApi()
    api.put(MODEL, model(1, labels={"smalt.dev/run-uid": "another"}))
    it = run(**REGISTERING)
    done = job(it, **completed())
    loop = leading(api, workspace(), experiment(), it)
    loop.store.upsert(JOB, done)
    loop.store.upsert(POD, pod(done, **ended(REPORT)))
    with pytest.raises(Conflict, match="registered by another run"):
        await loop.reconcile(FIRST)
    assert status_of(loop) == {}
    loop.absorb(MODEL, api.objects[("Model", NAMESPACE, "churn-1")])
    await loop.reconcile(FIRST)
    assert status_of(loop)["model"] == "churn-2"


async def test_a_held_status_is_not_held_for_the_next_object_of_that_name() -> None:
    loop = leading(MemoryApi(), *TRAINING)
    assert await loop.reconcile(FIRST) == HOLD_SECONDS
    found = loop.store.get(TRAINING_RUN, NAMESPACE, "first")
    assert found is not None
    loop.lose(TRAINING_RUN, found)
    assert loop._held == {}


async def test_what_is_not_watched_is_not_cached() -> None:
    loop = leading(MemoryApi())
    loop.absorb(SECRET, resource(SECRET, "prod-key") | {"data": {"primaryKey": "secret"}})
    assert SECRET not in loop.store._objects
