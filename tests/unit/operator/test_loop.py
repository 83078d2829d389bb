"""One reconcile in full: children before status, a status held while it is about to change, nothing at rest."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from smalt.api.kinds import EXPERIMENT, JOB, POD, TRAINING_RUN, WORKSPACE, Kind
from smalt.api.references import address
from smalt.engine.burst import BURST, BURST_SECONDS
from smalt.engine.loop import COUNTS_SECONDS, HOLD_SECONDS, Loop, difference
from smalt.engine.queue import Queue
from smalt.errors import Conflict
from smalt.metrics import Metrics
from support.memory_api import MemoryApi, merged
from support.resources import NAMESPACE, SETTINGS, experiment, finished_run, pod, run, said, workspace

Json = dict[str, Any]


class Clock:
    """Time that a test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """A leading loop with an API server that holds a few objects."""

    def __init__(self, *resources: tuple[Any, Json]) -> None:
        self.api, self.clock, self.metrics = MemoryApi(), Clock(), Metrics()
        self.loop = Loop(self.api, SETTINGS, self.metrics, clock=self.clock)
        self.loop.is_leading = True
        for kind, each in resources:
            self.put(kind, each)

    def put(self, kind: Any, each: Json) -> None:
        self.loop.absorb(kind, self.api.put(kind, each))

    async def reconcile(self, kind: Any, each: Json) -> float | None:
        return await self.loop.reconcile(address(kind, each))

    def status(self, kind: Any, each: Json) -> Json:
        found = self.loop.store.get(kind, NAMESPACE, each["metadata"]["name"])
        assert found is not None
        return dict(found.get("status", {}))


def training() -> Bench:
    return Bench((WORKSPACE, workspace()), (EXPERIMENT, experiment()), (TRAINING_RUN, run()))


async def test_the_job_comes_first_and_the_status_is_held_for_a_moment() -> None:
    bench = training()
    again = await bench.reconcile(TRAINING_RUN, run())
    assert bench.api.writes == ["POST Job/first-1"]
    assert again is not None and 0 < again <= HOLD_SECONDS
    bench.clock.now += HOLD_SECONDS
    await bench.reconcile(TRAINING_RUN, run())
    assert bench.api.writes == ["POST Job/first-1", "STATUS TrainingRun/first"]
    assert bench.status(TRAINING_RUN, run())["job"] == "first-1"


async def test_a_run_that_made_its_job_is_not_looked_at_again_for_that() -> None:
    bench = training()
    bench.loop.queue = Queue(bench.metrics, bench.clock)  # without what lists have brought
    await bench.reconcile(TRAINING_RUN, run())
    assert len(bench.loop.queue) == 0
    job = bench.loop.store.get(JOB, NAMESPACE, "first-1")
    assert job is not None
    bench.put(JOB, job | {"status": {"active": 1}})
    assert await bench.loop.queue.get() == address(TRAINING_RUN, run())


async def test_what_a_run_mounts_is_looked_for_all_at_once() -> None:
    bench = training()
    inputs = {name: {"type": "uriFile", "path": f"configmap://{name}/key"} for name in ("train", "test")}
    waiting = run(inputs=inputs)
    together = asyncio.Barrier(len(inputs))
    find = bench.api.find

    async def slowly(kind: Kind, namespace: str, name: str) -> Json | None:
        await asyncio.wait_for(together.wait(), 5)
        return await find(kind, namespace, name)

    bench.api.find = slowly  # type: ignore[method-assign]
    bench.put(TRAINING_RUN, waiting)
    await bench.reconcile(TRAINING_RUN, waiting)
    assert said(bench.status(TRAINING_RUN, waiting))["reason"] == "WaitingForConfigMap"


async def test_at_rest_nothing_is_written() -> None:
    bench = training()
    for _ in range(2):
        await bench.reconcile(TRAINING_RUN, run())
        bench.clock.now += HOLD_SECONDS
    written = list(bench.api.writes)
    for _ in range(5):
        await bench.reconcile(TRAINING_RUN, run())
    assert bench.api.writes == written


async def test_counts_are_joined_into_one_write_in_five_seconds() -> None:
    bench = Bench((WORKSPACE, workspace()), (EXPERIMENT, experiment()))
    await bench.reconcile(EXPERIMENT, experiment())
    waits = []
    for name in "abc":
        bench.put(TRAINING_RUN, finished_run(name))
        waits.append(await bench.reconcile(EXPERIMENT, experiment()))
    assert bench.api.writes.count("STATUS Experiment/trials") == 2
    assert waits[0] is None and all(wait and wait <= COUNTS_SECONDS for wait in waits[1:])
    bench.clock.now += COUNTS_SECONDS
    await bench.reconcile(EXPERIMENT, experiment())
    assert bench.status(EXPERIMENT, experiment())["runs"]["succeeded"] == 3


