"""TrainingRun: one Job per attempt, causes in words, one Model per run, and history left alone."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from smalt.api.kinds import CONFIG_MAP, MODEL, WORKSPACE
from smalt.api.training_run import ANOTHER_NAME, TrainingRunSpec
from smalt.builders.registered_model import uid_selector
from smalt.reconcilers import training_run as reconciler
from smalt.reconcilers.plan import NOTHING
from smalt.reconcilers.run_results import facts
from smalt.reconcilers.world import Labelled, Read, Refusals, StatusOf
from support.resources import (
    DIGEST,
    NAMESPACE,
    NOW,
    REGISTERING,
    SETTINGS,
    completed,
    ended,
    experiment,
    finished_run,
    job,
    model,
    owned_by,
    pod,
    resource,
    run,
    said,
    store_of,
    workspace,
)

Json = dict[str, Any]
REPORT = {
    "version": 1,
    "outcome": "succeeded",
    "reason": "",
    "message": "",
    "exitCode": 0,
    "metrics": {"auc": 0.9},
    "nonFinite": [],
    "digests": {"code": DIGEST, "data": {}, "environment": DIGEST, "parameters": DIGEST},
    "outputs": {
        "model": {"uri": "mlflow-artifacts:/1/a/artifacts/outputs/model", "digest": DIGEST, "bytes": 3, "files": 1}
    },
    "tracking": {"runId": "a", "experimentId": "1"},
}


def planned(it: Json, *world: Json, live: dict[Any, Any] | None = None, now: Any = NOW) -> Any:
    return reconciler.plan(it, store_of(it, *world), live or {}, now, SETTINGS)


def at_work(it: Json, *pods: Json, live: dict[Any, Any] | None = None) -> Any:
    return planned(it, workspace(), experiment(), job(it), *pods, live=live)


def made(plan: Any, it: Json, **status: Any) -> Json:
    """The Job that the plan makes, as it is found later."""
    manifest = plan.apply[0].manifest
    metadata = manifest["metadata"] | owned_by(it) | {"uid": f"uid-{manifest['metadata']['name']}", "generation": 1}
    return manifest | {"metadata": metadata | {"resourceVersion": "1"}, "status": status}


def pod_of(it: Json, attempt: int = 1, **status: Any) -> Json:
    return pod(job(it, attempt), f"pod-{attempt}", **status)


def test_a_finished_run_is_history() -> None:
    assert planned(finished_run()) == NOTHING
    assert reconciler.reads(finished_run(), store_of(), NOW) == ()


def test_a_run_whose_experiment_is_ready_gets_its_job() -> None:
    plan = planned(run(), workspace(), experiment())
    assert [(child.name, child.once, child.owned) for child in plan.apply] == [("first-1", True, True)]
    assert (plan.status["phase"], plan.status["attempt"], plan.status["job"]) == ("Pending", 1, "first-1")


WAITING = {
    "observedGeneration": 1,
    "conditions": [
        {"type": "Ready", "status": "False", "reason": "WaitingForWorkspace", "message": "Workspace 'lab' is not there"}
    ],
}
NOT_SEEN: Json = {"observedGeneration": -1}


@pytest.mark.parametrize(
    ("it", "world", "reason", "words"),
    [
        (run(), [], "WaitingForExperiment", ["'trials'", "team-a"]),
        (run(), [experiment(status=WAITING)], "WaitingForWorkspace", ["Workspace 'lab' is not there"]),
        (run(), [experiment(status=NOT_SEEN)], "WaitingForExperiment", ["has not been looked at"]),
        (run(code={"configMap": "later"}), [workspace(), experiment()], "WaitingForConfigMap", ["'later'"]),
        (
            run(inputs={"train": {"type": "uriFile", "path": "configmap://rows/a.csv"}}),
            [workspace(), experiment()],
            "WaitingForConfigMap",
            ["'rows'"],
        ),
        (
            run(),
            [workspace({"trustBundle": {"configMap": "authorities"}}), experiment()],
            "WaitingForConfigMap",
            ["'authorities'"],
        ),
        (
            run(instanceType="gpu"),
            [workspace(), experiment()],
            "UnknownInstanceType",
            ["'gpu'", "'lab'", "default", ANOTHER_NAME],
        ),
        (run(command="x ${{inputs.no}}"), [workspace(), experiment()], "InvalidCommand", ["inputs.no", ANOTHER_NAME]),
        (run(command=3), [], "InvalidSpec", ["spec.command"]),
    ],
)
def test_what_stands_before_the_job_is_said(it: Json, world: list[Json], reason: str, words: list[str]) -> None:
    plan = planned(it, *world)
    assert plan.apply == ()
    assert said(plan.status)["reason"] == reason
    for word in words:
        assert word in said(plan.status)["message"]


def test_config_maps_are_read_live_and_the_job_follows_when_they_are_there() -> None:
    it = run(code={"configMap": "later"})
    read = Read(CONFIG_MAP, NAMESPACE, "later")
    assert reconciler.reads(it, store_of(it), NOW) == (read,)
    plan = planned(it, workspace(), experiment(), live={read: resource(CONFIG_MAP, "later")})
    assert [child.name for child in plan.apply] == ["first-1"]


QUOTA = {"reason": "FailedCreate", "message": 'pods "x" is forbidden: exceeded quota: few', "metadata": {}}
REFUSED = {"reason": "FailedCreate", "message": 'violates PodSecurity "restricted"', "metadata": {}}


@pytest.mark.parametrize(
    ("event", "reason", "words"), [(QUOTA, "QuotaExceeded", "few"), (REFUSED, "PodRefused", "PodSecurity")]
)
def test_a_job_without_pods_tells_what_the_cluster_refuses(event: Json, reason: str, words: str) -> None:
    it = run()
    read = Refusals(NAMESPACE)
    assert reconciler.reads(it, store_of(it, job(it)), NOW) == (read,)
    others = {**event, "message": "exceeded quota, of another Job", "involvedObject": {"uid": "another"}}
    its = {**event, "involvedObject": {"uid": job(it)["metadata"]["uid"]}}
    plan = at_work(it, live={read: {"items": [others, its]}})
    assert said(plan.status)["reason"] == reason
    assert words in said(plan.status)["message"]


@pytest.mark.parametrize(
    ("status", "reason", "phase", "words"),
    [
        (
            {"containerStatuses": [{"name": "training", "state": {"running": {}}}]},
            "Running",
            "Running",
            "kubectl logs job/first-1",
        ),
        ({"phase": "Pending"}, "JobCreated", "Pending", "starting"),
        (
            {"conditions": [{"type": "PodScheduled", "status": "False", "message": "Insufficient memory"}]},
            "Unschedulable",
            "Pending",
            "Insufficient memory",
        ),
        (
            {
                "containerStatuses": [
                    {"name": "training", "image": "no/such:1", "state": {"waiting": {"reason": "ImagePullBackOff"}}}
                ]
            },
            "ImagePullFailed",
            "Pending",
            "no/such:1",
        ),
    ],
)
def test_a_pod_at_work_is_told(status: Json, reason: str, phase: str, words: str) -> None:
    it = run()
    plan = at_work(it, pod_of(it, **status))
    assert (said(plan.status)["reason"], plan.status["phase"]) == (reason, phase)
    assert words in said(plan.status)["message"]


def test_from_the_jobs_making_until_the_script_runs_the_status_stays_the_same() -> None:
    it = run()
    begun = planned(it, workspace(), experiment()).status
    it["status"] = begun
    started = job(it, startTime="2026-01-02T03:04:00Z")
    for pods in ([], [pod_of(it, phase="Pending")]):
        assert planned(it, workspace(), experiment(), started, *pods).status == begun
    running = pod_of(it, containerStatuses=[{"name": "training", "state": {"running": {}}}])
    status = planned(it, workspace(), experiment(), started, running).status
    assert (status["phase"], status["startTime"]) == ("Running", "2026-01-02T03:04:00Z")


BOTH_RUN: Json = {
    "podIP": "10.0.0.7",
    "containerStatuses": [
        {"name": name, "state": {"running": {"startedAt": "2026-01-02T03:04:00Z"}}} for name in ("training", "recorder")
    ],
}
SAID: Json = {
    "phase": "Running",
    "reason": "Running",
    "message": "",
    "progress": {"percent": 40},
    "metrics": {"auc": 0.5},
}


def test_what_a_running_script_says_is_read_live_and_told() -> None:
    it = run()
    asked = StatusOf("uid-pods-pod-1", "10.0.0.7")
    assert reconciler.reads(it, store_of(it, job(it), pod_of(it, **BOTH_RUN)), NOW) == (asked,)
    status = at_work(it, pod_of(it, **BOTH_RUN), live={asked: SAID}).status
    assert (status["phase"], status["progress"], status["metrics"]) == ("Running", {"percent": 40}, {"auc": 0.5})


def test_until_the_recorder_has_spoken_the_status_stays_and_is_looked_at_again() -> None:
    it = run(status={"phase": "Pending", "conditions": []})
    plan = at_work(it, pod_of(it, **BOTH_RUN))
    assert plan.status is None and plan.requeue_after == 5.0


def test_only_news_of_the_script_itself_are_kept_apart_from_what_the_operator_says() -> None:
    it = run()
    asked = StatusOf("uid-pods-pod-1", "10.0.0.7")
    began = at_work(it, pod_of(it, **BOTH_RUN), live={asked: SAID})
    assert began.status["phase"] == "Running" and not began.words_only
    it["status"] = began.status
    assert at_work(it, pod_of(it, **BOTH_RUN), live={asked: SAID}).status == began.status
    assert at_work(it, pod_of(it, **BOTH_RUN), live={asked: SAID | {"metrics": {"auc": 0.6}}}).words_only


def test_metrics_of_a_run_whose_pod_ended_without_a_word_stay_and_its_progress_goes() -> None:
    it = run(status={"attempt": 1, "metrics": {"auc": 0.5}, "progress": {"percent": 40}, "conditions": []})
    late = job(it, **completed("Failed", "DeadlineExceeded"))
    status = planned(it, workspace(), experiment(), late, now=NOW + timedelta(minutes=5)).status
    assert status["phase"] == "Failed" and status["metrics"] == {"auc": 0.5} and "progress" not in status


def test_the_pods_of_a_run_are_found_by_prometheus() -> None:
    template = planned(run(), workspace(), experiment()).apply[0].manifest["spec"]["template"]
    annotations = template["metadata"]["annotations"]
    assert {annotations[f"prometheus.io/{name}"] for name in ("scrape", "port", "path")} == {"true", "9400", "/metrics"}
    (port,) = next(each["ports"] for each in template["spec"]["containers"] if each["name"] == "recorder")
    assert (port["name"], port["containerPort"]) == ("metrics", 9400)


def test_success_writes_down_what_the_wrapper_reported() -> None:
    it = run(outputs={"model": {"type": "customModel"}})
    status = planned(
        it, workspace(), experiment(), job(it, **completed()), pod_of(it, **ended(json.dumps(REPORT)))
    ).status
    assert (status["phase"], said(status)["status"], status["metrics"]) == ("Succeeded", "True", {"auc": 0.9})
    assert status["outputs"]["model"]["digest"] == DIGEST
    assert status["digests"]["image"] == DIGEST and status["digests"]["run"].startswith("sha256:")
    assert status["tracking"] == {"runId": "a", "url": "/#/experiments/1/runs/a"}
    assert status["completionTime"] == "2026-01-02T03:04:00Z"


def succeeding(it: Json, *world: Json, there: list[Json] | None = None) -> Any:
    read = Labelled(MODEL, NAMESPACE, uid_selector(it["metadata"]["uid"]))
    done = [job(it, **completed()), pod_of(it, **ended(json.dumps(REPORT)))]
    assert reconciler.reads(it, store_of(it, *done), NOW) == (read,)
    return planned(it, *world, experiment(), *done, live={read: {"items": there or []}})


def test_the_first_registration_is_version_one_and_comes_before_the_status() -> None:
    plan = succeeding(run(**REGISTERING), workspace())
    assert [(child.name, child.owned) for child in plan.apply] == [("churn-1", False)]
    assert plan.apply[0].manifest["spec"]["source"] == {"run": "first", "output": "model", "digest": DIGEST}
    assert plan.status["model"] == "churn-1"


def test_a_version_is_never_given_twice() -> None:
    remembered = workspace(status={"modelVersions": {"churn": 4}})
    assert succeeding(run(**REGISTERING), remembered, model(2)).status["model"] == "churn-5"
    assert succeeding(run(**REGISTERING), remembered, model(6)).status["model"] == "churn-7"


def test_a_version_is_not_given_again_by_another_workspace_nor_after_a_restart() -> None:
    elsewhere = resource(WORKSPACE, "other", {}, {"modelVersions": {"churn": 8}})
    assert succeeding(run(**REGISTERING), workspace(), elsewhere).status["model"] == "churn-9"
    before = finished_run("before", model="churn-3")
    assert succeeding(run(**REGISTERING), workspace(), before).status["model"] == "churn-4"


def test_a_run_whose_experiment_is_gone_registers_in_the_workspace_that_has_its_results() -> None:
    it = run(**REGISTERING)
    done = [job(it, **completed()), pod_of(it, **ended(json.dumps(REPORT)))]
    read = Labelled(MODEL, NAMESPACE, uid_selector(it["metadata"]["uid"]))
    plan = reconciler.plan(it, store_of(it, workspace(), *done), {read: {"items": []}}, NOW, SETTINGS)
    assert plan.status is not None and plan.status["phase"] == "Succeeded"
    assert plan.apply[0].manifest["spec"]["workspace"] == "lab"


def test_a_run_that_was_interrupted_after_registering_does_not_register_again() -> None:
    assert succeeding(run(**REGISTERING), workspace(), model(3), there=[model(2)]).status["model"] == "churn-2"


def test_metrics_that_are_no_numbers_are_named_and_the_run_stands() -> None:
    report = REPORT | {"nonFinite": ["loss"], "metrics": {"auc": 0.9, "bad": "NaN", "odd": True}}
    it = run()
    status = planned(
        it, workspace(), experiment(), job(it, **completed()), pod_of(it, **ended(json.dumps(report)))
    ).status
    assert status["phase"] == "Succeeded" and status["metrics"] == {"auc": 0.9}
    assert "loss" in said(status)["message"] and "NaN" in said(status)["message"]


def test_a_job_that_ended_before_its_pod_was_seen_is_waited_for_and_then_given_up() -> None:
    it = run()
    world = [workspace(), experiment(), job(it, **completed())]
    assert planned(it, *world).status is None
    late = planned(it, *world, now=NOW + timedelta(minutes=5)).status
    assert (late["phase"], said(late)["reason"]) == ("Failed", "ResultsNotStored")


def test_a_failed_job_is_not_judged_before_its_pod_was_seen() -> None:
    it = run()
    world = [workspace(), experiment(), job(it, **completed("Failed"))]
    assert planned(it, *world).status is None
    late = planned(it, *world, now=NOW + timedelta(minutes=5))
    assert [child.name for child in late.apply] == ["first-2"], "a pod that nobody saw end is the platform's loss"


def test_of_a_job_past_its_deadline_no_last_words_are_waited_for() -> None:
    it = run()
    status = planned(it, workspace(), experiment(), job(it, **completed("Failed", "DeadlineExceeded"))).status
    assert (status["phase"], said(status)["reason"]) == ("Failed", "TimedOut")


def failing(
    it: Json, report: Json | str = "", code: int = 1, reason: str = "Error", attempt: int = 1, at: Json | None = None
) -> Any:
    text = report if isinstance(report, str) else json.dumps(report)
    done = [job(it, attempt, **completed("Failed")), pod_of(it, attempt, **ended(text, code, reason=reason))]
    return planned(it, at or workspace(), experiment(), *done)


def test_the_wrappers_words_become_the_condition() -> None:
    status = failing(run(), {"reason": "ScriptFailed", "message": "KeyError: 'churned'"}).status
    assert (status["phase"], said(status, "Stalled")["reason"]) == ("Failed", "ScriptFailed")
    assert said(status)["message"] == f"KeyError: 'churned'; apply the change {ANOTHER_NAME}"


@pytest.mark.parametrize(
    ("report", "reason", "words"), [("", "OutOfMemory", "limits.memory"), ("no json", "OutOfMemory", "larger")]
)
def test_a_pod_killed_for_memory_without_last_words_is_told(report: str, reason: str, words: str) -> None:
    status = failing(run(), report, 137, "OOMKilled").status
    assert said(status)["reason"] == reason and words in said(status)["message"]


PROVISIONAL = {
    **REPORT,
    "outcome": "failed",
    "reason": "Interrupted",
    "message": "the pod was killed while the script ran",
    "provisional": True,
}


@pytest.mark.parametrize(
    ("killed_for", "reason", "words"),
    [
        ("OOMKilled", "OutOfMemory", ["limits.memory, 256Mi,", "'gpu'", "instanceType"]),
        ("Error", "Interrupted", ["was killed"]),
    ],
)
def test_what_the_node_knows_of_the_end_counts_before_what_was_written_in_case_of_it(
    killed_for: str, reason: str, words: list[str]
) -> None:
    at = workspace({"instanceTypes": {"gpu": {"resources": {"limits": {"memory": "256Mi"}}}}})
    status = failing(run(instanceType="gpu"), PROVISIONAL, 137, killed_for, at=at).status
    assert (status["phase"], said(status)["reason"]) == ("Failed", reason)
    assert all(word in said(status)["message"] for word in [*words, ANOTHER_NAME])
    assert status["tracking"]["runId"] == "a" and status["digests"]["code"] == DIGEST


def test_a_cause_that_the_wrapper_found_itself_counts_before_what_the_node_knows() -> None:
    report = {"reason": "ScriptFailed", "message": "a worker was killed"}
    assert said(failing(run(), report, 1, "OOMKilled").status)["reason"] == "ScriptFailed"


STORED = json.dumps(REPORT)
DONE = json.dumps({"version": 1, "outcome": "succeeded", "reason": "", "message": "", "digests": REPORT["digests"]})


def split(training: Json, recorder: Json | None, how: str = "Failed", **status: Any) -> Json:
    """The run's status after its two containers ended each in its own way; a recorder of None has not ended."""
    it = run(outputs={"model": {"type": "customModel"}})
    states = {
        "training": {"terminated": training},
        "recorder": {"terminated": recorder} if recorder else {"running": {}},
    }
    found = [{"name": name, "state": state} for name, state in states.items()]
    done = [job(it, **completed(how)), pod_of(it, containerStatuses=found, **status)]
    made = planned(it, workspace(), experiment(), *done).status
    return made if made is not None else {}


