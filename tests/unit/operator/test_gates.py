"""Gates and evaluations: which version may be followed, and by how much one may not."""

from __future__ import annotations

from typing import Any

import pytest

from smalt.api.kinds import MODEL, TRAINING_RUN
from smalt.api.references import Address, address
from smalt.api.training_run import TrainingRunSpec
from smalt.builders.registered_model import registered_model
from smalt.engine.store import Change
from smalt.engine.waking import woken
from smalt.reconcilers import deployment as deployments
from smalt.reconcilers import model as models
from smalt.reconcilers.evaluations import MOST
from smalt.reconcilers.served_model import resolved
from support.resources import (
    DIGEST,
    NAMESPACE,
    NOW,
    REGISTERING,
    SETTINGS,
    THEN,
    deployment,
    model,
    ready,
    run,
    said,
    store_of,
    workspace,
)

Json = dict[str, Any]
OTHER = "sha256:" + "cd" * 32
TEST = "sha256:" + "ef" * 32


def version(
    number: int,
    auc: float | None = 0.9,
    gates: list[Json] | None = None,
    stage: str = "None",
    data: Json | None = None,
    **status: Any,
) -> Json:
    """One that is registered, with what its own run has logged."""
    artifact = {"uri": "mlflow-artifacts:/1/a/artifacts/outputs/model", "digest": DIGEST, "bytes": 3, "files": 1}
    facts: Json = {"artifact": artifact, "lineage": {"run": "first", "data": data or {"train": DIGEST}}}
    facts |= {"metrics": {"auc": auc}} if auc is not None else {}
    made = model(number, stage, ready("Registered") | facts | status)
    made["spec"] |= {"gates": gates} if gates else {}
    return made


def evaluation(of: int, auc: float, name: str = "look", at: str = THEN, data: str = TEST, **spec: Any) -> Json:
    inputs = {"model": {"type": "uriFolder", "path": f"model://churn/{of}"}, "test": {"type": "uriFile", "path": "x"}}
    facts = {"phase": "Succeeded", "completionTime": at, "metrics": {"auc": auc}}
    digests = {"data": {"model": DIGEST, "test": data}}
    return run(name, status=ready("Succeeded") | facts | {"digests": digests}, inputs=inputs, **spec)


def seen(it: Json, *world: Json) -> Json:
    status = models.plan(it, store_of(it, *world), {}, NOW, SETTINGS).status
    assert status is not None
    return status


PRODUCTION = {"metric": "auc", "atLeast": {"model": "churn", "stage": "Production"}}


@pytest.mark.parametrize(
    ("gate", "auc", "words"),
    [
        ({"metric": "auc", "min": 0.8}, 0.79, "auc is 0.79, 0.01 below min 0.8"),
        ({"metric": "auc", "max": 0.5}, 0.75, "auc is 0.75, 0.25 above max 0.5"),
        ({"metric": "f1", "min": 0.8}, 0.9, "metric 'f1' was not logged (there are auc)"),
        ({"metric": "f1", "min": 0.8}, None, "metric 'f1' was not logged (there are none)"),
        (PRODUCTION, 0.85, "auc is 0.85, 0.05 below the 0.9 of Model 'churn-1' on the same data"),
        (PRODUCTION | {"tolerance": 0.01}, 0.85, "(tolerance 0.01)"),
        ({"metric": "auc", "atMost": {"model": "churn", "version": 1}}, 0.95, "0.05 above the 0.9 of Model 'churn-1'"),
        ({"metric": "auc", "atLeast": {"model": "churn", "version": 9}}, 0.95, "'churn-9' does not exist, or is not"),
    ],
)
def test_a_version_that_misses_a_gate_says_by_how_much_and_is_not_followed(gate: Json, auc: float, words: str) -> None:
    it, incumbent = version(2, auc, [gate]), version(1, 0.9, stage="Production")
    status = seen(it, incumbent)
    assert said(status)["reason"] == "GateFailed" and words in said(status)["message"]
    assert said(status, "Stalled")["status"] == "True"
    assert [each["passed"] for each in status["gates"]] == [False]
    following = deployment(model={"name": "churn", "version": 2})
    it["status"] = status
    assert resolved(following, store_of(it, incumbent)) is None


