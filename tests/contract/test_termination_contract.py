"""What the trainer leaves behind, however long or odd, is read by the operator; what the trainer reads, the operator writes."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smalt.api.kinds import TRAINING_RUN, WORKSPACE
from smalt.api.references import Address, address
from smalt.api.training_run import MOST_METRICS, TrainingRunSpec
from smalt.api.workspace import InstanceType, WorkspaceSpec
from smalt.builders.training_job import Attempt, contract
from smalt.reconcilers import run_results
from smalt.reconcilers.diagnosis import report
from smalt_trainer.contract import ArchiveCode, Contract, GitCode, parse_contract
from smalt_trainer.termination import LIMIT, METRICS_LIMIT, Outcome, termination_message
from support.resources import DIGEST, NAMESPACE, run

Json = dict[str, Any]
ARTIFACT = {"uri": "mlflow-artifacts:/1/a/artifacts/outputs/model", "digest": DIGEST, "bytes": 3, "files": 1}
SPEC: Json = {
    "command": "python train.py ${{inputs.rows}} '${{parameters.C}}' ${{outputs.model}}",
    "inputs": {
        "rows": {"type": "uriFile", "path": "configmap://rows/rows.csv", "digest": DIGEST},
        "all": {"type": "uriFolder", "path": "pvc://data/2026/"},
        "web": {"type": "uriFile", "path": "https://data.example/a.csv"},
    },
    "parameters": {"C": 0.5, "flag": True, "text": "ä\n$(x)"},
    "outputs": {"model": {"type": "customModel"}, "log": {"type": "uriFile"}},
    "environmentVariables": {"MODE": "$(x)"},
    "environment": {"pip": ["lightgbm==4.5"], "image": "registry.example/train:1"},
    "limits": {"timeout": "90s", "finalizing": "1h"},
}
PARSED = TrainingRunSpec.model_validate(run(**SPEC)["spec"])


def left(outcome: Outcome) -> Json:
    """The operator's reading of it, as the kubelet hands it on."""
    return report({"message": termination_message(outcome).decode()})


def outcome(**other: Any) -> Outcome:
    digests = {
        "code": DIGEST,
        "data": dict.fromkeys(SPEC["inputs"], DIGEST),
        "environment": DIGEST,
        "parameters": DIGEST,
    }
    made = {
        "exit_code": 0,
        "metrics": {"auc": 0.9, "loss": float("nan")},
        "non_finite": ["loss"],
        "digests": digests,
        "outputs": {"model": ARTIFACT},
        "tracking": {"runId": "a", "experimentId": "1"},
    }
    return Outcome(**{**made, **other})


def test_every_fact_of_a_good_run_arrives() -> None:
    found = left(outcome())
    facts = run_results.facts(found, None, PARSED)
    assert facts["metrics"] == {"auc": 0.9}
    assert facts["outputs"] == {"model": ARTIFACT}
    assert facts["tracking"] == {"runId": "a", "url": "/#/experiments/1/runs/a"}
    parts = {"code", "data", "environment", "parameters", "command", "variables"}
    assert facts["digests"].keys() == {"run", *parts}
    assert facts["digests"]["data"] == dict.fromkeys(SPEC["inputs"], DIGEST)
    assert run_results.non_finite(found) == ["loss"]


def test_the_cause_of_a_bad_run_arrives_in_its_words() -> None:
    found = left(outcome(reason="ScriptFailed", message="KeyError: 'churned' in Spalte ä", exit_code=3))
    assert (found["reason"], found["message"]) == ("ScriptFailed", "KeyError: 'churned' in Spalte ä")


def test_what_was_left_in_case_of_a_kill_is_read_as_such_with_where_the_run_is_found() -> None:
    so_far = outcome(reason="Interrupted", message="the pod was killed", exit_code=None, metrics={}, outputs={})
    found = report({"message": termination_message(so_far, provisional=True).decode()})
    assert found["provisional"] is True and left(so_far).get("provisional") is None
    facts = run_results.facts(found, None, PARSED)
    assert facts["tracking"]["runId"] == "a" and facts["digests"]["run"].startswith("sha256:")


def test_both_sides_count_the_same_number_of_metrics() -> None:
    assert METRICS_LIMIT == MOST_METRICS
    many = outcome(metrics={f"m{number:03}": 1.0 for number in range(100)}, non_finite=[])
    assert len(run_results.facts(left(many), None, PARSED)["metrics"]) == MOST_METRICS


TEXTS = st.text(max_size=60)


@settings(max_examples=60, deadline=None)
@given(
    message=st.text(max_size=3000) | st.just("😀" * 3000) | st.just("\ud800" * 2000) | st.just('\\"\n' * 2000),
    metrics=st.dictionaries(TEXTS, st.floats(), max_size=60),
    non_finite=st.lists(TEXTS, max_size=60),
)
def test_however_much_there_is_to_say_it_fits_and_its_cause_and_artifact_arrive(
    message: str, metrics: dict[str, float], non_finite: list[str]
) -> None:
    bad = outcome(reason="ScriptFailed", message=message, metrics=metrics, non_finite=non_finite)
    assert len(termination_message(bad)) <= LIMIT
    found = left(bad)
    assert found["reason"] == "ScriptFailed" and bool(found["message"]) is bool(message)
    facts = run_results.facts(found, None, PARSED)
    assert facts["outputs"] == {"model": ARTIFACT}
    assert facts["digests"]["run"].startswith("sha256:")


