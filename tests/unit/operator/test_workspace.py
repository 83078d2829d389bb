"""Workspace: children, the deepest cause, and what it counts."""

from __future__ import annotations

from typing import Any

import pytest

from smalt.api.kinds import APPS_DEPLOYMENT, CLAIM, MODEL, POD, SECRET, WORKSPACE
from smalt.api.references import address
from smalt.api.workspace import PackageCache
from smalt.builders import preparing
from smalt.reconcilers import workspace as reconciler
from smalt.reconcilers.world import Read
from support.resources import (
    NAMESPACE,
    NOW,
    SETTINGS,
    deployment,
    experiment,
    model,
    resource,
    said,
    store_of,
    workspace,
)

Json = dict[str, Any]
LABELS = {WORKSPACE.label: "lab", "app.kubernetes.io/component": "tracking"}
SECRET_READ = Read(SECRET, NAMESPACE, "lab-tracking")
SECRET_FOUND = resource(SECRET, "lab-tracking")
AVAILABLE = resource(
    APPS_DEPLOYMENT, "lab-tracking", {}, {"observedGeneration": 1, "availableReplicas": 1}, labels=LABELS
)


UNBOUND = "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims. not found"


def claim(phase: str, **spec: Any) -> Json:
    return resource(CLAIM, "lab-tracking", spec, {"phase": phase}, labels=LABELS)


def tracking_pod(**status: Any) -> Json:
    return resource(POD, "lab-tracking-0", None, status, labels=LABELS)


def planned(
    *world: Json, spec: Json | None = None, status: Json | None = None, secret: Json | None = SECRET_FOUND
) -> Any:
    it = workspace(spec, status)
    return reconciler.plan(it, store_of(it, *world), {SECRET_READ: secret}, NOW, SETTINGS)


def test_the_server_waits_for_its_secret_and_follows_at_once() -> None:
    first = planned(secret=None)
    assert [child.manifest["kind"] for child in first.apply] == [
        "Secret",
        "Secret",
        "PersistentVolumeClaim",
        "ServiceAccount",
        "Service",
        "NetworkPolicy",
    ]
    assert first.requeue_after == 0.0
    assert planned().apply[-1].manifest["kind"] == "Deployment"


def test_the_registrys_password_has_a_secret_of_its_own_which_an_older_workspace_gets_too() -> None:
    """A Secret that is there gets no further keys; a second one is simply made, and the server's pod has both."""
    apply = planned().apply
    [own] = [child for child in apply if child.name == "lab-registry"]
    assert own.once and own.random == ("registry-password",)
    pod = apply[-1].manifest["spec"]["template"]["spec"]
    [folder] = [each for each in pod["volumes"] if each["name"] == "secrets"]
    assert [each["secret"]["name"] for each in folder["projected"]["sources"]] == ["lab-tracking", "lab-registry"]
    it = workspace()
    wanted = reconciler.reads(it, store_of(it), NOW)
    assert {SECRET_READ, Read(SECRET, NAMESPACE, "lab-registry")} <= set(wanted)


def test_a_remade_secret_restarts_the_server() -> None:
    old, new = planned(), planned(secret=resource(SECRET, "lab-tracking") | {"metadata": {"uid": "another"}})
    templates = [each.apply[-1].manifest["spec"]["template"] for each in (old, new)]
    assert templates[0] != templates[1]


@pytest.mark.parametrize(
    ("policy", "owned"), [({}, False), ({"reclaimPolicy": "Retain"}, False), ({"reclaimPolicy": "Delete"}, True)]
)
def test_the_volume_goes_with_the_workspace_only_when_that_is_asked_for(policy: Json, owned: bool) -> None:
    claims = [
        child for child in planned(spec={"storage": policy}).apply if child.manifest["kind"] == "PersistentVolumeClaim"
    ]
    assert [child.owned for child in claims] == [owned]


