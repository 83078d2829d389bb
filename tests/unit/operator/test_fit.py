"""What a pod asks for and what a node has are counted as the scheduler counts them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from smalt.reconcilers.fit import Need, Stage, need_of, obstacle, occupied, requests, written
from support.resources import node

Json = dict[str, Any]
GI = 1024**3


def wants(memory: str, **more: Any) -> Json:
    return {"resources": {"requests": {"memory": memory}}} | more


@pytest.mark.parametrize(
    ("sentence", "spec", "memory"),
    [
        ("containers run together", {"containers": [wants("1Gi"), wants("2Gi")]}, 3),
        (
            "init containers run one by one",
            {"initContainers": [wants("2Gi"), wants("3Gi")], "containers": [wants("1Gi")]},
            3,
        ),
        (
            "sidecars stay beside what comes after them",
            {
                "initContainers": [wants("1Gi", restartPolicy="Always"), wants("4Gi")],
                "containers": [wants("2Gi"), wants("1Gi")],
            },
            5,
        ),
        (
            "sidecars stay beside the containers",
            {"initContainers": [wants("1Gi", restartPolicy="Always")], "containers": [wants("6Gi")]},
            7,
        ),
        ("a limit alone is a request", {"containers": [{"resources": {"limits": {"memory": "5Gi"}}}]}, 5),
        ("a runtime adds its own", {"containers": [wants("1Gi")], "overhead": {"memory": "1Gi"}}, 2),
        ("the pod's own request wins", {"containers": [wants("1Gi")], "resources": {"requests": {"memory": "9Gi"}}}, 9),
    ],
)
def test_a_pod_asks_for_what_its_containers_need_at_a_time(sentence: str, spec: Json, memory: int) -> None:
    found = requests(spec)
    assert found["memory"] == memory * GI, sentence
    assert found["pods"] == 1


def test_what_pods_hold_is_summed_by_node_without_those_that_ended_or_have_none() -> None:
    def on(name: str | None, phase: str = "Running") -> Json:
        at = {"nodeName": name} if name else {}
        return {"spec": at | {"containers": [wants("1Gi")]}, "status": {"phase": phase}}

    found = occupied([on("a"), on("a"), on("b"), on("b", "Succeeded"), on("a", "Failed"), on(None, "Pending")])
    assert {name: (each["memory"] / GI, each["pods"]) for name, each in found.items()} == {"a": (2, 2), "b": (1, 1)}


GPU_TAINT = {"key": "gpu", "value": "yes", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("need", "it", "stage"),
    [
        (Need({"memory": Decimal(GI)}), node("a"), None),
        (Need({"memory": Decimal(16 * GI)}), node("a"), Stage.FULL),
        (Need({"memory": Decimal(17 * GI)}), node("a"), Stage.TOO_SMALL),
        (Need({"nvidia.com/gpu": Decimal(1)}), node("a"), Stage.TOO_SMALL),
        (Need({}, {"gpu": "a100"}), node("a"), Stage.UNLIKE),
        (Need({}, {"gpu": "a100"}), node("a", labels={"gpu": "h100"}), Stage.UNLIKE),
        (Need({}, {"gpu": "a100"}), node("a", labels={"gpu": "a100"}), None),
        (Need({}), node("a", ready="Unknown"), Stage.NOT_READY),
        (Need({}), {"metadata": {"name": "new"}}, Stage.NOT_READY),
        (Need({}), node("a", spec={"unschedulable": True}), Stage.CORDONED),
        (Need({}, {}, ({"operator": "Exists"},)), node("a", spec={"unschedulable": True}), None),
        (Need({}), node("a", taints=[GPU_TAINT]), Stage.TAINTED),
        (Need({}), node("a", taints=[GPU_TAINT | {"effect": "PreferNoSchedule"}]), None),
        (Need({}, {}, ({"key": "gpu", "operator": "Exists"},)), node("a", taints=[GPU_TAINT]), None),
        (Need({}, {}, ({"key": "gpu", "value": "yes", "effect": "NoSchedule"},)), node("a", taints=[GPU_TAINT]), None),
        (Need({}, {}, ({"key": "gpu", "value": "no"},)), node("a", taints=[GPU_TAINT]), Stage.TAINTED),
        (Need({}, {}, ({"key": "gpu", "operator": "Exists", "effect": "NoExecute"},)), node("a", taints=[GPU_TAINT]), Stage.TAINTED),
        (Need({}, {}, ({"key": "other", "operator": "Exists"},)), node("a", taints=[GPU_TAINT]), Stage.TAINTED),
    ],
)  # fmt: skip
def test_a_node_takes_a_pod_or_is_out_at_a_stage(need: Need, it: Json, stage: Stage | None) -> None:
    found = obstacle(need, it, {"memory": Decimal(GI)})
    assert (found.stage if found else None) == stage


def test_what_is_missing_counts_what_is_free_now() -> None:
    found = obstacle(need_of({"containers": [wants("14Gi")]}), node("a"), {"memory": Decimal(4 * GI)})
    assert found is not None
    (short,) = found.shortages
    assert (short.resource, short.free, short.missing) == ("memory", 12 * GI, 2 * GI)


@pytest.mark.parametrize(
    ("resource", "quantity", "is_at_least", "text"),
    [
        ("memory", Decimal("11.87") * GI, False, "11.8Gi"),
        ("memory", Decimal("11.81") * GI, True, "11.9Gi"),
        ("memory", Decimal(512 * 1024**2), False, "512Mi"),
        ("memory", Decimal(1000), False, "1000"),
        ("memory", Decimal(100 * GI), False, "100Gi"),
        ("hugepages-2Mi", Decimal(GI), False, "1Gi"),
        ("cpu", Decimal("0.25"), False, "250m"),
        ("cpu", Decimal("1.5"), False, "1.5"),
        ("cpu", Decimal("1.001"), True, "1.01"),
        ("cpu", Decimal(0), False, "0"),
        ("nvidia.com/gpu", Decimal(8), False, "8"),
    ],
)
def test_amounts_are_written_for_people(resource: str, quantity: Decimal, is_at_least: bool, text: str) -> None:
    assert written(resource, quantity, is_at_least) == text