@pytest.mark.parametrize(
    ("gate", "auc"),
    [
        ({"metric": "auc", "min": 0.8}, 0.8),
        ({"metric": "auc", "max": 0.5}, 0.5),
        (PRODUCTION, 0.9),
        (PRODUCTION | {"tolerance": 0.1}, 0.85),
        ({"metric": "auc", "atMost": {"model": "churn", "version": 1}}, 0.7),
        ({"metric": "auc", "atLeast": {"model": "other", "stage": "Production"}}, 0.1),
    ],
)
def test_a_version_that_passes_is_ready(gate: Json, auc: float) -> None:
    status = seen(version(2, auc, [gate]), version(1, 0.9, stage="Production"))
    assert said(status)["reason"] == "Registered" and status["gates"][0]["passed"]


def test_a_deployment_that_follows_a_stage_says_which_version_is_in_the_way_and_why() -> None:
    refused = version(2, 0.5, [{"metric": "auc", "min": 0.8}], stage="Production")
    refused["status"] = seen(refused)
    following = deployment(model={"name": "churn", "stage": "Production"})
    world = store_of(following, workspace(), refused)
    status = deployments.plan(following, world, {}, NOW, SETTINGS).status
    assert said(status)["reason"] == "WaitingForModel"
    assert "the latest, Model 'churn-2', is not: Model 'churn-2' is registered and" in said(status)["message"]
    assert "0.3 below min 0.8" in said(status)["message"]


def test_the_first_version_has_nobody_to_be_compared_with() -> None:
    status = seen(version(1, 0.1, [PRODUCTION], stage="Production"))
    assert said(status)["status"] == "True"
    assert "no ready version in stage Production yet" in status["gates"][0]["message"]


def test_a_promotion_that_is_refused_names_the_stage() -> None:
    status = seen(version(2, 0.5, [{"metric": "auc", "min": 0.8}], stage="Production"))
    assert "not promoted to Production: auc is 0.5, 0.3 below min 0.8" in said(status)["message"]


def test_every_gate_that_is_missed_is_named() -> None:
    gates = [{"metric": "auc", "min": 0.8}, {"metric": "auc", "min": 0.1}, {"metric": "loss", "max": 1}]
    status = seen(version(2, 0.5, gates))
    assert "below min 0.8" in said(status)["message"] and "'loss' was not logged" in said(status)["message"]
    assert [each["passed"] for each in status["gates"]] == [False, True, False]


def test_what_was_measured_on_other_data_is_no_comparison() -> None:
    incumbent = version(1, 0.5, stage="Production", data={"train": OTHER})
    status = seen(version(2, 0.9, [PRODUCTION]), incumbent)
    assert said(status)["reason"] == "GateFailed"
    assert "not measured on the same data as that of Model 'churn-1'" in said(status)["message"]
    assert "model://churn/1" in said(status)["message"]


def test_evaluations_on_the_same_data_are_compared_whatever_the_versions_were_trained_on() -> None:
    incumbent = version(1, 0.99, stage="Production", data={"train": OTHER})
    incumbent["status"] = seen(incumbent, evaluation(1, 0.7, "old"))
    better, worse = evaluation(2, 0.8, "new"), evaluation(2, 0.6, "new")
    assert said(seen(version(2, 0.5, [PRODUCTION]), incumbent, better))["status"] == "True"
    assert (
        "0.1 below the 0.7 of Model 'churn-1'" in said(seen(version(2, 0.5, [PRODUCTION]), incumbent, worse))["message"]
    )


def test_one_input_can_be_what_makes_two_versions_comparable() -> None:
    incumbent = version(1, 0.8, stage="Production", data={"train": OTHER, "test": TEST})
    it = version(2, 0.7, [PRODUCTION | {"data": "test"}], data={"train": DIGEST, "test": TEST})
    assert "0.1 below" in said(seen(it, incumbent))["message"]
    it = version(2, 0.7, [PRODUCTION | {"data": "test"}], data={"train": OTHER, "test": DIGEST})
    assert "same data in input 'test'" in said(seen(it, incumbent))["message"]


