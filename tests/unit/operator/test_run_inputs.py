"""A run waits for what its inputs are made by, pins what it got, and says in words why it cannot get it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from smalt.api.kinds import EXPERIMENT, MODEL, TRAINING_RUN
from smalt.api.training_run import ANOTHER_NAME
from smalt.builders.training_job import ANNOTATION, INPUTS_ANNOTATION
from smalt.engine.store import Change
from smalt.engine.waking import woken
from smalt.reconcilers import training_run as reconciler
from smalt.reconcilers.run_inputs import cycle
from support.resources import (
    DIGEST,
    NAMESPACE,
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
    resource,
    run,
    said,
    store_of,
    workspace,
)

Json = dict[str, Any]
OTHER = "sha256:" + "cd" * 32
CLEAN = {"uri": "mlflow-artifacts:/1/b/artifacts/outputs/clean", "digest": OTHER, "bytes": 70, "files": 2}
WORLD = (workspace(), experiment())


def reading(path: str, name: str = "first", kind: str = "uriFolder", **more: Any) -> Json:
    return run(name, inputs={"train": {"type": kind, "path": path}}, **more)


def prep(**status: Any) -> Json:
    return finished_run("prep", **({"outputs": {"clean": CLEAN}} | status))


def not_ready(reason: str, message: str, **status: Any) -> Json:
    stalled = status.pop("stalled", False)
    conditions = [{"type": "Ready", "status": "False", "reason": reason, "message": message}]
    if stalled:
        conditions.append({"type": "Stalled", "status": "True", "reason": reason, "message": message})
    return {"observedGeneration": 1, "conditions": conditions, **status}


def planned(it: Json, *world: Json) -> Any:
    return reconciler.plan(it, store_of(it, *WORLD, *world), {}, NOW, SETTINGS)


def contract(plan: Any) -> Json:
    (child,) = plan.apply
    found: Json = json.loads(child.manifest["spec"]["template"]["metadata"]["annotations"][ANNOTATION])
    return found


IT = reading("run://prep/clean")


@pytest.mark.parametrize(
    ("it", "world", "reason", "is_stalled", "words"),
    [
        (IT, (), "WaitingForRun", False, ["inputs.train", "TrainingRun 'prep'", "does not exist", NAMESPACE]),
        (
            IT,
            (run("prep", status=not_ready("Running", "the script runs", phase="Running")),),
            "WaitingForRun",
            False,
            ["output 'clean' of TrainingRun 'prep', which is Running"],
        ),
        (
            IT,
            (run("prep", status=not_ready("Unschedulable", "no node fits pod 'x'", phase="Pending")),),
            "WaitingForRun",
            False,
            ["'prep', which is Pending: no node fits pod 'x'"],
        ),
        (IT, (run("prep"),), "WaitingForRun", False, ["it has not been looked at yet"]),
        (
            IT,
            (prep(**not_ready("ScriptFailed", "KeyError: 'churned'", phase="Failed", stalled=True)),),
            "InputFailed",
            True,
            ["which is Failed: KeyError: 'churned'", "apply it anew under the same name", ANOTHER_NAME],
        ),
        (
            IT,
            (run("prep", status=not_ready("UnknownInstanceType", "no type 'gpu'", phase="Pending", stalled=True)),),
            "InputFailed",
            True,
            ["which is Pending: no type 'gpu'"],
        ),
        (
            IT,
            (prep(outputs={"model": CLEAN}),),
            "InputFailed",
            True,
            ["names output 'clean'", "it has model", ANOTHER_NAME],
        ),
        (
            IT,
            (prep(outputs={"clean": CLEAN | {"uri": "s3://elsewhere/x"}}),),
            "InputFailed",
            True,
            ["s3://elsewhere/x", "not in the Workspace's own store"],
        ),
        (reading("model://churn/3"), (), "WaitingForModel", False, ["Model 'churn-3'", "does not exist"]),
        (
            reading("model://churn/3", "evaluation"),
            (model(3, status=not_ready("WaitingForRun", "the run has not finished")),),
            "WaitingForModel",
            False,
            ["Model 'churn-3', which is not ready: the run has not finished"],
        ),
        (
            reading("model://churn/3"),
            (model(3, status=not_ready("ModelDamaged", "model.joblib is cut short", stalled=True)),),
            "InputFailed",
            True,
            ["Model 'churn-3', which is not ready: model.joblib is cut short", "another version"],
        ),
    ],
)
def test_what_an_input_waits_for_is_said(
    it: Json, world: tuple[Json, ...], reason: str, is_stalled: bool, words: list[str]
) -> None:
    plan = planned(it, *world)
    assert plan.apply == () and plan.requeue_after is None
    assert said(plan.status)["reason"] == reason
    assert bool(said(plan.status, "Stalled")) is is_stalled
    assert plan.status["phase"] == "Pending"
    for word in words:
        assert word in said(plan.status)["message"]


# Registered, and followed by nobody: what it does on other data can be measured, and may open the gate.
GATED = model(3)
GATED["status"] |= {"conditions": not_ready("GateFailed", "auc is 0.7", stalled=True)["conditions"]}


@pytest.mark.parametrize(
    ("path", "producer", "artifact"),
    [
        ("run://prep/clean", prep(), CLEAN),
        ("model://churn/3", model(3), model(3)["status"]["artifact"]),
        ("model://churn/3", GATED, GATED["status"]["artifact"]),
    ],
)
def test_the_job_gets_the_artifact_with_its_digest_and_the_status_says_so(
    path: str, producer: Json, artifact: Json
) -> None:
    plan = planned(reading(path), producer)
    place = artifact["uri"].removeprefix("mlflow-artifacts:/")
    assert contract(plan)["inputs"]["train"]["source"] == {"artifact": place, "digest": artifact["digest"]}
    assert plan.status["digests"] == {"data": {"train": artifact["digest"]}}
    assert plan.status["inputs"] == {"train": artifact}


def given(it: Json, **status: Any) -> Json:
    made = job(it, **status)
    made["metadata"]["annotations"][INPUTS_ANNOTATION] = json.dumps({"train": CLEAN})
    return made


def test_a_status_that_was_not_written_is_read_from_the_job() -> None:
    plan = planned(IT, given(IT))
    assert plan.status["inputs"] == {"train": CLEAN}
    assert plan.status["digests"] == {"data": {"train": OTHER}}


@pytest.mark.parametrize("producer", [(), (prep(outputs={"clean": CLEAN | {"digest": DIGEST}}),)], ids=["gone", "anew"])
def test_a_later_attempt_gets_what_the_first_one_got(producer: tuple[Json, ...]) -> None:
    it = reading("run://prep/clean", limits={"retries": 1})
    lost = given(it, **completed("Failed"))
    plan = planned(it, lost, pod(lost, **ended("", 1)), *producer)
    assert [child.name for child in plan.apply] == ["first-2"]
    assert contract(plan)["inputs"]["train"]["source"]["digest"] == OTHER
    annotation = plan.apply[0].manifest["metadata"]["annotations"][INPUTS_ANNOTATION]
    assert json.loads(annotation) == {"train": CLEAN}


def test_a_job_that_somebody_deleted_is_made_again_with_what_it_had() -> None:
    it = reading("run://prep/clean") | {"status": {"attempt": 1, "inputs": {"train": CLEAN}}}
    assert contract(planned(it))["inputs"]["train"]["source"]["digest"] == OTHER


def test_what_the_inputs_were_stands_in_the_status_of_a_finished_run() -> None:
    inputs = {
        "train": {"type": "uriFolder", "path": "run://prep/clean"},
        "web": {"type": "uriFile", "path": "https://data.example/a.csv?sig=SECRET"},
    }
    it = run(inputs=inputs)
    done = given(it, **completed())
    report = {
        "outcome": "succeeded",
        "digests": {
            "data": {"train": OTHER, "web": DIGEST},
            "code": DIGEST,
            "environment": DIGEST,
            "parameters": DIGEST,
        },
        "inputs": {"train": {"bytes": 70, "files": 2}, "web": {"bytes": 5, "files": 1}},
    }
    plan = planned(it, done, pod(done, **ended(json.dumps(report))))
    web = {"uri": "https://data.example/a.csv", "digest": DIGEST, "bytes": 5, "files": 1}
    assert plan.status["inputs"] == {"train": CLEAN, "web": web}
    assert plan.status["digests"]["data"] == {"train": OTHER, "web": DIGEST}
    assert "SECRET" not in json.dumps(plan.status)


def test_a_run_that_failed_before_its_end_keeps_what_it_was_given() -> None:
    done = given(IT, **completed("Failed"))
    report = {"outcome": "failed", "reason": "DigestMismatch", "message": "no", "inputs": "none", "digests": 3}
    plan = planned(IT, done, pod(done, **ended(json.dumps(report), 1)))
    assert plan.status["phase"] == "Failed"
    assert plan.status["inputs"] == {"train": CLEAN}
    assert plan.status["digests"]["data"] == {"train": OTHER}


@pytest.mark.parametrize("path", ["run://prep/clean", "model://churn/3"])
def test_a_run_reads_from_its_own_workspace_alone(path: str) -> None:
    elsewhere = resource(EXPERIMENT, "others", {"workspace": "annex"}, ready())
    foreign = model(3)
    foreign["spec"]["workspace"] = "annex"
    producer = prep()
    producer["spec"]["experiment"] = "others"
    plan = planned(reading(path), elsewhere, foreign, producer)
    assert said(plan.status)["reason"] == "InputFailed"
    assert "Workspace 'annex'" in said(plan.status)["message"]
    assert "Workspace 'lab'" in said(plan.status)["message"]


def test_runs_that_wait_for_each_other_are_told_so() -> None:
    one, two, three = (
        reading("run://two/o", "one"),
        reading("run://three/o", "two"),
        reading("run://one/o", "three"),
    )
    plan = planned(one, two, three)
    assert said(plan.status)["reason"] == "InputCycle"
    assert said(plan.status, "Stalled")
    assert "one -> two -> three -> one" in said(plan.status)["message"]
    assert cycle(one, store_of(one, two)) == []
    alone = reading("run://alone/o", "alone")
    assert "alone -> alone" in said(planned(alone).status)["message"]


def test_a_circle_that_a_run_only_leads_into_is_no_circle_of_its_own() -> None:
    outside, one, two = reading("run://one/o", "outside"), reading("run://two/o", "one"), reading("run://one/o", "two")
    assert cycle(outside, store_of(outside, one, two)) == []


def test_a_model_that_the_run_itself_makes_is_no_input_of_it() -> None:
    it = reading("model://churn/3")
    waiting = model(3, status=not_ready("WaitingForRun", "the run has not finished"))
    plan = planned(it, waiting)
    assert said(plan.status)["reason"] == "InputCycle"
    assert "first -> churn-3 -> first" in said(plan.status)["message"]


def test_a_producer_that_ends_wakes_whoever_waits_for_it_and_nobody_else() -> None:
    waiting, other = reading("run://prep/clean", "waiting"), run("other")
    before, after = run("prep"), prep()
    store = store_of(after, waiting, other)
    names = {
        wake.target.name
        for wake in woken(TRAINING_RUN, Change(before, after), store)
        if wake.target.kind is TRAINING_RUN
    }
    assert names == {"waiting"}


def test_a_model_that_becomes_ready_wakes_whoever_waits_for_it() -> None:
    waiting = reading("model://churn/3", "waiting")
    before, after = model(3, status=not_ready("WaitingForRun", "x")), model(3)
    woke = {wake.target.name for wake in woken(MODEL, Change(before, after), store_of(after, waiting))}
    assert "waiting" in woke


def test_a_run_that_reads_wakes_no_producer() -> None:
    before = reading("run://prep/clean", "waiting")
    after = before | {"status": {"phase": "Running"}}
    woke = {wake.target.name for wake in woken(TRAINING_RUN, Change(before, after), store_of(after, prep(), *WORLD))}
    assert woke == {"trials"}