def written(it: Json | None = None, **changes: Any) -> Json:
    it = it or run(**SPEC)
    return contract(
        Attempt(
            run=address(TRAINING_RUN, it),
            uid="uid",
            number=2,
            spec=TrainingRunSpec.model_validate(it["spec"]),
            workspace=Address(WORKSPACE, NAMESPACE, "lab"),
            workspace_spec=WorkspaceSpec(),
            instance=InstanceType(),
            trainer_image="smalt/trainer",
            pull_policy="IfNotPresent",
            **changes,
        )
    )


EXPECTED = {
    "namespace": NAMESPACE,
    "name": "first",
    "uid": "uid",
    "attempt": 2,
    "workspace": "lab",
    "experiment": "trials",
    "command": 'python train.py "${SMALT_INPUTS_rows}" \'\'"${SMALT_PARAMETERS_C}"\'\' "${SMALT_OUTPUTS_model}"',
    "inline_code": {"train.py": "pass"},
    "code_folder": None,
    "code_git": None,
    "code_archive": None,
    "variables": {"MODE": "$(x)"},
    "parameters": {"C": 0.5, "flag": True, "text": "ä\n$(x)"},
    "outputs": {"model": "customModel", "log": "uriFile"},
    "logged_model": None,
    "environment": {"pip": ["lightgbm==4.5"]},
    "image": "registry.example/train:1",
    "timeout": 90.0,
    "finalizing": 3600.0,
}


@pytest.mark.parametrize("field", EXPECTED)
def test_a_field_of_the_contract_arrives_as_it_was_meant(field: str) -> None:
    assert getattr(parse_contract(json.loads(json.dumps(written()))), field) == EXPECTED[field]


GIT = {"url": "https://git.example/a.git", "revision": "v1", "path": "churn", "credentialsSecret": "git"}


@pytest.mark.parametrize("commit", [None, "ab" * 20])
def test_a_repository_arrives_with_the_commit_that_an_earlier_attempt_has_run(commit: str | None) -> None:
    it = run(**SPEC | {"code": {"git": GIT}})
    fetched = {"commit": commit} if commit else {}
    found = parse_contract(json.loads(json.dumps(written(it, fetched_code=fetched)))).code_git
    assert found == GitCode("https://git.example/a.git", "v1", "churn", "git", commit)


ARCHIVE = {"url": "https://a.example/c.tar.gz", "digest": DIGEST, "path": "churn", "credentialsSecret": "web"}


@pytest.mark.parametrize("pinned", [None, DIGEST])
def test_an_archive_arrives_with_the_digest_of_what_an_earlier_attempt_has_run(pinned: str | None) -> None:
    it = run(**SPEC | {"code": ARCHIVE})
    fetched = {"archiveDigest": pinned} if pinned else {}
    found = parse_contract(json.loads(json.dumps(written(it, fetched_code=fetched)))).code_archive
    assert found == ArchiveCode("https://a.example/c.tar.gz", DIGEST, "churn", "web", pinned)


@pytest.mark.parametrize("code", [{"commit": "ab" * 20}, {"commit": "ab" * 32}, {"archiveDigest": DIGEST}])
def test_what_was_fetched_arrives_from_the_container_that_fetched_it(code: Json) -> None:
    said = termination_message(Outcome(code=code)).decode()
    pod = {"status": {"initContainerStatuses": [{"name": "fetch", "state": {"terminated": {"message": said}}}]}}
    assert run_results.facts({}, pod, PARSED)["code"] == code


@pytest.mark.parametrize("claim", ["main", "AB" * 20, "ab" * 20 + "\n", 1, None, {}, DIGEST + "0"])
def test_what_is_no_commit_and_no_digest_is_not_taken_for_one(claim: object) -> None:
    said = json.dumps({"code": {"commit": claim, "archiveDigest": claim, "other": "x"}})
    pod = {"status": {"initContainerStatuses": [{"name": "fetch", "state": {"terminated": {"message": said}}}]}}
    assert run_results.fetched_code(pod) == {}


def test_inputs_arrive_with_their_place_and_digest_and_no_field_is_forgotten_above() -> None:
    read = parse_contract(written()).inputs
    assert {name: (each.kind, each.mount, each.url, each.digest) for name, each in read.items()} == {
        "rows": ("uriFile", "/smalt/mounts/rows/rows.csv", None, DIGEST),
        "all": ("uriFolder", "/smalt/mounts/all/2026", None, None),
        "web": ("uriFile", None, "https://data.example/a.csv", None),
    }
    assert {each.name for each in fields(Contract)} == EXPECTED.keys() | {"inputs"}