def test_gates_that_were_passed_stay_passed_when_a_better_version_comes() -> None:
    it = version(2, 0.9, [PRODUCTION], stage="Production")
    it["status"] = seen(it, version(1, 0.8, stage="Production"))
    assert said(seen(it, version(3, 0.95, stage="Production")))["status"] == "True"


def test_a_later_evaluation_opens_the_gate() -> None:
    it = version(2, None, [{"metric": "auc", "min": 0.75}])
    it["status"] = seen(it)
    assert said(it["status"])["reason"] == "GateFailed"
    assert said(seen(it, evaluation(2, 0.8)))["reason"] == "Registered"


def test_what_a_run_itself_has_logged_counts_before_an_evaluation_where_nothing_is_compared() -> None:
    status = seen(version(2, 0.9, [{"metric": "auc", "min": 0.75}]), evaluation(2, 0.5))
    assert status["gates"][0]["message"] == "auc is 0.9, and min is 0.75"


# --- evaluations ------------------------------------------------------------------------------------------------------


def test_what_runs_measured_that_read_the_model_stands_in_its_status() -> None:
    status = seen(version(1), evaluation(1, 0.7, "a", "2026-01-01T00:00:00Z"), evaluation(1, 0.8, "b"))
    assert [each["run"] for each in status["evaluations"]] == ["b", "a"]
    assert status["evaluations"][0] == {
        "run": "b",
        "completionTime": THEN,
        "data": {"test": TEST},
        "metrics": {"auc": 0.8},
    }


@pytest.mark.parametrize(
    "it",
    [
        evaluation(2, 0.7),
        evaluation(1, 0.7) | {"status": {"phase": "Running", "metrics": {"auc": 0.7}}},
        evaluation(1, 0.7) | {"status": {"phase": "Succeeded", "completionTime": THEN}},
        evaluation(1, 0.7, **REGISTERING),
    ],
    ids=["another version", "still running", "nothing measured", "made another model of it"],
)
def test_other_runs_are_no_evaluations(it: Json) -> None:
    assert "evaluations" not in seen(version(1), it)


def test_an_evaluation_outlasts_its_run_and_the_latest_are_kept() -> None:
    it = version(1)
    for number in range(MOST + 3):
        it["status"] = seen(it, evaluation(1, number / 100, f"look-{number}", f"2026-01-01T00:00:{number:02}Z"))
    assert [each["run"] for each in it["status"]["evaluations"]] == [f"look-{n}" for n in range(MOST + 2, 2, -1)]


def test_a_model_looks_when_a_run_that_reads_it_ends_and_when_what_it_is_compared_with_changes() -> None:
    it, incumbent = version(2, 0.9, [PRODUCTION]), version(1, 0.8, stage="Production")
    other = version(2, 0.9, [{"metric": "auc", "min": 0.1}])
    other["metadata"] |= {"name": "spam-2", "uid": "uid-spam"}
    other["spec"] |= {"name": "spam", "gates": [PRODUCTION]}
    ended = evaluation(2, 0.7)
    running = ended | {"status": {"phase": "Running"}}
    found = {each.target for each in woken(TRAINING_RUN, Change(running, ended), store_of(it, ended))}
    assert address(MODEL, it) in found
    archived = incumbent | {"spec": incumbent["spec"] | {"stage": "Archived"}}
    found = {each.target for each in woken(MODEL, Change(incumbent, archived), store_of(it, other, archived))}
    assert {address(MODEL, it), address(MODEL, other)} <= found


def test_who_is_compared_with_a_model_is_no_version_of_it() -> None:
    other = version(9, 0.9, [PRODUCTION])
    other["metadata"] |= {"name": "spam-9", "uid": "uid-spam"}
    other["spec"] |= {"name": "spam"}
    following = deployment(model={"name": "churn", "version": 9})
    assert resolved(following, store_of(other)) is None


def test_a_runs_gates_go_with_the_model() -> None:
    register = {"model": "churn", "from": "model", "gates": [PRODUCTION]}
    spec = TrainingRunSpec.model_validate(run(**(REGISTERING | {"register": register}))["spec"])
    assert spec.register_ is not None
    made = registered_model(Address(TRAINING_RUN, NAMESPACE, "first"), "uid", "lab", spec.register_, 1, DIGEST)
    assert made["spec"]["gates"] == [PRODUCTION]