def ending(words: str | Json, code: int = 0, reason: str = "Completed") -> Json:
    return {"exitCode": code, "reason": reason, "message": words if isinstance(words, str) else json.dumps(words)}


def test_what_is_stored_is_the_recorders_to_say() -> None:
    status = split(ending(DONE), ending(STORED), "Complete")
    assert (status["phase"], status["metrics"], status["tracking"]["runId"]) == ("Succeeded", {"auc": 0.9}, "a")
    missing = {**REPORT, "outcome": "failed", "reason": "OutputMissing", "message": "outputs.model was declared"}
    status = split(ending(DONE), ending(missing, 1, "Error"))
    assert (said(status)["reason"], status["metrics"]) == ("OutputMissing", {"auc": 0.9})


def test_a_run_is_not_over_before_both_containers_have_ended() -> None:
    for how in ("Complete", "Failed"):
        assert split(ending(DONE), None, how) == {}


def test_a_recorder_that_was_killed_takes_the_results_and_not_the_truth_about_the_script() -> None:
    killed = ending({**PROVISIONAL, "reason": "ResultsNotStored", "metrics": {}, "digests": {}}, 137, "OOMKilled")
    status = split(ending(DONE), killed)
    assert said(status)["reason"] == "ResultsNotStored"
    for words in ("the script succeeded", "OOMKilled", "exit code 137", "-c recorder", ANOTHER_NAME):
        assert words in said(status)["message"]
    assert status["digests"]["code"] == DIGEST and status["tracking"]["runId"] == "a"
    status = split(ending({"reason": "ScriptFailed", "message": "KeyError: 'x'"}, 1), killed)
    assert said(status)["reason"] == "ScriptFailed" and "KeyError: 'x'" in said(status)["message"]


