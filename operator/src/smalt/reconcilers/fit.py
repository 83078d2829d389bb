"""Whether a pod finds room: what it asks for against what nodes have, as the scheduler counts it.

Only what can be counted is judged here: labels, taints and amounts. Where a node would do by this and the scheduler
still says no, its own words stand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from enum import IntEnum

from smalt.api.quantities import amount
from smalt.api.schema import Json

Amounts = Mapping[str, Decimal]
_NOTHING = Decimal(0)
_BINARY = (("Ti", Decimal(1024) ** 4), ("Gi", Decimal(1024) ** 3), ("Mi", Decimal(1024) ** 2), ("Ki", Decimal(1024)))
# The node controller and kubectl say with these what the node's readiness and spec say too.
_OWN_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable", "node.kubernetes.io/unschedulable")


class Stage(IntEnum):
    """How near a node comes to taking a pod: it is out at the first of these, and the later, the nearer."""

    UNLIKE = 0
    NOT_READY = 1
    CORDONED = 2
    TAINTED = 3
    TOO_SMALL = 4
    FULL = 5


@dataclass(frozen=True)
class Need:
    """What a pod asks of a node."""

    requests: Amounts
    selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Json, ...] = ()


@dataclass(frozen=True)
class Shortage:
    """A resource of which a node has too little."""

    resource: str
    wanted: Decimal
    free: Decimal
    allocatable: Decimal

    @property
    def missing(self) -> Decimal:
        return self.wanted - self.free


@dataclass(frozen=True)
class Obstacle:
    """Why one node does not take a pod. `words` name the labels or the taint."""

    stage: Stage
    node: str
    words: str = ""
    shortages: tuple[Shortage, ...] = ()


# --- what a pod asks for ----------------------------------------------------------------------------------------------


def need_of(pod_spec: Json) -> Need:
    return Need(requests(pod_spec), pod_spec.get("nodeSelector") or {}, tuple(pod_spec.get("tolerations") or ()))


def requests(pod_spec: Json) -> dict[str, Decimal]:
    """What the scheduler counts: all containers together, or the step of the pod's start that needs more."""
    staying: Amounts = {}
    most: Amounts = {}
    for each in pod_spec.get("initContainers") or []:
        with_it = added(staying, _wanted(each))
        if each.get("restartPolicy") == "Always":
            staying = with_it
        most = _larger(most, with_it)
    together = staying
    for each in pod_spec.get("containers") or []:
        together = added(together, _wanted(each))
    made = dict(_larger(most, together)) | _parsed((pod_spec.get("resources") or {}).get("requests"))
    made = added(made, _parsed(pod_spec.get("overhead")))
    return {name: wanted for name, wanted in made.items() if wanted} | {"pods": Decimal(1)}


