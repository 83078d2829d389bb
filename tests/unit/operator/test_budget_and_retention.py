"""What runs used is counted once and never less; a budget holds back new runs alone; old runs go, what is needed stays."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smalt.api.hours import Hours
from smalt.api.kinds import TRAINING_RUN, WORKSPACE
from smalt.engine.store import Store
from smalt.reconcilers import budget, retention, training_run
from smalt.reconcilers import workspace as reconciler
from support.resources import (
    NOW,
    SETTINGS,
    completed,
    ended,
    experiment,
    finished_run,
    job,
    model,
    pod,
    ready,
    run,
    said,
    store_of,
    workspace,
)

Json = dict[str, Any]


def used_run(name: str, hours: float, **status: Any) -> Json:
    facts = {"workspace": "lab", "usage": {"cpuHours": hours, "gpuHours": 0}}
    return finished_run(name, **(facts | status))


def recording(*world: Json) -> Store:
    store = store_of(*world)
    store.runs.is_recording = True
    return store


def looked_at(store: Store, it: Json, version: int) -> Json:
    """The Workspace after one look, as it is read back."""
    made = it | {"status": (it.get("status") or {}) | {"usage": budget.usage(it, store)}}
    made = copy.deepcopy(made) | {"metadata": it["metadata"] | {"resourceVersion": str(version)}}
    store.upsert(WORKSPACE, made)
    return made


def test_a_deleted_run_is_still_counted_once_however_often_one_looks() -> None:
    old, kept = used_run("old", 2.5), used_run("kept", 1)
    it = workspace()
    store = recording(it, old, kept)
    it = looked_at(store, it, 2)
    assert it["status"]["usage"] == {"cpuHours": 3.5, "gpuHours": 0.0}
    store.remove(TRAINING_RUN, old)
    for version in (3, 4, 5):
        it = looked_at(store, it, version)
        assert it["status"]["usage"]["cpuHours"] == 3.5
        assert it["status"]["usage"]["deletedRuns"] == {"cpuHours": 2.5, "gpuHours": 0.0}
        assert it["status"]["usage"]["latelyDeleted"] == [old["metadata"]["uid"]]
    store.upsert(TRAINING_RUN, used_run("new", 0.25))
    assert looked_at(store, it, 6)["status"]["usage"]["cpuHours"] == 3.75


def test_a_write_that_came_through_without_an_answer_counts_nothing_twice() -> None:
    old = used_run("old", 2)
    it = workspace()
    store = recording(it, old)
    store.remove(TRAINING_RUN, old)
    unanswered = budget.usage(it, store)
    assert budget.usage(it, store) == unanswered, "a second look before the event says the same"
    it = it | {"status": it["status"] | {"usage": unanswered}, "metadata": it["metadata"] | {"resourceVersion": "2"}}
    store.upsert(WORKSPACE, it)
    assert budget.usage(it, store)["cpuHours"] == 2.0


def test_what_was_deleted_while_nobody_watched_is_seen_by_the_sum_that_was_written() -> None:
    it = workspace(status=ready() | {"usage": {"cpuHours": 5.0, "gpuHours": 0}})
    store = store_of(it, used_run("left", 2))
    found = budget.usage(it, store)
    assert found["cpuHours"] == 5.0 and found["deletedRuns"]["cpuHours"] == 3.0


def test_a_standby_remembers_nothing_of_deleted_runs() -> None:
    store = store_of(workspace(), used_run("old", 2))
    store.remove(TRAINING_RUN, used_run("old", 2))
    assert store.runs._departed == {}


def test_a_thousand_deleted_runs_are_taken_in_by_and_by() -> None:
    it = workspace()
    runs = [used_run(f"old-{number}", 1) for number in range(250)]
    store = recording(it, *runs)
    it = looked_at(store, it, 2)
    for each in runs:
        store.remove(TRAINING_RUN, each)
    for version in (3, 4, 5, 6):
        it = looked_at(store, it, version)
        assert it["status"]["usage"]["cpuHours"] == 250.0
        assert len(it["status"]["usage"]["latelyDeleted"]) <= budget.MOST_DELETED
    assert it["status"]["usage"]["deletedRuns"]["cpuHours"] == 250.0 and store.runs._departed == {}


@given(st.lists(st.tuples(st.sampled_from(["run", "delete", "look"]), st.integers(0, 10**6)), max_size=40))
def test_the_sum_is_what_all_runs_ever_used(steps: list[tuple[str, int]]) -> None:
    it, ever, alive = workspace(), 0, {}
    store, version = recording(it), 1
    for number, (step, amount) in enumerate([*steps, ("look", 0)]):
        if step == "run":
            made = used_run(f"r-{number}", amount / 10**6)
            alive[made["metadata"]["name"]], ever = made, ever + amount
            store.upsert(TRAINING_RUN, made)
        elif step == "delete" and alive:
            store.remove(TRAINING_RUN, alive.pop(sorted(alive)[amount % len(alive)]))
        elif step == "look":
            version += 1
            it = looked_at(store, it, version)
            assert Hours.read(it["status"]["usage"]) == Hours(ever, 0)


def test_a_run_deleted_at_work_has_used_what_it_had_until_then() -> None:
    it = run("first", status={"workspace": "lab", "job": "first-1", "usage": {"cpuHours": 1, "gpuHours": 0}})
    at_work = job(it)
    start = (datetime.now(UTC) - timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M:%SZ")
    working = pod(at_work, phase="Running", startTime=start)
    working["spec"] = {"containers": [{"resources": {"requests": {"cpu": 1}}}]}
    store = recording(workspace(), experiment(), it, at_work, working)
    store.remove(TRAINING_RUN, it)
    assert budget.usage(workspace(), store)["cpuHours"] == pytest.approx(3, abs=0.01)


# --- the budget -------------------------------------------------------------------------------------------------------


def budgeted(hours: Json, used: float = 0.0, generation: int = 1, **judged: Any) -> Json:
    status = ready() | {"usage": {"cpuHours": used, "gpuHours": 0}}
    condition = {"type": budget.EXCEEDED, "status": "False", "observedGeneration": 1, "message": "all used"} | judged
    status["conditions"] = [*status["conditions"], condition]
    it = workspace({"policy": {"budget": hours}}, status)
    it["metadata"]["generation"] = generation
    return it


def judged(it: Json, *world: Json, now: datetime = NOW) -> Any:
    return reconciler.plan(it, store_of(it, experiment(), *world), {}, now, SETTINGS)


def test_a_budget_that_is_used_up_is_told_with_what_to_do() -> None:
    status = judged(budgeted({"cpuHours": 5}), used_run("old", 5)).status
    told = said(status, budget.EXCEEDED)
    assert told["status"] == "True" and "5 cpuHours" in told["message"] and "spec.policy.budget" in told["message"]
    assert said(judged(budgeted({"cpuHours": 5.5}), used_run("old", 5)).status, budget.EXCEEDED)["status"] == "False"
    assert said(judged(workspace(), used_run("old", 5)).status, budget.EXCEEDED) == {}


def test_what_is_at_work_counts_and_the_moment_when_it_will_be_too_much_is_looked_at() -> None:
    it = run("first", status={"workspace": "lab", "job": "first-1"})
    at_work = job(it)
    start = (NOW - timedelta(minutes=90)).strftime("%Y-%m-%dT%H:%M:%SZ")
    working = pod(at_work, phase="Running", startTime=start)
    working["spec"] = {"containers": [{"resources": {"requests": {"cpu": 2}}}]}
    assert said(judged(budgeted({"cpuHours": 3}), it, at_work, working).status, budget.EXCEEDED)["status"] == "True"
    store = store_of(it, at_work, working, experiment())
    verdict = budget.verdict(workspace(), WITH_ROOM, {}, store, NOW)
    assert not verdict.is_exceeded and verdict.again == pytest.approx(30 * 60)


WITH_ROOM = budget.Budget(cpu_hours=4)


def begun(it: Json, *world: Json) -> Any:
    return training_run.plan(it, store_of(it, experiment(), *world), {}, NOW, SETTINGS)


def test_a_new_run_waits_while_the_budget_is_used_up_and_starts_when_it_is_raised() -> None:
    plan = begun(run(), budgeted({"cpuHours": 5}, 5, status="True"))
    assert plan.apply == () and (plan.status["phase"], said(plan.status)["reason"]) == ("Pending", "BudgetExceeded")
    assert said(plan.status)["message"] == "all used"
    raised = begun(run(), budgeted({"cpuHours": 9}, 5, generation=2, status="True"))
    assert raised.apply == () and raised.status is None and raised.requeue_after, "nobody starts before it is judged"
    assert begun(run(), budgeted({"cpuHours": 9}, 5)).apply


def test_a_run_at_work_goes_on_with_its_retries_when_the_budget_is_used_up() -> None:
    it = run(limits={"retries": 1})
    failed = job(it, **completed("Failed"))
    over = budgeted({"cpuHours": 5}, 5, status="True")
    assert begun(it, over, failed, pod(failed, **ended("", 1, reason="Error"))).apply


# --- retention --------------------------------------------------------------------------------------------------------

KEPT_30_DAYS: Json = {"retention": {"finishedRuns": "30d"}}


def ended_days_ago(name: str, days: float) -> Json:
    moment = (NOW - timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return finished_run(name, workspace="lab", completionTime=moment)


def deleted(*world: Json, it: Json | None = None) -> list[str]:
    plan = judged(it or workspace(KEPT_30_DAYS), *world)
    return [each.name for each in plan.delete]


def test_runs_older_than_their_time_go_and_younger_ones_stay() -> None:
    world = [ended_days_ago("old", 31), ended_days_ago("young", 29), run("at-work")]
    assert deleted(*world) == ["old"]
    assert deleted(*world, it=workspace()) == []
    (deletion,) = judged(workspace(KEPT_30_DAYS), *world).delete
    assert (deletion.uid, deletion.version) == (world[0]["metadata"]["uid"], "1")


def test_the_next_one_is_looked_at_when_it_is_due() -> None:
    store = store_of(workspace(), ended_days_ago("young", 30 - 1 / 86400))
    assert retention.due(workspace(), "30d", store, NOW) == ((), 1.0)


def test_what_somebody_still_has_to_read_stays() -> None:
    old = [ended_days_ago(name, 40) for name in ("read", "registering", "free")]
    consumer = run("consumer", inputs={"train": {"type": "uriFolder", "path": "run://read/clean"}})
    waiting = model(1, status={"conditions": []})
    waiting["spec"]["source"]["run"] = "registering"
    assert deleted(*old, consumer, waiting) == ["free"]
    done = finished_run("consumer")
    refused = model(1, status={"conditions": [{"type": "Stalled", "status": "True"}]})
    refused["spec"]["source"]["run"] = "registering"
    assert deleted(*old, done, refused) == ["free", "read", "registering"]


def test_a_run_whose_place_is_not_taken_back_yet_stays() -> None:
    it = workspace(KEPT_30_DAYS, ready() | {"queue": {"admitted": ["old"]}})
    assert deleted(ended_days_ago("old", 40), it=it) == []


def test_many_old_runs_go_by_and_by() -> None:
    plan = judged(workspace(KEPT_30_DAYS), *(ended_days_ago(f"old-{number:03}", 40) for number in range(80)))
    assert len(plan.delete) == retention.MOST and plan.requeue_after <= retention.NEXT_SECONDS


def test_a_time_beyond_all_times_keeps_everything() -> None:
    assert deleted(ended_days_ago("old", 40), it=workspace({"retention": {"finishedRuns": "99999d" * 4}})) == []


def test_the_index_of_ended_runs_forgets_what_is_gone() -> None:
    store = store_of(ended_days_ago("old", 40))
    store.remove(TRAINING_RUN, ended_days_ago("old", 40))
    at = budget.address(WORKSPACE, workspace())
    assert list(store.runs.finished(at)) == [] and store.runs._finished == {}