def test_a_script_whose_whole_container_was_killed_for_memory_is_told_so_with_what_was_stored() -> None:
    heard = {**PROVISIONAL, "message": "the container 'training' was killed"}
    status = split(ending(PROVISIONAL, 137, "OOMKilled"), ending(heard, 1, "Error"))
    assert said(status)["reason"] == "OutOfMemory"
    assert status["metrics"] == {"auc": 0.9} and status["outputs"]["model"]["digest"] == DIGEST
    status = split(ending(PROVISIONAL, 137, "Error"), ending(heard, 1, "Error"))
    assert said(status)["reason"] == "Interrupted" and "while the script ran" in said(status)["message"]


def test_a_pod_that_the_platform_ended_with_both_containers_is_told_so() -> None:
    killed = ending(PROVISIONAL, 137, "Error")
    status = split(killed, killed, phase="Failed", reason="Evicted", message="The node was low on memory")
    assert said(status)["reason"] == "PodLost" and "low on memory" in said(status)["message"]


def test_a_run_that_no_pod_can_carry_is_stalled_with_its_size_and_what_to_do() -> None:
    variables = {f"V{number}": "x" * 8192 for number in range(64)}
    plan = planned(run(environmentVariables=variables), workspace(), experiment())
    assert (plan.apply, plan.status["phase"], said(plan.status, "Stalled")["reason"]) == ((), "Failed", "TooLarge")
    for word in ("52", "258048", "ConfigMap", ANOTHER_NAME):
        assert word in said(plan.status)["message"]