async def test_a_name_that_is_taken_becomes_a_condition() -> None:
    bench = training()
    stranger = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "first-1", "namespace": NAMESPACE, "uid": "x"},
    }
    bench.api.put(JOB, stranger)
    await bench.reconcile(TRAINING_RUN, run())
    status = bench.status(TRAINING_RUN, run())
    assert said(status, "Stalled")["reason"] == "NameTaken" and "Job 'first-1'" in said(status)["message"]


async def test_a_defect_of_ours_is_confessed_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = training()

    def broken(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("smalt.reconcilers.training_run.plan", broken)
    await bench.loop._handle(address(TRAINING_RUN, run()))
    status = bench.status(TRAINING_RUN, run())
    assert (said(status)["status"], said(status)["reason"]) == ("Unknown", "InternalError")
    for family in ("reconcile_errors", "reconcile_panics"):
        assert f'controller_runtime_{family}_total{{controller="trainingrun"}} 1.0' in metrics_text(bench)


async def test_an_api_server_that_is_down_only_delays() -> None:
    bench = training()
    bench.api.is_down = True
    await bench.loop._handle(address(TRAINING_RUN, run()))
    bench.api.is_down = False
    assert await bench.loop.queue.get() is not None


async def test_an_object_on_its_way_out_is_left_alone() -> None:
    leaving = run() | {"metadata": run()["metadata"] | {"deletionTimestamp": "2026-01-01T00:00:00Z"}}
    bench = Bench((WORKSPACE, workspace()), (EXPERIMENT, experiment()), (TRAINING_RUN, leaving))
    assert await bench.reconcile(TRAINING_RUN, run()) is None
    assert bench.api.writes == []


def metrics_text(bench: Bench) -> str:
    from prometheus_client import generate_latest

    return generate_latest(bench.metrics.registry).decode()


def test_conditions_are_shown_by_the_leader_alone_and_go_with_their_object() -> None:
    bench = Bench((WORKSPACE, workspace()))
    series = 'smalt_resource_condition{kind="Workspace",name="lab",namespace="team-a",status="True",type="Ready"} 1.0'
    assert series in metrics_text(bench)
    bench.loop.is_leading = False
    assert "smalt_resource_condition" in metrics_text(bench) and series not in metrics_text(bench)
    bench.loop.is_leading = True
    found = bench.loop.store.get(WORKSPACE, NAMESPACE, "lab")
    assert found is not None
    bench.loop.lose(WORKSPACE, found)
    assert series not in metrics_text(bench)


FAMILIES = (
    "smalt_live_status_requests_total",
    "controller_runtime_reconcile_total",
    "controller_runtime_reconcile_errors_total",
    "controller_runtime_reconcile_panics_total",
    "controller_runtime_terminal_reconcile_errors_total",
    "controller_runtime_reconcile_time_seconds",
    "controller_runtime_active_workers",
    "controller_runtime_max_concurrent_reconciles",
    "workqueue_depth",
    "workqueue_adds_total",
    "workqueue_retries_total",
    "workqueue_queue_duration_seconds",
    "workqueue_work_duration_seconds",
    "workqueue_unfinished_work_seconds",
    "workqueue_longest_running_processor_seconds",
    "rest_client_requests_total",
    "leader_election_master_status",
    "smalt_resource_condition",
)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_there_from_the_start(family: str) -> None:
    assert f"# TYPE {family.removesuffix('_total')}" in metrics_text(Bench())


@pytest.mark.parametrize(
    ("present", "new"),
    [
        ({}, {"a": 1}),
        ({"a": 1, "b": 2}, {"a": 1}),
        ({"metrics": {"auc": 1, "old": 2}}, {"metrics": {"auc": 3}}),
        ({"conditions": [1]}, {"conditions": [2, 3]}),
        ({"a": {"b": {"c": 1}}}, {"a": {"b": {}}}),
    ],
)
def test_the_difference_turns_one_status_into_the_other(present: Json, new: Json) -> None:
    assert merged(present, difference(present, new)) == new


async def test_a_first_status_waits_for_a_burst_of_jobs_and_a_later_one_does_not() -> None:
    bench = training()
    await bench.reconcile(TRAINING_RUN, run())
    bench.clock.now += HOLD_SECONDS
    for _ in range(BURST):
        bench.loop._burst.made(bench.clock.now)
    again = await bench.reconcile(TRAINING_RUN, run())
    assert again is not None and again > 0
    assert bench.api.writes == ["POST Job/first-1"]
    bench.clock.now += BURST_SECONDS + 0.1
    await bench.reconcile(TRAINING_RUN, run())
    assert bench.api.writes[1:] == ["STATUS TrainingRun/first"]
    for _ in range(BURST):
        bench.loop._burst.made(bench.clock.now)
    made = bench.loop.store.get(JOB, NAMESPACE, "first-1")
    assert made is not None
    bench.put(
        POD,
        pod(
            {"apiVersion": "batch/v1", "kind": "Job", **made},
            containerStatuses=[{"name": "training", "state": {"running": {}}}],
        ),
    )
    await bench.reconcile(TRAINING_RUN, run())
    assert bench.api.writes[2:] == ["STATUS TrainingRun/first"]


KEPT_AN_HOUR: Json = {"retention": {"finishedRuns": "1h"}}


def old_run(name: str = "old") -> Json:
    return finished_run(name, workspace="lab")


async def test_an_old_run_is_deleted_as_it_was_seen_and_no_other() -> None:
    bench = Bench((WORKSPACE, workspace(KEPT_AN_HOUR)), (TRAINING_RUN, old_run()))
    await bench.reconcile(WORKSPACE, workspace())
    assert "DELETE TrainingRun/old" in bench.api.writes
    assert await bench.api.find(TRAINING_RUN, NAMESPACE, "old") is None


async def test_an_old_run_that_has_changed_since_stays_until_it_is_looked_at_again() -> None:
    bench = Bench((WORKSPACE, workspace(KEPT_AN_HOUR)), (TRAINING_RUN, old_run()))
    bench.api.put(TRAINING_RUN, old_run() | {"spec": old_run()["spec"] | {"suspend": True}})
    await bench.reconcile(WORKSPACE, workspace())
    assert await bench.api.find(TRAINING_RUN, NAMESPACE, "old") is not None
    assert bench.loop.store.get(TRAINING_RUN, NAMESPACE, "old") is not None


async def test_an_old_run_whose_deletion_was_missed_is_forgotten() -> None:
    bench = Bench((WORKSPACE, workspace(KEPT_AN_HOUR)), (TRAINING_RUN, old_run()))
    bench.api.objects.clear()
    bench.api.put(WORKSPACE, workspace(KEPT_AN_HOUR))
    bench.put(WORKSPACE, workspace(KEPT_AN_HOUR))
    await bench.reconcile(WORKSPACE, workspace())
    assert bench.loop.store.get(TRAINING_RUN, NAMESPACE, "old") is None


def queued_run(name: str) -> Json:
    condition = {"type": "Ready", "status": "False", "reason": "Queued", "message": ""}
    return run(name, status={"observedGeneration": 1, "phase": "Queued", "conditions": [condition]})


async def test_a_place_is_given_at_once_and_who_got_it_is_woken() -> None:
    limited = workspace({"policy": {"maxConcurrentRuns": 1}})
    bench = Bench((WORKSPACE, limited), (EXPERIMENT, experiment()), (TRAINING_RUN, queued_run("first")))
    await waiting_in(bench.loop)
    await bench.reconcile(WORKSPACE, limited)
    assert bench.status(WORKSPACE, limited)["queue"] == {"admitted": ["first"], "lastServed": "trials"}
    assert address(TRAINING_RUN, run()) in await waiting_in(bench.loop)


async def waiting_in(loop: Loop) -> list[Any]:
    """All that waits in the queue, taken out."""
    found = []
    while len(loop.queue):
        found.append(await loop.queue.get())
        loop.queue.done(found[-1])
    return found


async def test_of_two_operators_only_one_gives_the_last_place_away() -> None:
    limited = workspace({"policy": {"maxConcurrentRuns": 1}})
    world = [(EXPERIMENT, experiment()), (TRAINING_RUN, queued_run("a")), (TRAINING_RUN, queued_run("b"))]
    bench = Bench((WORKSPACE, limited), *world)
    other = Loop(bench.api, SETTINGS, Metrics(), clock=bench.clock)
    other.is_leading = True
    for kind in (WORKSPACE, EXPERIMENT, TRAINING_RUN):
        for each in bench.loop.store.all(kind):
            other.absorb(kind, each)
    await bench.reconcile(WORKSPACE, limited)
    with pytest.raises(Conflict):
        await other.reconcile(address(WORKSPACE, limited))
    assert bench.status(WORKSPACE, limited)["queue"]["admitted"] == ["a"]
