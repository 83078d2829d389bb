"""Uninstalling ends, whatever is left and whether or not the operator still lives."""

from __future__ import annotations

import time

import pytest

from demo.__main__ import install
from demo.kubectl import Kubectl
from e2e import operator_pods
from e2e.cluster_namespace import Namespace, fresh_namespace
from e2e.test_bad_deployments import SCORE, TRAIN, deployment, scripted, training
from e2e.test_bad_runs import experiment, workspace

LIMIT_SECONDS = 60
KINDS = ("workspaces", "experiments", "trainingruns", "models", "modeldeployments")


@pytest.mark.parametrize("operator_lives", [True, False], ids=["with the operator alive", "with the operator dead"])
@pytest.mark.timeout(600)
def test_uninstalling_with_objects_present_ends(environment: dict[str, str], operator_lives: bool) -> None:
    operator = Kubectl(environment, "smalt-system")
    install(operator)
    operator_pods.wait_for_two(operator)
    for namespace in fresh_namespace(environment):
        fill(namespace)
        if not operator_lives:
            operator("scale", "deployment", "smalt-operator", "--replicas=0")
            operator("delete", "pods", "--all", "--grace-period=0", "--force")
        started = time.monotonic()
        operator("delete", "-k", "manifests/", f"--timeout={LIMIT_SECONDS}s")
        assert time.monotonic() - started < LIMIT_SECONDS
        left = operator("get", "customresourcedefinitions", "-o", "name")
        assert not [line for line in left.splitlines() if line.endswith(".smalt.dev")]
        nothing_is_left(namespace)
    install(operator)
    operator_pods.wait_for_two(operator)


def fill(namespace: Namespace) -> None:
    """Every kind, with its children: a served model and the run behind it."""
    namespace.apply(workspace(), experiment(), training("first", TRAIN, "trained"))
    namespace.apply(deployment("served", "trained", **scripted(SCORE)))
    namespace.ready("modeldeployment", "served", 240)


def nothing_is_left(namespace: Namespace) -> None:
    """The garbage collector removes what the objects owned; the volume stays, as reclaimPolicy Retain says."""
    for kind in ("jobs", "deployments.apps", "services", "secrets", "pods"):
        namespace.none_left(kind, 90)
    assert [claim["metadata"]["name"] for claim in namespace.get("persistentvolumeclaims")["items"]] == ["lab-tracking"]