@pytest.mark.parametrize("text", ["\n" * 131072, "ä" * 131072, '"' * 131072])
def test_the_size_of_a_run_is_that_of_its_bytes(text: str) -> None:
    plan = planned(run(code={"inline": {"train.py": text}}), workspace(), experiment())
    assert said(plan.status, "Stalled")["reason"] == "TooLarge"


def test_a_pod_killed_for_memory_whose_workspace_is_gone_is_told_without_the_amount() -> None:
    it = run()
    done = [job(it, **completed("Failed")), pod_of(it, **ended("", 137, reason="OOMKilled"))]
    message = said(planned(it, *done).status)["message"]
    assert "than limits.memory of instance type 'default'" in message


def test_retries_make_another_attempt_and_then_it_is_over() -> None:
    it = run(limits={"retries": 1}, code={"configMap": "found-before"})
    plan = failing(it)
    assert [child.name for child in plan.apply] == ["first-2"]
    assert plan.status["attempt"] == 2 and "completionTime" not in plan.status
    assert plan.status["failures"] == 1 and "exit code 1" in said(plan.status)["message"]
    second = made(plan, it, **completed("Failed"))
    plan = planned(it, workspace(), experiment(), second, pod(second, **ended("", 1, reason="Error")))
    assert (plan.status["phase"], plan.status["failures"], plan.status["attempt"]) == ("Failed", 2, 2)