def occupied(pods: Iterable[Json]) -> dict[str, dict[str, Decimal]]:
    """By node, what its pods ask for together. A pod that has ended holds nothing."""
    made: dict[str, dict[str, Decimal]] = {}
    for pod in pods:
        node = (pod.get("spec") or {}).get("nodeName")
        if node and (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed"):
            made[node] = added(made.get(node, {}), requests(pod["spec"]))
    return made


def _wanted(container: Json) -> dict[str, Decimal]:
    """A limit without a request is a request too."""
    stated = container.get("resources") or {}
    return _parsed(stated.get("limits")) | _parsed(stated.get("requests"))


def _parsed(quantities: Mapping[str, str | int] | None) -> dict[str, Decimal]:
    return {name: amount(each) for name, each in (quantities or {}).items()}


def added(one: Amounts, other: Amounts) -> dict[str, Decimal]:
    return {name: one.get(name, _NOTHING) + other.get(name, _NOTHING) for name in sorted(one.keys() | other.keys())}


def _larger(one: Amounts, other: Amounts) -> dict[str, Decimal]:
    return {name: max(one.get(name, _NOTHING), other.get(name, _NOTHING)) for name in one.keys() | other.keys()}


# --- what a node says to it -------------------------------------------------------------------------------------------


def obstacle(need: Need, node: Json, used: Amounts) -> Obstacle | None:
    """Why the node does not take the pod now; None when it would."""
    name, spec = node["metadata"]["name"], node.get("spec") or {}
    labels = node["metadata"].get("labels") or {}
    unlike = [f"{key}={value}" for key, value in sorted(need.selector.items()) if labels.get(key) != value]
    if unlike:
        return Obstacle(Stage.UNLIKE, name, ", ".join(unlike))
    if not is_ready(node):
        return Obstacle(Stage.NOT_READY, name)
    if spec.get("unschedulable") and not _is_tolerated(_CORDON, need.tolerations):
        return Obstacle(Stage.CORDONED, name)
    taints = [each for each in spec.get("taints") or [] if each.get("key") not in _OWN_TAINTS]
    borne_not = [_taint(each) for each in taints if _keeps_out(each) and not _is_tolerated(each, need.tolerations)]
    if borne_not:
        return Obstacle(Stage.TAINTED, name, ", ".join(borne_not))
    short = shortages(need.requests, node, used)
    if any(each.wanted > each.allocatable for each in short):
        return Obstacle(
            Stage.TOO_SMALL, name, shortages=tuple(each for each in short if each.wanted > each.allocatable)
        )
    return Obstacle(Stage.FULL, name, shortages=short) if short else None


_CORDON = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}


def is_ready(node: Json) -> bool:
    return condition(node).get("status") == "True"


def condition(node: Json) -> Json:
    """The node's Ready condition; empty before its kubelet has ever reported."""
    found = (node.get("status") or {}).get("conditions") or []
    return next((each for each in found if each.get("type") == "Ready"), {})


def shortages(wanted: Amounts, node: Json, used: Amounts) -> tuple[Shortage, ...]:
    has = _parsed((node.get("status") or {}).get("allocatable"))
    made = (
        Shortage(name, each, max(has.get(name, _NOTHING) - used.get(name, _NOTHING), _NOTHING), has.get(name, _NOTHING))
        for name, each in sorted(wanted.items())
    )
    return tuple(each for each in made if each.missing > 0)


def _keeps_out(taint: Json) -> bool:
    return taint.get("effect") in ("NoSchedule", "NoExecute")


def _taint(taint: Json) -> str:
    value = f"={taint['value']}" if taint.get("value") else ""
    return f"{taint.get('key')}{value}:{taint.get('effect')}"


def _is_tolerated(taint: Json, tolerations: Iterable[Json]) -> bool:
    return any(_bears(each, taint) for each in tolerations)


def _bears(toleration: Json, taint: Json) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if toleration.get("key") and toleration["key"] != taint.get("key"):
        return False
    if (toleration.get("operator") or "Equal") == "Exists":
        return True
    return bool(toleration.get("key")) and (toleration.get("value") or "") == (taint.get("value") or "")


# --- in words ---------------------------------------------------------------------------------------------------------


def written(resource: str, quantity: Decimal, is_at_least: bool = False) -> str:
    """A number for people: `11.8Gi`, `250m`, `4`; rounded down, or up where less would not do."""
    rounding = ROUND_CEILING if is_at_least else ROUND_FLOOR
    if resource in ("memory", "ephemeral-storage") or resource.startswith("hugepages-"):
        for unit, size in _BINARY:
            if quantity >= size:
                return _plain((quantity / size).quantize(Decimal("0.1"), rounding)) + unit
        return str(int(quantity.to_integral_value(rounding)))
    if quantity < 1:
        return f"{(quantity * 1000).to_integral_value(rounding)}m" if quantity else "0"
    return _plain(quantity.quantize(Decimal("0.01"), rounding))


def _plain(number: Decimal) -> str:
    return f"{number.normalize():f}"