@pytest.mark.parametrize(
    ("world", "reason", "words", "stalled"),
    [
        ([AVAILABLE], "Available", "http://lab-tracking.team-a:5000", False),
        ([], "TrackingStarting", "lab", False),
        ([claim("Pending")], "NoStorageClass", "is-default-class=true", True),
        (
            [
                claim("Pending", storageClassName="slow"),
                tracking_pod(conditions=[{"type": "PodScheduled", "status": "False", "message": UNBOUND}]),
            ],
            "VolumePending",
            "slow",
            False,
        ),
        (
            [
                claim("Bound", storageClassName="slow"),
                tracking_pod(conditions=[{"type": "PodScheduled", "status": "False", "message": "0/1 nodes"}]),
            ],
            "Unschedulable",
            "0/1 nodes",
            False,
        ),
        (
            [
                tracking_pod(
                    containerStatuses=[
                        {"name": "tracking", "image": "x", "state": {"waiting": {"reason": "ErrImagePull"}}}
                    ]
                )
            ],
            "TrackingFailed",
            "SMALT_TRACKING_IMAGE",
            True,
        ),
        (
            [
                tracking_pod(
                    containerStatuses=[
                        {"name": "tracking", "restartCount": 3, "lastState": {"terminated": {"exitCode": 1}}}
                    ]
                )
            ],
            "TrackingFailed",
            "kubectl logs lab-tracking-0 --previous",
            False,
        ),
        (
            [
                resource(
                    APPS_DEPLOYMENT,
                    "lab-tracking",
                    {},
                    {"conditions": [{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: small"}]},
                    labels=LABELS,
                )
            ],
            "QuotaExceeded",
            "exceeded quota: small",
            False,
        ),
    ],
)
def test_the_condition_names_the_deepest_cause(world: list[Json], reason: str, words: str, stalled: bool) -> None:
    status = planned(*world).status
    assert said(status)["reason"] == reason
    assert words in said(status)["message"]
    assert bool(said(status, "Stalled")) is stalled


def test_a_version_once_given_is_remembered_when_its_model_is_gone() -> None:
    kept = {"modelVersions": {"churn": 7, "other": 2}}
    assert planned(model(3), status=kept).status["modelVersions"] == {"churn": 7, "other": 2}
    assert planned(model(9), status=kept).status["modelVersions"] == {"churn": 9, "other": 2}


def test_a_version_whose_model_is_gone_is_written_down_when_the_operator_has_seen_it() -> None:
    it = workspace()
    store = store_of(it, model(3))
    store.remove(MODEL, model(3))
    plan = reconciler.plan(it, store, {SECRET_READ: SECRET_FOUND}, NOW, SETTINGS)
    assert plan.status is not None and plan.status["modelVersions"] == {"churn": 3}


def kept_claim(size: str, **spec: Any) -> Json:
    return claim("Bound", resources={"requests": {"storage": size}}, **spec)


@pytest.mark.parametrize(
    ("there", "asked", "applied", "words"),
    [
        (kept_claim("50Gi"), {"size": "10Gi"}, {"size": "50Gi"}, "keeps 50Gi"),
        (kept_claim("1Gi"), {"size": "10Gi"}, {"size": "10Gi"}, ""),
        (kept_claim("10240Mi"), {"size": "10Gi"}, {"size": "10Gi"}, ""),
        (
            kept_claim("10Gi", storageClassName="slow"),
            {"size": "10Gi", "storageClassName": "fast"},
            {"size": "10Gi", "class": "slow"},
            "stays in StorageClass 'slow'",
        ),
    ],
)
def test_a_volume_that_was_there_is_taken_as_it_is(there: Json, asked: Json, applied: Json, words: str) -> None:
    plan = planned(there, AVAILABLE, spec={"storage": asked})
    (wanted,) = (child.manifest["spec"] for child in plan.apply if child.manifest["kind"] == "PersistentVolumeClaim")
    assert wanted["resources"]["requests"]["storage"] == applied["size"]
    assert wanted.get("storageClassName") == applied.get("class")
    assert said(plan.status)["status"] == "True" and words in said(plan.status)["message"]


def test_it_names_the_deployments_that_need_it_and_sums_its_runs() -> None:
    counted = experiment(status={"runs": {"total": 3, "pending": 1, "running": 0, "succeeded": 2, "failed": 0}})
    status = planned(deployment(), counted).status
    assert status["usedBy"] == ["prod"]
    assert said(status, "InUse")["status"] == "True" and "prod" in said(status, "InUse")["message"]
    assert said(planned().status, "InUse")["status"] == "False"
    assert status["runs"] == {"pending": 1, "running": 0, "succeeded": 2, "failed": 0, "canceled": 0}


def test_a_spec_that_no_schema_would_let_through_is_stalled_with_its_field() -> None:
    status = planned(spec={"storage": {"reclaimPolicy": "Burn"}}).status
    assert said(status, "Stalled")["reason"] == "InvalidSpec"
    assert "spec.storage.reclaimPolicy" in said(status)["message"] and "Burn" in said(status)["message"]


CACHE = {"size": "20Gi", "storageClassName": "shared", "accessMode": "ReadWriteMany"}


@pytest.mark.parametrize(
    ("cache", "there", "expected"),
    [
        ({}, {}, {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Gi"}}}),
        (
            CACHE,
            {},
            {
                "accessModes": ["ReadWriteMany"],
                "resources": {"requests": {"storage": "20Gi"}},
                "storageClassName": "shared",
            },
        ),
        (
            CACHE,
            {
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": "local",
                "resources": {"requests": {"storage": "50Gi"}},
            },
            {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "50Gi"}},
                "storageClassName": "local",
            },
        ),
    ],
    ids=["nothing said", "everything said", "one that is there neither moves nor shrinks"],
)
def test_a_cache_of_packages_is_a_claim_that_goes_with_the_workspace(cache: Json, there: Json, expected: Json) -> None:
    at = address(WORKSPACE, workspace())
    packages = PackageCache.model_validate(cache)
    assert preparing.cache_claim(at, packages, {"spec": there} if there else None)["spec"] == expected
    made = planned(spec={"packages": {"cache": cache}})
    [child] = [each for each in made.apply if each.name == "lab-packages"]
    assert child.owned and not child.once


def test_without_a_cache_there_is_no_claim_for_it() -> None:
    made = planned(spec={"packages": {"indexUrl": "https://packages.example/simple"}})
    assert "lab-packages" not in [each.name for each in made.apply]
