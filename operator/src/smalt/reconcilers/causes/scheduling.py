"""Why no node takes a pod: how much of what is missing, which label or taint; else in the scheduler's own words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal

from smalt.api.schema import Json
from smalt.reconcilers.causes.admission import TYPES
from smalt.reconcilers.causes.finding import Finding, brief
from smalt.reconcilers.fit import (
    Amounts,
    Need,
    Obstacle,
    Shortage,
    Stage,
    need_of,
    obstacle,
    written,
)

MOST_GROUPS = 3
_PREEMPTION = re.compile(r"[.,]? *(no new claims to deallocate, *)?preemption: .*", re.DOTALL)
_ADVICE = {
    Stage.UNLIKE: f"correct nodeSelector of {TYPES}, or label a node",
    Stage.NOT_READY: "see `kubectl describe nodes`",
    Stage.CORDONED: "`kubectl uncordon` a node, or add one",
    Stage.TAINTED: f"add a toleration to {TYPES}, or take the taint away",
    Stage.TOO_SMALL: "choose a smaller instanceType, or add a larger node",
    Stage.FULL: "it starts when enough is free; else choose a smaller instanceType, or add a node",
}


def is_unscheduled(pod: Json) -> bool:
    return _condition(pod) is not None


def blames_a_claim(pod: Json) -> bool:
    """The scheduler says that a volume claim is in the way."""
    return "persistentvolumeclaim" in ((_condition(pod) or {}).get("message") or "").lower()


def unscheduled(
    pod: Json, nodes: list[Json] | None = None, used: Mapping[str, Amounts] | None = None
) -> Finding | None:
    """No node takes the pod. Without nodes to look at, or the amounts used on them, the scheduler's words say why."""
    condition = _condition(pod)
    if condition is None:
        return None
    name = pod["metadata"]["name"]
    if condition.get("reason") == "SchedulingGated":
        return Finding(
            "SchedulingGated",
            f"pod '{name}' is held back by a scheduling gate: it starts when whoever has set the gate takes it away, see "
            f"`kubectl get pod {name} -o jsonpath={{.spec.schedulingGates}}`",
        )
    if nodes and used is not None and pod.get("spec"):
        counted = why_none(need_of(pod["spec"]), nodes, used)
        if counted:
            words, stage = counted
            return Finding("Unschedulable", f"no node fits pod '{name}': {words}. Next: {_ADVICE[stage]}")
    words = brief(_PREEMPTION.sub("", condition.get("message") or "")) or condition.get("reason") or "no reason given"
    asks = asked(pod)
    return Finding(
        "Unschedulable",
        f"no node fits pod '{name}': {words}{f' (it asks for {asks})' if asks else ''}. Choose another instanceType, or "
        "add a node",
    )


def _condition(pod: Json) -> Json | None:
    for each in (pod.get("status") or {}).get("conditions") or []:
        if each.get("type") == "PodScheduled" and each.get("status") == "False":
            return dict(each)
    return None


def asked(pod: Json) -> str:
    """What the pod asks for, as far as its spec is known."""
    if not pod.get("spec"):
        return ""
    need = need_of(pod["spec"])
    amounts = [f"{written(name, each)} {name}" for name, each in sorted(need.requests.items()) if name != "pods"]
    labels = [f"label {key}={value}" for key, value in sorted(need.selector.items())]
    return ", ".join([*amounts, *labels])


def why_none(need: Need, nodes: list[Json], used: Mapping[str, Amounts]) -> tuple[str, Stage] | None:
    """What keeps every node from taking the pod, the nodes that come nearest first, and how near that is. None when one would do."""
    met = [obstacle(need, node, used.get(node["metadata"]["name"], {})) for node in nodes]
    obstacles = [each for each in met if each is not None]
    if len(obstacles) < len(nodes):
        return None
    groups: dict[tuple[Stage, str], list[Obstacle]] = {}
    for each in obstacles:
        groups.setdefault((each.stage, each.words), []).append(each)
    ordered = sorted(groups.items(), key=lambda group: (-group[0][0], -len(group[1]), group[0][1]))
    parts = [_group(stage, words, found, len(nodes)) for (stage, words), found in ordered[:MOST_GROUPS]]
    return "; ".join(parts), ordered[0][0][0]


def _group(stage: Stage, words: str, found: list[Obstacle], nodes: int) -> str:
    who = f"node '{found[0].node}'" if len(found) == 1 else f"{len(found)} of the {nodes} nodes"
    is_one = len(found) == 1
    match stage:
        case Stage.UNLIKE:
            return f"{who} {'lacks' if is_one else 'lack'} the label {words} that nodeSelector wants"
        case Stage.NOT_READY:
            return f"{who} {'is' if is_one else 'are'} not ready"
        case Stage.CORDONED:
            return f"{who} {'is' if is_one else 'are'} cordoned"
        case Stage.TAINTED:
            return f"{who} {'has' if is_one else 'have'} the taint {words}, which the pod does not tolerate"
    nearest = min(found, key=lambda each: (len(each.shortages), _relative(each.shortages), each.node))
    short = "; ".join(_short(each) for each in nearest.shortages)
    return f"node '{nearest.node}'{f', the nearest of {len(found)},' if not is_one else ''} has too little {short}"


def _relative(shortages: Iterable[Shortage]) -> Decimal:
    return sum((each.missing / each.wanted for each in shortages), Decimal(0))


def _short(each: Shortage) -> str:
    name = each.resource
    wanted = written(name, each.wanted)
    if not each.allocatable:
        return f"{name}: {wanted} wanted, it has none"
    free, whole = written(name, each.free), written(name, each.allocatable)
    missing = written(name, each.missing, is_at_least=True)
    return f"{name}: {wanted} wanted, {free} of {whole} free, {missing} missing"
