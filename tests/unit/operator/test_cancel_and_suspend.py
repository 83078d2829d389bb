"""Cancel ends a run for good, suspend lets it rest; both end pods gently, and both may be asked for at any time."""

from __future__ import annotations

import json
from typing import Any

import pytest

from smalt.api.kinds import JOB, TRAINING_RUN
from smalt.builders.training_job import QUEUE_LABEL, STOPPED
from smalt.reconcilers import training_run as reconciler
from smalt.reconcilers.plan import NOTHING
from smalt.reconcilers.world import Read
from support.resources import (
    NAMESPACE,
    NOW,
    SETTINGS,
    completed,
    ended,
    experiment,
    finished_run,
    job,
    pod,
    run,
    said,
    store_of,
    workspace,
)

Json = dict[str, Any]
LET_GO: Json = {"conditions": [{"type": "Suspended", "status": "True"}]}
TERMINATED = {"reason": "Terminated", "message": "the pod was told to end", "tracking": {"runId": "a"}}


def planned(it: Json, *world: Json, live: Json | None = None) -> Any:
    return reconciler.plan(it, store_of(it, workspace(), experiment(), *world), live or {}, NOW, SETTINGS)


def stopped(it: Json, **status: Any) -> Json:
    made = job(it, **status)
    made["metadata"]["annotations"] |= {STOPPED: "true"}
    return made | {"spec": {"suspend": True}}


def pod_of(of: Json, **status: Any) -> Json:
    return pod(of, "pod", labels={TRAINING_RUN.label: "first"}, **status)


def types(status: Json) -> list[str]:
    return [each["type"] for each in status["conditions"]]


def test_a_run_that_is_suspended_from_the_start_gets_no_job_and_is_not_in_trouble() -> None:
    plan = planned(run(suspend=True))
    assert plan.apply == () and plan.status["phase"] == "Pending"
    assert types(plan.status) == ["Ready"] and said(plan.status)["reason"] == "Suspended"
    assert "spec.suspend to false" in said(plan.status)["message"]
    assert [child.name for child in planned(run(suspend=False)).apply] == ["first-1"]


@pytest.mark.parametrize(("field", "reason"), [("suspend", "Suspending"), ("cancel", "Canceling")])
def test_a_run_at_work_has_its_job_suspended_and_its_pod_is_waited_for(field: str, reason: str) -> None:
    it = run(**{field: True})
    at_work = job(it)
    plan = planned(it, at_work, pod_of(at_work, phase="Running"))
    (child,) = plan.apply
    assert child.manifest["spec"] == {"suspend": True} and not child.once
    assert child.manifest["metadata"]["annotations"] == {STOPPED: "true"}
    assert (said(plan.status)["reason"], plan.status["phase"]) == (reason, "Finalizing")
    assert said(plan.status, "Reconciling")["status"] == "True"
    for waits in (
        planned(it, stopped(it), pod_of(stopped(it), phase="Running")),
        planned(it, stopped(it, **LET_GO), pod_of(stopped(it), phase="Running")),
        planned(it, stopped(it, **LET_GO | {"terminating": 1})),
        planned(it, stopped(it)),
    ):
        assert waits.apply == () and said(waits.status)["reason"] == reason, "asked once, and patient"


def test_a_suspended_run_rests_with_what_its_pod_left() -> None:
    it = run(suspend=True)
    last = pod_of(stopped(it), phase="Failed", **ended(json.dumps(TERMINATED), 143))
    plan = planned(it, stopped(it, **LET_GO), last)
    assert types(plan.status) == ["Ready"] and said(plan.status)["reason"] == "Suspended"
    assert plan.status["phase"] == "Pending" and plan.status["tracking"] == {"runId": "a"}
    assert "completionTime" not in plan.status and plan.apply == ()


def test_a_resumed_run_goes_on_as_another_attempt_that_costs_no_retry() -> None:
    it = run(suspend=False)
    plan = planned(it, stopped(it, **LET_GO), pod_of(stopped(it), phase="Failed", **ended("", 143)))
    assert [child.name for child in plan.apply] == ["first-2"]
    assert plan.status["attempt"] == 2 and "failures" not in plan.status and "disruptions" not in plan.status
    assert "resumed" in said(plan.status)["message"]


def test_a_run_resumed_while_its_pod_still_ends_waits_for_that() -> None:
    it = run()
    plan = planned(it, stopped(it, **LET_GO), pod_of(stopped(it), phase="Running"))
    assert plan.apply == () and said(plan.status)["reason"] == "Suspending"


