"""A pod may leave anything as its last words: the run ends in a status that can be written, and never in a defect of ours."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smalt.api.kinds import APPS_DEPLOYMENT, DEPLOYMENT
from smalt.api.training_run import TrainingRunStatus
from smalt.reconcilers import deployment as deployments
from smalt.reconcilers import training_run as runs
from smalt.reconcilers.diagnosis import report
from support.resources import (
    DIGEST,
    NOW,
    SETTINGS,
    completed,
    deployment,
    ended,
    experiment,
    job,
    model,
    pod,
    resource,
    run,
    said,
    store_of,
    workspace,
)

Json = dict[str, Any]
DIGESTS = {"code": DIGEST, "data": {}, "environment": DIGEST, "parameters": DIGEST}
LARGEST = 2**63 - 1


def status_after(text: str, how: str = "Complete") -> Json:
    it = run(outputs={"model": {"type": "customModel"}})
    done = [job(it, **completed(how)), pod(job(it), **ended(text, 0 if how == "Complete" else 1))]
    store = store_of(it, workspace(), experiment(), *done)
    status = runs.plan(it, store, {}, NOW, SETTINGS).status
    assert status is not None
    return status


def check_can_be_written(status: Json) -> None:
    json.dumps(status, allow_nan=False, ensure_ascii=False).encode()
    TrainingRunStatus.model_validate(status, strict=True)
    for output in status.get("outputs", {}).values():
        assert 0 <= output["bytes"] <= LARGEST and 0 <= output["files"] <= LARGEST


def artifact(**other: Any) -> Json:
    return {"uri": "mlflow-artifacts:/1/a", "digest": DIGEST, "bytes": 1, "files": 1} | other


HOSTILE = {
    "nested deeper than a parser goes": "[" * 4000,
    "an object nested so": '{"a":' * 700 + "1" + "}" * 700,
    "an integer beyond every float": '{"metrics": {"auc": 1' + "0" * 400 + "}}",
    "half a surrogate": json.dumps({"digests": DIGESTS | {"code": "\ud800"}, "metrics": {"\udfff": 1}}),
    "half a surrogate in its words": json.dumps({"reason": "\ud800", "message": "\ud800"}),
    "names that are a number": '{"nonFinite": 5, "metrics": {"auc": 1}}',
    "names that are a text": '{"nonFinite": "loss", "metrics": {"auc": 1}}',
    "an artifact larger than a number of the API's": json.dumps({"outputs": {"model": artifact(bytes=2**63)}}),
    "an artifact of true bytes": json.dumps({"outputs": {"model": artifact(bytes=True, files=False)}}),
    "an experiment that is an object": '{"tracking": {"runId": "a", "experimentId": {"b": [1]}}}',
    "a list": "[1]",
    "not a number": '{"metrics": {"auc": NaN, "loss": Infinity}, "digests": NaN}',
}


@pytest.mark.parametrize("how", ["Complete", "Failed"])
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_run_ends_whatever_its_pod_leaves(text: str, how: str) -> None:
    status = status_after(text, how)
    check_can_be_written(status)
    assert status["completionTime"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), how=st.sampled_from(["Complete", "Failed"]))
@pytest.mark.slow
def test_a_run_ends_with_any_json_in_any_field(data: st.DataObject, how: str) -> None:
    scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(10**330)
    anything = st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    )
    artifacts = st.fixed_dictionaries(dict.fromkeys(artifact(), anything))
    outputs = st.fixed_dictionaries({"model": artifacts | anything})
    sections = ("reason", "message", "metrics", "nonFinite", "digests", "tracking")
    fields = dict.fromkeys(sections, anything) | {"outputs": outputs | anything}
    found = data.draw(st.fixed_dictionaries({}, optional=fields))
    check_can_be_written(status_after(json.dumps(found), how))


def test_names_of_metrics_are_only_read_from_a_list() -> None:
    assert "so not shown" not in said(status_after('{"nonFinite": "loss", "metrics": {"auc": 1}}'))["message"]
    assert "loss" in said(status_after('{"nonFinite": ["loss"], "metrics": {"auc": 1}}'))["message"]


def test_what_can_be_said_in_utf_8_is_said_as_it_is() -> None:
    assert report({"message": '{"message": "Umlaut ä, \\ud83d\\ude00"}'}) == {"message": "Umlaut ä, 😀"}
    assert report({"message": '{"message": "half \\ud83d"}'}) == {"message": "half ?"}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_deployment_tells_whatever_its_pod_leaves(text: str) -> None:
    world = [workspace(), model()]
    first = deployments.plan(deployment(), store_of(deployment(), *world), {}, NOW, SETTINGS)
    template = first.apply[-1].manifest["spec"]["template"]
    state = {"terminated": {"exitCode": 1, "message": text}}
    crashed = pod(
        resource(APPS_DEPLOYMENT, "rs"),
        labels={DEPLOYMENT.label: "prod"},
        annotations=template["metadata"]["annotations"],
        containerStatuses=[{"name": "scoring", "lastState": state}],
    )
    status = deployments.plan(deployment(), store_of(deployment(), *world, crashed), {}, NOW, SETTINGS).status
    assert status is not None
    json.dumps(status, allow_nan=False, ensure_ascii=False).encode()
    assert said(status)["reason"]