def test_an_unfinished_job_deleted_by_hand_is_made_again_under_its_own_name() -> None:
    it = run(status={"attempt": 2, "job": "first-2"}, limits={"retries": 3})
    assert [child.name for child in planned(it, workspace(), experiment()).apply] == ["first-2"]


def test_a_pod_that_the_platform_ended_is_told() -> None:
    it = run()
    lost = pod_of(it, phase="Failed", reason="Evicted", message="low on disk")
    status = planned(it, workspace(), experiment(), job(it, **completed("Failed")), lost).status
    assert said(status)["reason"] == "PodLost" and "low on disk" in said(status)["message"]


def test_nobody_elses_job_is_taken_for_ours() -> None:
    it = run()
    stranger = job(it) | {"metadata": job(it)["metadata"] | owned_by(resource(MODEL, "first"))}
    assert [child.name for child in planned(it, workspace(), experiment(), stranger).apply] == ["first-1"]


@pytest.mark.parametrize(("age", "asked", "again"), [(1, False, 4), (5, True, 5), (30, True, 30), (900, True, 60)])
def test_a_job_without_pods_is_asked_after_a_while_and_ever_more_rarely(age: int, asked: bool, again: int) -> None:
    it = run()
    made = job(it) | {"metadata": job(it)["metadata"] | {"creationTimestamp": "2026-01-02T03:04:05Z"}}
    now = NOW + timedelta(seconds=age)
    store = store_of(it, workspace(), experiment(), made)
    assert bool(reconciler.reads(it, store, now)) is asked
    assert reconciler.plan(it, store, {}, now, SETTINGS).requeue_after == again


