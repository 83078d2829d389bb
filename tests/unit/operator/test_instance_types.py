"""A Workspace says of each of its instance types whether a node has room for it now, in words that stay."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from smalt.api.kinds import SECRET
from smalt.reconcilers import workspace as reconciler
from smalt.reconcilers.world import Occupied, Read
from smalt.settings import Settings
from support.resources import NAMESPACE, NOW, SETTINGS, node, resource, store_of, workspace

Json = dict[str, Any]
SECRET_READ = Read(SECRET, NAMESPACE, "lab-tracking")
GPU: Json = {"resources": {"limits": {"nvidia.com/gpu": 1}}}


def offered(types: Json, *nodes: Json, used: Json | None = None, settings: Settings = SETTINGS) -> Json:
    it = workspace({"instanceTypes": types} if types else {})
    store = store_of(it, *nodes)
    reads = reconciler.reads(it, store, NOW)
    assert (Occupied() in reads) == bool(nodes), "pods are counted only where there is a node to fill"
    live = {SECRET_READ: resource(SECRET, "lab-tracking")} | ({Occupied(): used or {}} if nodes else {})
    status = reconciler.plan(it, store, live, NOW, settings).status
    assert status is not None
    return dict(status["instanceTypes"])


def test_the_built_in_type_fits_where_there_is_a_node_with_room() -> None:
    assert offered({}, node("a"))["default"]["fitsNow"] is True


FULL = {"a": {"memory": Decimal(16 * 1024**3)}}


@pytest.mark.parametrize(
    ("of", "nodes", "used", "words"),
    [
        (GPU, [node("a")], {}, "no node has nvidia.com/gpu"),
        ({"resources": {"requests": {"memory": "64Gi"}}}, [node("a"), node("b", memory="8Gi")], {}, "memory (the largest has 16Gi)"),
        ({"resources": {"requests": {"memory": "8Gi"}}}, [node("a")], FULL, "no node has enough memory free now"),
        ({"nodeSelector": {"gpu": "a100"}}, [node("a")], {}, "no node has the label gpu=a100"),
        ({}, [node("a", taints=[{"key": "gpu", "effect": "NoSchedule"}])], {}, "does not tolerate: gpu:NoSchedule"),
        ({}, [node("a", ready="Unknown")], {}, "no node that would do is ready"),
        ({}, [node("a", spec={"unschedulable": True})], {}, "every node that would do is cordoned"),
        ({}, [], {}, "the cluster has no node"),
    ],
)  # fmt: skip
def test_a_type_that_fits_nowhere_says_why(of: Json, nodes: list[Json], used: Json, words: str) -> None:
    found = offered({"it": of}, *nodes, used=used)["it"]
    assert found["fitsNow"] is False and words in found["message"]


def test_the_helpers_beside_the_script_are_counted() -> None:
    exactly = {"resources": {"requests": {"memory": "16Gi"}}}
    assert "memory" in offered({"it": exactly}, node("a"))["it"]["message"]


def test_what_is_said_does_not_change_with_every_pod() -> None:
    types = {"large": {"resources": {"requests": {"memory": "8Gi"}}}, "gpu": GPU}
    some, more = ({"a": {"memory": Decimal(amount)}} for amount in (12 * 1024**3, 13 * 1024**3))
    assert offered(types, node("a"), used=some) == offered(types, node("a"), used=more)


def test_an_installation_for_one_namespace_says_that_it_does_not_know() -> None:
    found = offered({"gpu": GPU}, settings=Settings(namespace=NAMESPACE))
    assert found.keys() == {"default", "gpu"}
    assert all("fitsNow" not in each and "may not look at nodes" in each["message"] for each in found.values())


def test_an_amount_that_no_schema_would_let_through_is_named_by_its_field() -> None:
    found = offered({"odd": {"resources": {"requests": {"memory": "a lot"}}}}, node("a"))["odd"]
    assert found["fitsNow"] is False
    assert "spec.instanceTypes.odd" in found["message"] and "'a lot'" in found["message"]
