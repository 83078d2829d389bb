"""Whose fault it was that an attempt ended, and what it used."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from smalt.api.hours import Hours
from smalt.api.kinds import JOB, POD, TRAINING_RUN
from smalt.engine.requests import is_graphics_card, requested
from smalt.reconcilers import attempts
from smalt.reconcilers import training_run as reconciler
from smalt.reconcilers.attempts import MOST_DISRUPTIONS, disruption, used
from smalt.reconcilers.last_words import LastWords
from support.resources import (
    NOW,
    SETTINGS,
    completed,
    ended,
    experiment,
    job,
    pod,
    run,
    said,
    store_of,
    workspace,
)

Json = dict[str, Any]
IT = run()
FAILED = job(IT, **completed("Failed", "BackoffLimitExceeded"))


def target(reason: str) -> Json:
    return {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": "as told by the cluster"}


def words(reason: str = "", provisional: bool = False) -> LastWords:
    report = {"reason": reason, "message": "m"} | ({"provisional": True} if provisional else {}) if reason else {}
    return LastWords(training_state={"exitCode": 1, "message": json.dumps(report)})


@pytest.mark.parametrize(
    ("reason", "because"),
    [
        ("EvictionByEvictionAPI", "its node is drained"),
        ("PreemptionByScheduler", "higher priority"),
        ("DeletionByTaintManager", "taint"),
        ("DeletionByPodGC", "node is gone"),
        ("TerminationByKubelet", "shut down"),
        ("SomethingNew", "SomethingNew"),
    ],
)
def test_what_the_cluster_ends_is_no_failure_of_the_run(reason: str, because: str) -> None:
    why = disruption(FAILED, pod(FAILED, phase="Failed", conditions=[target(reason)]), words("Interrupted", True))
    assert why is not None and because in why and "as told by the cluster" in why


@pytest.mark.parametrize(
    ("sentence", "of", "status", "last", "is_disruption"),
    [
        ("a pod deleted by hand", FAILED, {"phase": "Failed"}, words("Terminated"), True),
        ("a node that is lost", FAILED, {"phase": "Failed", "reason": "NodeLost"}, words(), True),
        ("a node that cannot take it after all", FAILED, {"phase": "Failed", "reason": "OutOfcpu"}, words(), True),
        ("more disk than its own limit", FAILED, {"phase": "Failed", "reason": "Evicted"}, words(), False),
        ("a script that failed", FAILED, {"phase": "Failed"}, words("ScriptFailed"), False),
        (
            "a script that failed just before its node was drained",
            FAILED,
            {"phase": "Failed", "conditions": [target("EvictionByEvictionAPI")]},
            words("ScriptFailed"),
            False,
        ),
        ("a container that was killed alone", FAILED, {"phase": "Failed"}, words("Interrupted", True), False),
    ],
)
def test_whose_fault_it_was(sentence: str, of: Json, status: Json, last: LastWords, is_disruption: bool) -> None:
    lost = pod(of, **status)
    if sentence == "a pod deleted by hand":
        lost["metadata"]["deletionTimestamp"] = "2026-01-02T03:04:00Z"
    assert (disruption(of, lost, last) is not None) is is_disruption, sentence


def test_a_job_past_its_deadline_is_nobody_elses_fault() -> None:
    late = job(IT, **completed("Failed", "DeadlineExceeded"))
    assert disruption(late, None, LastWords()) is None
    assert disruption(FAILED, None, LastWords()) is not None


# --- what follows -----------------------------------------------------------------------------------------------------


def attempt_job(number: int, before: Json | None = None, **status: Any) -> Json:
    made = job(IT, number, **status)
    if before:
        made["metadata"]["annotations"] |= {"smalt.dev/before": json.dumps(before)}
    return made


def drained(number: int, before: Json | None = None, it: Json = IT) -> Any:
    lost = attempt_job(number, before, **completed("Failed"))
    gone = pod(lost, phase="Failed", conditions=[target("EvictionByEvictionAPI")])
    return reconciler.plan(it, store_of(it, workspace(), experiment(), lost, gone), {}, NOW, SETTINGS)


def test_a_drained_attempt_is_made_again_though_there_are_no_retries_and_says_why() -> None:
    plan = drained(1)
    assert [child.name for child in plan.apply] == ["first-2"]
    assert plan.status["disruptions"] == 1 and "failures" not in plan.status
    assert "first-2" in said(plan.status)["message"] and "its node is drained" in said(plan.status)["message"]
    notes = json.loads(plan.apply[0].manifest["metadata"]["annotations"]["smalt.dev/before"])
    assert notes["disruptions"] == 1 and "drained" in notes["because"]


def test_disruptions_are_bounded_and_the_end_says_so() -> None:
    assert drained(MOST_DISRUPTIONS, {"disruptions": MOST_DISRUPTIONS - 1}).apply
    plan = drained(MOST_DISRUPTIONS + 1, {"disruptions": MOST_DISRUPTIONS})
    assert plan.apply == () and (plan.status["phase"], said(plan.status)["reason"]) == ("Failed", "DisruptedTooOften")
    assert "drained" in said(plan.status)["message"] and str(MOST_DISRUPTIONS + 1) in said(plan.status)["message"]


def test_disruptions_leave_the_retries_alone() -> None:
    it = run(limits={"retries": 1})
    third = attempt_job(3, {"disruptions": 2}, **completed("Failed"))
    store = store_of(it, workspace(), experiment(), third, pod(third, **ended("", 1, reason="Error")))
    plan = reconciler.plan(it, store, {}, NOW, SETTINGS)
    assert [child.name for child in plan.apply] == ["first-4"]
    assert (plan.status["failures"], plan.status["disruptions"]) == (1, 2)


def test_notes_that_somebody_spoilt_count_as_none() -> None:
    spoilt = attempt_job(1, **completed("Failed"))
    spoilt["metadata"]["annotations"]["smalt.dev/before"] = "[1"
    assert attempts.so_far(IT, spoilt).failures == 0


# --- what was used ----------------------------------------------------------------------------------------------------

START = datetime(2026, 1, 2, 3, 0, tzinfo=UTC)


def instant(minutes: float) -> str:
    return (START + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")


def asking(cpu: str, gpu: str | None = None) -> Json:
    requests = {"cpu": cpu, "memory": "1Gi"} | ({"nvidia.com/gpu": gpu} if gpu else {})
    return {"containers": [{"name": "training", "resources": {"requests": requests}}]}


def used_pod(spec: Json, **status: Any) -> Json:
    store = store_of(pod(FAILED, **status) | {"spec": spec})
    return store.all(POD)[0]


def test_a_pod_uses_what_it_asked_for_from_its_start_to_its_end() -> None:
    state = {"terminated": {"exitCode": 0, "startedAt": instant(1), "finishedAt": instant(30)}}
    done = used_pod(
        asking("500m", "2"),
        phase="Succeeded",
        startTime=instant(0),
        containerStatuses=[{"name": "training", "state": state}],
    )
    assert used(done, NOW + timedelta(hours=9)) == Hours(250_000, 1_000_000)


def test_a_pod_at_work_has_used_what_it_did_until_now_and_one_that_never_started_nothing() -> None:
    running = used_pod(asking("2"), phase="Running", startTime=instant(0))
    assert used(running, START + timedelta(hours=3)) == Hours(6_000_000, 0)
    assert used(used_pod(asking("2"), phase="Pending"), NOW) == Hours()


def test_a_pod_whose_end_nobody_saw_ended_when_its_node_was_given_up() -> None:
    lost = used_pod(
        asking("1"),
        phase="Failed",
        startTime=instant(0),
        conditions=[target("DeletionByPodGC") | {"lastTransitionTime": instant(60)}],
    )
    assert used(lost, NOW + timedelta(days=1)) == Hours(1_000_000, 0)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"containers": [{}, {"resources": {"requests": {"cpu": 1}}}]}, {"cpu": 1.0}),
        (
            {
                "initContainers": [{"resources": {"requests": {"cpu": 3}}}],
                "containers": [{"resources": {"requests": {"cpu": "500m"}}}],
            },
            {"cpu": 3.0},
        ),
        (
            {
                "initContainers": [{"restartPolicy": "Always", "resources": {"requests": {"cpu": 1}}}],
                "containers": [{"resources": {"requests": {"cpu": 1, "nvidia.com/mig-1g.5gb": 2}}}],
            },
            {"cpu": 2.0, "gpu": 2.0},
        ),
        ({"containers": [{"resources": {"requests": {"gpu.intel.com/i915": 1, "amd.com/gpu": 1}}}]}, {"gpu": 2.0}),
    ],
)
def test_what_a_pod_asks_for_is_summed_up_as_the_scheduler_does(spec: Json, expected: Json) -> None:
    assert requested({"spec": spec}) == expected


def test_what_is_no_graphics_card() -> None:
    assert not any(map(is_graphics_card, ("cpu", "memory", "gpu", "example.com/fpga")))


def test_usage_adds_up_over_attempts_and_survives_their_pods() -> None:
    state = {"terminated": {"exitCode": 1, "finishedAt": instant(60)}}
    second = attempt_job(2, {"usage": {"cpuHours": 1.5, "gpuHours": 0}}, **completed("Failed"))
    worked = pod(second, startTime=instant(0), phase="Failed", containerStatuses=[{"name": "training", "state": state}])
    plan = reconciler.plan(
        IT,
        store_of(IT, workspace(), experiment(), second, worked | {"spec": asking("2")}),
        {},
        datetime(2026, 1, 2, 4, 0, tzinfo=UTC),
        SETTINGS,
    )
    assert plan.status["phase"] == "Failed"
    assert plan.status["usage"] == {"cpuHours": 3.5, "gpuHours": 0.0}
    written = IT | {"status": {"usage": {"cpuHours": 3.5, "gpuHours": 0}}}
    assert attempts.spent(written, second, store_of(written, second), NOW).used == Hours(3_500_000, 0)


# --- the pods that are gone -------------------------------------------------------------------------------------------


def test_a_pod_that_is_deleted_is_remembered_for_its_last_words_until_its_run_has_ended() -> None:
    at_work = job(IT)
    there = pod(at_work, labels={TRAINING_RUN.label: "first"}, phase="Running")
    store = store_of(IT, at_work, there)
    last = there | {"status": ended(json.dumps({"reason": "Terminated"}), 143) | {"phase": "Failed"}}
    assert store.remove(POD, last) is not None
    (gone,) = store.owned(POD, at_work["metadata"]["uid"])
    assert attempts.is_gone(gone) and not attempts.is_live(gone)
    assert LastWords.of(gone).training == {"reason": "Terminated"}
    assert store.remove(POD, gone) is None, "a list that does not have it any more changes nothing"
    store.upsert(TRAINING_RUN, IT | {"status": {"completionTime": instant(9)}, "metadata": newer(IT)})
    assert store.all(POD) == store.all(JOB) == [] and store._owned == {}


def newer(it: Json) -> Json:
    return dict(it["metadata"] | {"resourceVersion": "2"})


def test_with_its_job_a_remembered_pod_is_forgotten() -> None:
    at_work = job(IT)
    there = pod(at_work, labels={TRAINING_RUN.label: "first"})
    store = store_of(IT, at_work, there)
    store.remove(POD, there)
    store.remove(JOB, at_work)
    assert store.all(POD) == [] and store._owned == {}


def test_the_pod_of_a_job_that_is_gone_is_not_remembered() -> None:
    there = pod(job(IT), labels={TRAINING_RUN.label: "first"})
    store = store_of(IT, there)
    store.remove(POD, there)
    assert store.all(POD) == []