def test_a_failed_attempt_of_a_suspended_run_is_not_made_again_yet() -> None:
    it = run(suspend=True, limits={"retries": 3})
    failed = job(it, **completed("Failed"))
    plan = planned(it, failed, pod_of(failed, **ended("", 1, reason="Error")))
    assert plan.apply == () and said(plan.status)["reason"] == "Suspended" and plan.status["failures"] == 1


def test_a_canceled_run_has_ended_and_keeps_what_was_stored() -> None:
    it = run(cancel=True)
    last = pod_of(stopped(it), phase="Failed", **ended(json.dumps(TERMINATED), 143))
    plan = planned(it, stopped(it, **LET_GO), last)
    assert (plan.status["phase"], said(plan.status, "Stalled")["reason"]) == ("Canceled", "Canceled")
    assert plan.status["completionTime"] and plan.status["tracking"] == {"runId": "a"} and plan.is_final


def test_a_run_canceled_before_it_began_ends_at_once_but_not_before_looking_for_its_job() -> None:
    it = run(cancel=True)
    read = Read(JOB, NAMESPACE, "first-1")
    assert reconciler.reads(it, store_of(it), NOW) == (read,)
    status = planned(it, live={read: None}).status
    assert (status["phase"], status["workspace"]) == ("Canceled", "lab"), "which keeps it as long as the others"
    found = planned(it, live={read: job(it)})
    assert [child.name for child in found.apply] == ["first-1"] and said(found.status)["reason"] == "Canceling"
    stranger = job(run("other"))
    assert planned(it, live={read: stranger}).status["phase"] == "Canceled", "nobody else's Job is touched"


def test_pods_of_a_job_that_somebody_deleted_are_waited_for() -> None:
    it = run(cancel=True)
    assert said(planned(it, pod_of(job(it), phase="Running")).status)["reason"] == "Canceling"


def test_what_had_succeeded_when_it_was_canceled_has_succeeded() -> None:
    it = run(cancel=True, suspend=True)
    done = job(it, **completed())
    words = json.dumps({"outcome": "succeeded", "metrics": {"auc": 1}})
    plan = planned(it, done, pod_of(done, phase="Succeeded", **ended(words)))
    assert plan.status["phase"] == "Succeeded"


def test_a_failed_attempt_of_a_canceled_run_is_the_last() -> None:
    it = run(cancel=True, limits={"retries": 3})
    failed = job(it, **completed("Failed"))
    plan = planned(it, failed, pod_of(failed, phase="Failed", **ended("", 1, reason="Error")))
    assert plan.apply == () and plan.status["phase"] == "Canceled"


def test_an_edit_of_a_run_that_has_ended_comes_too_late_and_is_seen() -> None:
    it = finished_run()
    assert planned(it) == NOTHING
    it["metadata"]["generation"] = 2
    plan = planned(it)
    assert plan.status["observedGeneration"] == 2 and plan.status["phase"] == "Succeeded"
    assert {each["observedGeneration"] for each in plan.status["conditions"]} == {2}
    assert planned(it | {"status": plan.status}) == NOTHING


# --- Kueue ------------------------------------------------------------------------------------------------------------

QUEUED = {"instanceTypes": {"default": {"queueName": "team-a"}}}


def test_a_job_of_kueue_is_made_suspended_and_waits_in_its_queue() -> None:
    it = run()
    plan = reconciler.plan(it, store_of(it, workspace(QUEUED), experiment()), {}, NOW, SETTINGS)
    manifest = plan.apply[0].manifest
    assert manifest["spec"]["suspend"] is True and manifest["metadata"]["labels"][QUEUE_LABEL] == "team-a"
    held = job(it) | {"spec": {"suspend": True}}
    held["metadata"]["labels"][QUEUE_LABEL] = "team-a"
    waits = planned(it, held).status
    assert (waits["phase"], said(waits)["reason"]) == ("Queued", "WaitingInLocalQueue")
    assert "'team-a'" in said(waits)["message"]
    started = held | {"spec": {"suspend": False}}
    assert said(planned(it, started).status)["reason"] == "JobCreated"


def test_a_job_of_kueue_that_is_to_end_is_taken_out_of_its_queue() -> None:
    it = run(suspend=True)
    held = job(it)
    held["metadata"]["labels"][QUEUE_LABEL] = "team-a"
    assert planned(it, held).apply[0].manifest["metadata"]["labels"][QUEUE_LABEL] == ""


def test_nothing_of_a_suspended_run_is_asked_of_the_cluster() -> None:
    it = run(suspend=True)
    assert reconciler.reads(it, store_of(it, stopped(it)), NOW) == ()
