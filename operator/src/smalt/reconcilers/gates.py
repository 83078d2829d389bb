"""Whether a version's metrics are what its gates ask for. Pure; by how much it misses is part of the verdict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from smalt.api import conditions
from smalt.api.gates import Gate, Incumbent
from smalt.api.kinds import MODEL
from smalt.api.references import FAMILY, Address
from smalt.api.schema import Json
from smalt.reconcilers.world import World


class Measured(NamedTuple):
    """Metrics, and the digests of the data that they were measured on."""

    by: str
    data: Mapping[str, str]
    metrics: Mapping[str, float]


def verdicts(model: Json, facts: Json, gates: Sequence[Gate], world: World) -> list[Json]:
    """One for each gate. Once all were passed that stands: what is served does not go because a better one has come."""
    before: list[Json] = (model.get("status") or {}).get("gates") or []
    if len(before) == len(gates) and all(each["passed"] for each in before):
        return before
    return [_verdict(model, facts, gate, world) for gate in gates]


def missed(found: Sequence[Json]) -> list[str]:
    """In words, what is in the way."""
    return [str(each["message"]) for each in found if not each["passed"]]


def measurements(facts: Json) -> Iterator[Measured]:
    """Evaluations first, the latest before the others, then what the run itself has logged."""
    for each in facts.get("evaluations") or []:
        yield Measured(f"run '{each['run']}'", each.get("data") or {}, each.get("metrics") or {})
    line = facts.get("lineage") or {}
    yield Measured(f"run '{line.get('run', '')}'", line.get("data") or {}, facts.get("metrics") or {})


def _verdict(model: Json, facts: Json, gate: Gate, world: World) -> Json:
    incumbent = gate.at_least or gate.at_most
    passed, message = _compared(model, facts, gate, incumbent, world) if incumbent else _absolute(facts, gate)
    return {"metric": gate.metric, "passed": passed, "message": message}


def _absolute(facts: Json, gate: Gate) -> tuple[bool, str]:
    # What the run itself logged comes first: an evaluation may be of other data.
    *later, own = measurements(facts)
    value = next((each.metrics[gate.metric] for each in (own, *later) if gate.metric in each.metrics), None)
    if value is None:
        return False, _not_measured(facts, gate)
    if gate.min is not None:
        return _judged(gate.metric, value, gate.min, "min", is_lower=value < gate.min)
    assert gate.max is not None
    return _judged(gate.metric, value, gate.max, "max", is_lower=False, is_higher=value > gate.max)


def _judged(
    metric: str, value: float, bound: float, what: str, is_lower: bool, is_higher: bool = False
) -> tuple[bool, str]:
    by = f"{abs(value - bound):.4g}"
    if is_lower or is_higher:
        return False, f"{metric} is {value:.6g}, {by} {'below' if is_lower else 'above'} {what} {bound:.6g}"
    return True, f"{metric} is {value:.6g}, and {what} is {bound:.6g}"


def _compared(model: Json, facts: Json, gate: Gate, wanted: Incumbent, world: World) -> tuple[bool, str]:
    namespace = model["metadata"]["namespace"]
    other = _incumbent(model, wanted, world, namespace)
    if other is None and wanted.stage:
        return True, f"{gate.metric}: model '{wanted.model}' has no ready version in stage {wanted.stage} yet"
    if other is None:
        return False, f"{gate.metric}: Model '{wanted.model}-{wanted.version}' does not exist, or is not ready"
    name = other["metadata"]["name"]
    ours = [each for each in measurements(facts) if gate.metric in each.metrics]
    if not ours:
        return False, _not_measured(facts, gate)
    theirs = [each for each in measurements(other["status"]) if gate.metric in each.metrics]
    for mine in ours:
        for its in theirs:
            if _is_same_data(mine, its, gate.data):
                return _by_comparison(gate, name, mine.metrics[gate.metric], its.metrics[gate.metric])
    of = f" in input '{gate.data}'" if gate.data else ""
    return False, (
        f"{gate.metric} was not measured on the same data{of} as that of Model '{name}': evaluate both with one TrainingRun "
        f"each, which has the model as an input (model://{other['spec']['name']}/{other['spec']['version']}) and the same test data"
    )


def _incumbent(model: Json, wanted: Incumbent, world: World, namespace: str) -> Json | None:
    family = [
        each
        for each in world.referrers(MODEL, Address(FAMILY, namespace, wanted.model))
        if each["metadata"]["name"] != model["metadata"]["name"] and conditions.is_ready(each)
    ]
    if wanted.version is not None:
        return next((each for each in family if each["spec"]["version"] == wanted.version), None)
    staged = [each for each in family if each["spec"].get("stage") == wanted.stage]
    return max(staged, key=lambda each: int(each["spec"]["version"]), default=None)


def _is_same_data(mine: Measured, its: Measured, name: str | None) -> bool:
    if name is not None:
        return name in mine.data and mine.data[name] == its.data.get(name)
    return bool(mine.data) and set(mine.data.values()) == set(its.data.values())


def _by_comparison(gate: Gate, name: str, mine: float, its: float) -> tuple[bool, str]:
    tolerance = gate.tolerance or 0.0
    is_missed = mine < its - tolerance if gate.at_least else mine > its + tolerance
    by, side = f"{abs(mine - its):.4g}", "below" if mine < its else "above"
    how = "the same as" if mine == its else f"{by} {side}"
    more = f" (tolerance {tolerance:.4g})" if tolerance else ""
    return not is_missed, f"{gate.metric} is {mine:.6g}, {how} the {its:.6g} of Model '{name}' on the same data{more}"


def _not_measured(facts: Json, gate: Gate) -> str:
    known = sorted({name for each in measurements(facts) for name in each.metrics})
    has = ", ".join(known[:10]) or "none"
    return (
        f"metric '{gate.metric}' was not logged (there are {has}): log it, or evaluate the Model with a run that does"
    )