def test_a_version_deleted_before_it_was_written_down_is_still_not_given_again() -> None:
    it = run(**REGISTERING)
    read = Labelled(MODEL, NAMESPACE, uid_selector(it["metadata"]["uid"]))
    store = store_of(
        it, workspace(), experiment(), job(it, **completed()), pod_of(it, **ended(json.dumps(REPORT))), model(4)
    )
    assert store.remove(MODEL, model(4)) is not None
    plan = reconciler.plan(it, store, {read: {"items": []}}, NOW, SETTINGS)
    assert plan.status is not None and plan.status["model"] == "churn-5"


GIT = {"git": {"url": "https://git.example/a.git", "revision": "main"}}
COMMIT = "ab" * 20


def fetching(state: Json) -> Json:
    return {"initContainerStatuses": [{"name": "tools", "state": {}}, {"name": "fetch", "state": state}]}


def fetched(message: Json | None = None, code: int = 0, reason: str = "Completed") -> Json:
    words = json.dumps(message) if message else ""
    return fetching({"terminated": {"exitCode": code, "message": words, "reason": reason}})


def test_a_run_whose_code_is_being_fetched_says_so() -> None:
    it = run(code=GIT)
    plan = at_work(it, pod_of(it, **fetching({"running": {"startedAt": "x"}})))
    assert said(plan.status)["reason"] == "Fetching"
    assert "kubectl logs job/first-1 -c fetch" in said(plan.status)["message"]
    assert plan.status["phase"] == "Preparing"


