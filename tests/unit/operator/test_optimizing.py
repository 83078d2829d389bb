"""Deployments with `optimize: onnx`: from the Model's ONNX where there is one, else as it is, with the reason."""

from __future__ import annotations

import json
from typing import Any

import pytest

from smalt.api.conditions import information
from smalt.api.kinds import APPS_DEPLOYMENT, DEPLOYMENT
from smalt.reconcilers import deployment as deployments
from smalt.reconcilers.plan import Plan
from smalt_scorer.contract import Contract, RegistryFile, parse
from support.resources import DIGEST, NOW, SETTINGS, deployment, model, ready, resource, said, store_of, workspace

Json = dict[str, Any]
COPY = "mlflow-artifacts:/7/b/artifacts"
OTHER = "sha256:" + "cd" * 32
ONNX: Json = {
    "uri": f"{COPY}/onnx",
    "digest": OTHER,
    "bytes": 900,
    "rows": 200,
    "tolerance": 1e-05,
    "maxDifference": 1.2e-07,
}
ARTIFACT = {"uri": f"{COPY}/model", "digest": DIGEST, "bytes": 3, "files": 1}
SCHEMA = {"uri": f"{COPY}/schema.json", "digest": OTHER, "inputs": [{"name": "age", "type": "integer"}]}
TRAINED = {"uri": f"{COPY}/environment/requirements.lock", "digest": OTHER, "versions": {"numpy": "2.4.6"}}


def registered(number: int = 1, **facts: Any) -> Json:
    status = ready("Registered") | {"artifact": ARTIFACT, "format": "joblib", **facts}
    return model(number, status=status)


def planned(of: Json, workspace_spec: Json | None = None, it: Json | None = None, *world: Json) -> Plan:
    it = it or deployment(optimize="onnx")
    return deployments.plan(it, store_of(it, of, workspace(workspace_spec), *world), {}, NOW, SETTINGS)


def server_of(plan: Plan) -> Json:
    return next(child.manifest for child in plan.apply if child.manifest["kind"] == "Deployment")


def contract_of(plan: Plan) -> Contract:
    """What the pods read, as they read it."""
    annotations = server_of(plan)["spec"]["template"]["metadata"]["annotations"]
    return parse(json.loads(annotations["smalt.dev/scoring"]))


def test_what_was_converted_is_brought_by_its_own_digest_and_by_how_much_it_differs_is_said() -> None:
    plan = planned(registered(onnx=ONNX, schema=SCHEMA))
    read = contract_of(plan)
    assert (read.model.uri, read.model.digest, read.model.format) == (ONNX["uri"], OTHER, "onnx")
    assert read.model.output == "onnx" and read.schema == RegistryFile(SCHEMA["uri"], OTHER)
    condition = said(plan.status, "Optimized")
    assert (condition["status"], condition["reason"]) == ("True", "Converted")
    assert "at most 1.2e-07" in condition["message"] and "200 rows" in condition["message"]
    assert "1e-05 is allowed" in condition["message"]


def test_onnx_needs_none_of_the_packages_that_the_model_was_trained_with() -> None:
    plan = planned(registered(onnx=ONNX, environment=TRAINED))
    read = contract_of(plan)
    assert read.lock is None and not read.written_with
    assert [each["name"] for each in server_of(plan)["spec"]["template"]["spec"]["initContainers"]] == ["model"]
    as_it_is = contract_of(planned(registered(onnx=ONNX, environment=TRAINED), None, deployment()))
    assert as_it_is.lock is not None and as_it_is.written_with == {"numpy": "2.4.6"}


@pytest.mark.parametrize("spec", [{}, {"optimize": "none"}], ids=str)
def test_who_does_not_ask_for_it_gets_the_original_and_hears_nothing(spec: Json) -> None:
    plan = planned(registered(onnx=ONNX, schema=SCHEMA), None, deployment(**spec))
    read = contract_of(plan)
    assert (read.model.digest, read.model.output) == (DIGEST, "model")
    assert read.schema is not None, "requests are checked in any case"
    assert said(plan.status, "Optimized") == {}


def test_a_script_checks_its_own_bodies() -> None:
    script = {"code": {"inline": {"score.py": "text"}}, "scoringScript": "score.py"}
    assert contract_of(planned(registered(schema=SCHEMA), None, deployment(codeConfiguration=script))).schema is None


@pytest.mark.parametrize(
    ("facts", "reason", "words"),
    [
        ({"onnx": {"reason": "NotEqual", "message": "labels of 3 rows differ"}}, "NotEqual", "labels of 3 rows differ"),
        ({}, "NotConverted", "register it again, as a new version"),
        ({"format": "mlflow"}, "NotConvertible", "of the format mlflow is not converted"),
        ({"format": None}, "NotConvertible", "of the format other is not converted"),
    ],
)
def test_what_is_not_converted_is_served_as_it_is_with_the_reason(facts: Json, reason: str, words: str) -> None:
    plan = planned(registered(**facts))
    assert contract_of(plan).model.digest == DIGEST
    condition = said(plan.status, "Optimized")
    assert (condition["status"], condition["reason"]) == ("False", reason)
    assert "served as it is" in condition["message"] and words in condition["message"]
    assert said(plan.status)["reason"] == "RollingOut", "it changes nothing of its health"


def test_a_model_that_is_onnx_needs_no_other() -> None:
    plan = planned(registered(format="onnx", onnx={"reason": "NotConvertible", "message": "it is ONNX already"}))
    assert contract_of(plan).model.digest == DIGEST
    assert (said(plan.status, "Optimized")["status"], said(plan.status, "Optimized")["reason"]) == ("True", "IsOnnx")


def test_a_workspace_that_does_not_allow_onnx_gets_the_original() -> None:
    plan = planned(registered(onnx=ONNX), {"policy": {"modelFormats": ["joblib"]}})
    assert contract_of(plan).model.digest == DIGEST
    assert said(plan.status, "Optimized")["reason"] == "FormatNotAllowed"
    allowing = planned(registered(onnx=ONNX), {"policy": {"modelFormats": ["joblib", "onnx"]}})
    assert contract_of(allowing).model.digest == OTHER


def test_a_workspace_that_signs_has_the_onnx_proven_too() -> None:
    of = registered(onnx=ONNX)
    of["status"]["conditions"] += information("SignatureVerified", True, "Signed", "signed")
    read = contract_of(planned(of, {"signing": {"keySecret": "model-signing"}}))
    assert read.is_signed and read.model.digest == OTHER


def test_what_was_said_of_the_pods_of_before_stays_while_another_version_cannot_be_served() -> None:
    first = planned(registered(onnx=ONNX))
    counts = {"observedGeneration": 1, "replicas": 1, "readyReplicas": 1, "updatedReplicas": 1, "availableReplicas": 1}
    server = resource(APPS_DEPLOYMENT, "prod", server_of(first)["spec"], counts, labels={DEPLOYMENT.label: "prod"})
    serving = planned(registered(onnx=ONNX), None, None, server)
    assert said(serving.status)["reason"] == "Serving" and said(serving.status, "Optimized")["status"] == "True"
    asked = deployment(status=serving.status, optimize="onnx", model={"name": "churn", "version": 7})
    held = planned(registered(onnx=ONNX), None, asked, server)
    assert said(held.status)["reason"] == "ServingPrevious"
    assert said(held.status, "Optimized") == said(serving.status, "Optimized")
    without = deployment(status=serving.status, model={"name": "churn", "version": 7})
    assert said(planned(registered(onnx=ONNX), None, without, server).status, "Optimized") == {}
