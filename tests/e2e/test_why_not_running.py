"""Why a run is not running, on the real node: every seeded cause is named in words, with the next step, within 15 s."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from demo.kubectl import CommandFailed
from e2e.cluster_namespace import Json, Namespace, shows
from support import stuck as seeds
from support.stuck import STUCK, Stuck, Told


@pytest.fixture(scope="module")
def lab(shared: Namespace) -> Iterator[Namespace]:
    """A Workspace that is ready, and around it all that keeps its runs from starting."""
    of_cluster = [*seeds.ghosts(), *seeds.of_cluster(shared.namespace)]
    try:
        shared.apply(*seeds.base(), *of_cluster)
        shared.ready("experiment", seeds.EXPERIMENT, 180)
        # Only now: what bounds the namespace must not bound the tracking server's start.
        shared.apply(*(seed for each in STUCK for seed in each.seeds))
        shared.until("resourcequota", "few-gpus", lambda it: "hard" in it.get("status", {}))
        # Last, since a node that says nothing for 40 s is taken for lost.
        for name in seeds.REPORTING:
            status = json.dumps({"status": seeds.node_status()})
            shared("patch", "node", name, "--subresource=status", "--type=merge", "-p", status)
        for name in seeds.REPORTING:
            shared.until("node", name, is_taken_for_well)
        yield shared
    finally:
        for each in of_cluster:
            forget(shared, each)


def is_taken_for_well(node: Json) -> bool:
    """The node controller has seen the report, and taken back what it had put on the node before."""
    taints = {each["key"] for each in node["spec"].get("taints", [])}
    return not taints & {"node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"}


def forget(namespace: Namespace, it: Json) -> None:
    try:
        namespace("delete", it["kind"].lower(), it["metadata"]["name"], "--wait=false", "--ignore-not-found")
    except CommandFailed as failure:
        print(f"{it['kind']} {it['metadata']['name']} stays: {failure}")


@pytest.fixture(scope="module")
def told(lab: Namespace) -> dict[str, Told]:
    """All runs at once, and what they say."""
    lab.apply(*(seeds.run(each) for each in STUCK))
    return seeds.told(STUCK, lambda: list(lab.get("trainingruns")["items"]))


@pytest.mark.parametrize("stuck", STUCK, ids=str)
def test_the_deepest_cause_is_named_in_time_and_with_the_next_step(
    lab: Namespace, told: dict[str, Told], stuck: Stuck
) -> None:
    found = told[stuck.name]
    assert found.reason == stuck.reason, found
    assert found.seconds is not None and found.seconds <= seeds.SECONDS
    for word in stuck.words:
        assert word in found.message, found.message
    shows(lab, "trainingrun", stuck.name, found.message)


def test_at_least_twenty_causes_are_seeded() -> None:
    assert len({each.name for each in STUCK}) == len(STUCK) >= 20


def test_mending_the_cause_lets_the_run_go_on(lab: Namespace, told: dict[str, Told]) -> None:
    """Two of those that wait: for a key of a ConfigMap, which the operator looks at, and for a Secret, which it does not."""
    later = {"rows.csv": "a\n1\n", "absent.csv": "a\n1\n"}
    lab.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "rows"}, "data": later})
    lab("create", "secret", "generic", "absent", "--from-literal=password=x")
    for name in ("no-config-map-key", "no-secret", "no-secret-volume"):
        lab.ready("trainingrun", name, 180)
