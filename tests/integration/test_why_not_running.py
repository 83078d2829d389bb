"""Why a run is not running, in the words of a real API server, Job controller, scheduler and volume controller.

The node's own part, such as an image that cannot be pulled, is in tests/e2e/test_why_not_running.py, with the same seeds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from support import stuck as seeds
from support.controlplane import CONTROLLERS, ControlPlane
from support.operator_process import OperatorProcess
from support.place import Place
from support.rest import Rest
from support.stuck import STUCK, Stuck, Told

Json = dict[str, Any]
pytestmark = pytest.mark.controlplane
SEEDED = tuple(each for each in STUCK if not each.is_kubelets)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Told]]:
    """All runs at once in a Workspace that is ready, with one good node and the ghosts, and what they say."""
    folder = tmp_path_factory.mktemp("why")
    controllers = (*CONTROLLERS, "job-controller", "persistentvolume-binder-controller")
    with (
        ControlPlane(folder, controllers, scheduler=True) as plane,
        OperatorProcess(plane.kubeconfig, folder) as operator,
    ):
        operator.wait_for("leading")
        place = prepared(plane)
        place.apply(*(seeds.run(each) for each in SEEDED))
        rest = Rest(plane.kubeconfig, place.name)
        yield seeds.told(SEEDED, lambda: rest.list("trainingruns"))


def prepared(plane: ControlPlane) -> Place:
    place = Place(plane)
    place("label", "namespace", place.name, "pod-security.kubernetes.io/enforce=restricted")
    good = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "good"}}
    place.apply(good, *seeds.ghosts(), *seeds.of_cluster(place.name))
    for name in ("good", *seeds.REPORTING):
        status = json.dumps({"status": seeds.node_status()})
        place("patch", "node", name, "--subresource=status", "--type=merge", "-p", status)
        # The controller that does so when a node reports is not part of this control plane.
        place("taint", "node", name, "node.kubernetes.io/not-ready:NoSchedule-")
    place.apply(*seeds.base())
    place.until("deployment", "lab-tracking", bool)
    counts = dict.fromkeys(("replicas", "readyReplicas", "availableReplicas", "updatedReplicas"), 1)
    patch = json.dumps({"status": {"observedGeneration": 1} | counts})
    place("patch", "deployment", "lab-tracking", "--subresource=status", "--type=merge", "-p", patch)
    place.ready("experiment", seeds.EXPERIMENT)
    place.apply(*(seed for each in SEEDED for seed in each.seeds))
    place.until("resourcequota", "few-gpus", lambda it: "hard" in it.get("status", {}))
    return place


@pytest.mark.parametrize("stuck", SEEDED, ids=str)
def test_the_deepest_cause_is_named_in_time_and_with_the_next_step(told: dict[str, Told], stuck: Stuck) -> None:
    found = told[stuck.name]
    assert found.reason == stuck.reason, found
    assert found.seconds is not None and found.seconds <= seeds.SECONDS
    for word in stuck.words:
        assert word in found.message, found.message