def test_the_commit_is_in_the_status_as_soon_as_it_is_fetched() -> None:
    it = run(code=GIT)
    running = {"containerStatuses": [{"name": "training", "state": {"running": {}}}]}
    plan = at_work(it, pod_of(it, **fetched({"code": {"commit": COMMIT}}), **running))
    assert (plan.status["phase"], plan.status["code"]) == ("Running", {"commit": COMMIT})


def test_the_cause_of_a_failed_fetch_is_told_in_its_words() -> None:
    it = run(code=GIT)
    words = {"reason": "CodeUnavailable", "message": f"it is private; {ANOTHER_NAME}"}
    plan = planned(it, workspace(), experiment(), job(it, **completed("Failed")), pod_of(it, **fetched(words, 1)))
    assert said(plan.status)["reason"] == "CodeUnavailable"
    assert said(plan.status)["message"] == words["message"]
    assert plan.status["phase"] == "Failed"


def test_a_fetch_that_was_killed_for_its_memory_is_not_told_to_choose_another_instance_type() -> None:
    it = run(code=GIT)
    killed = pod_of(it, **fetched(None, 137, "OOMKilled"))
    plan = planned(it, workspace(), experiment(), job(it, **completed("Failed")), killed)
    assert said(plan.status)["reason"] == "CodeUnavailable"
    assert "'fetch'" in said(plan.status)["message"] and "instance" not in said(plan.status)["message"]


@pytest.mark.parametrize("seen", ["in the pod", "in the status"])
def test_a_further_attempt_runs_the_commit_that_the_first_one_ran(seen: str) -> None:
    """Though the branch may have moved on; the pod may be gone by then, or its end may come before anybody has looked."""
    there = seen == "in the pod"
    it = run(code=GIT, limits={"retries": 1}, status=None if there else {"attempt": 1, "code": {"commit": COMMIT}})
    first = [pod_of(it, **fetched({"code": {"commit": COMMIT}}), **ended("", 1))] if there else []
    late = NOW + timedelta(minutes=1)
    plan = planned(it, workspace(), experiment(), job(it, **completed("Failed")), *first, now=late)
    (made,) = plan.apply
    assert made.name == "first-2"
    contract = json.loads(made.manifest["spec"]["template"]["metadata"]["annotations"]["smalt.dev/run"])
    assert contract["code"]["git"] == GIT["git"] | {"commit": COMMIT}
    assert plan.status["code"] == {"commit": COMMIT}


def test_a_further_attempt_reads_what_the_first_one_read_unless_the_run_says_what() -> None:
    """An address may lead to other data by then; also when the attempt in between has left no word."""
    inputs = {
        "train": {"type": "uriFile", "path": "https://data.example/rows.csv"},
        "test": {"type": "uriFile", "path": "s3://data/test.csv", "digest": DIGEST},
        "odd": {"type": "uriFile", "path": "https://data.example/odd.csv"},
    }
    it = run(inputs=inputs, limits={"retries": 2})
    read = {"train": "sha256:" + "1" * 64, "test": DIGEST, "odd": "$(no digest)"}
    report = json.dumps(REPORT | {"outcome": "failed", "digests": {"data": read}})
    plan = planned(it, workspace(), experiment(), job(it, **completed("Failed")), pod_of(it, **ended(report, 1)))
    second = made(plan, it, **completed("Failed"))
    third = planned(it, workspace(), experiment(), second, pod(second, **ended("", 1, reason="Error")))
    for name, each in (("first-2", plan), ("first-3", third)):
        (child,) = each.apply
        assert child.name == name
        contract = json.loads(child.manifest["spec"]["template"]["metadata"]["annotations"]["smalt.dev/run"])
        assert contract["inputs"]["train"]["pinned"] == read["train"]
        assert not any("pinned" in contract["inputs"][each] for each in ("test", "odd"))


def preparing(state: Json) -> Json:
    return {"initContainerStatuses": [{"name": "tools", "state": {}}, {"name": "environment", "state": state}]}


@pytest.mark.parametrize(("age", "reason"), [(1, "JobCreated"), (60, "PreparingEnvironment")])
def test_a_run_whose_packages_take_their_time_says_so(age: int, reason: str) -> None:
    it = run(environment={"pip": ["torch"]})
    made = job(it)
    made["metadata"]["creationTimestamp"] = (NOW - timedelta(seconds=age)).isoformat()
    plan = planned(it, workspace(), experiment(), made, pod_of(it, **preparing({"running": {"startedAt": "x"}})))
    assert said(plan.status)["reason"] == reason
    assert plan.status["phase"] == ("Preparing" if age > 5 else "Pending")
    assert (plan.requeue_after is not None) == (age < 5), "it is looked at again when it has taken its time"
    assert ("kubectl logs job/first-1 -c environment" in said(plan.status)["message"]) == (age > 5)


def test_packages_whose_installation_was_killed_for_its_memory_name_the_limit() -> None:
    it = run(environment={"pip": ["torch"]})
    killed = pod_of(it, **preparing({"terminated": {"exitCode": 137, "reason": "OOMKilled"}}))
    plan = planned(it, workspace(), experiment(), job(it, **completed("Failed")), killed)
    assert said(plan.status)["reason"] == "OutOfMemory"
    assert "'environment'" in said(plan.status)["message"] and "instanceType" in said(plan.status)["message"]


def test_profiles_of_inputs_and_outputs_stand_in_the_status_and_nothing_that_was_not_declared() -> None:
    train = {"rows": 7043, "columns": 21, "missing": 11, "warnings": 2, "password": "no"}
    profiles = {
        "inputs": {"train": train, "other": train, "odd": {"message": "'odd.csv' is binary, not a table"}},
        "outputs": {"train": {"rows": 3, "columns": -1, "missing": True}, "model": "nonsense"},
    }
    inputs = {name: {"type": "uriFile", "path": f"pvc://data/{name}"} for name in ("train", "odd")}
    outputs = {name: {"type": "uriFile"} for name in ("train", "model")}
    spec = TrainingRunSpec.model_validate(run(inputs=inputs, outputs=outputs)["spec"])
    place = "mlflow-artifacts:/1/a/artifacts/profiles"
    assert facts(REPORT | {"profiles": profiles}, None, spec)["dataProfile"] == {
        "train": {"rows": 7043, "columns": 21, "missing": 11, "warnings": 2, "report": f"{place}/inputs/train"},
        "odd": {"message": "'odd.csv' is binary, not a table"},
        "outputs.train": {"rows": 3, "report": f"{place}/outputs/train"},
    }
