"""Who refers to whom, by name, and what of an object others look at.

The store keeps an index of this, so that a change wakes exactly those whom it concerns.
"""

from __future__ import annotations

from typing import NamedTuple

from smalt.api.conditions import find
from smalt.api.inputs import needed
from smalt.api.kinds import DEPLOYMENT, EXPERIMENT, MODEL, TRAINING_RUN, WORKSPACE, Kind
from smalt.api.schema import Json

# All versions of one model together: what a Deployment by stage waits for.
FAMILY = Kind("ModelFamily", "")
# The same versions, as what the gates of others compare with: who does is no version of the model.
COMPARED = Kind("ComparedModelFamily", "")


class Address(NamedTuple):
    """A name by which an object can be referred to."""

    kind: Kind
    namespace: str
    name: str


def address(kind: Kind, resource: Json) -> Address:
    return Address(kind, resource["metadata"].get("namespace", ""), resource["metadata"]["name"])


def known_as(kind: Kind, resource: Json) -> tuple[Address, ...]:
    """Every name by which others may refer to the object."""
    own = address(kind, resource)
    if kind is MODEL:
        name = _text(resource, "name")
        return own, Address(FAMILY, own.namespace, name), Address(COMPARED, own.namespace, name)
    return (own,)


def refers_to(kind: Kind, resource: Json) -> tuple[Address, ...]:
    """Every name that the object's spec refers to. Reads stored objects, valid or not: what is no text counts as absent."""
    namespace = resource["metadata"].get("namespace", "")
    spec = resource.get("spec") or {}
    named: list[tuple[Kind, str]] = []
    if kind in (EXPERIMENT, DEPLOYMENT, MODEL):
        named.append((WORKSPACE, _text(resource, "workspace")))
    if kind is TRAINING_RUN:
        named.append((EXPERIMENT, _text(resource, "experiment")))
        named.extend(_made_by(spec.get("inputs")))
    if kind is MODEL:
        named.append((TRAINING_RUN, _word(spec.get("source"), "run")))
        # A version belongs to its family, which is how all of them are found.
        named.append((FAMILY, _text(resource, "name")))
        named.extend((COMPARED, name) for name in _compared_with(spec.get("gates")))
    if kind is DEPLOYMENT:
        named.append((FAMILY, _word(spec.get("model"), "name")))
    return tuple(Address(target, namespace, name) for target, name in named if name)


def seen_by_referrers(kind: Kind, resource: Json) -> object:
    """What those who refer to the object depend on; as long as it is equal they need not look again."""
    metadata, spec, status = resource["metadata"], resource.get("spec") or {}, resource.get("status") or {}
    ready = find(status, "Ready")
    verdict = (ready.get("status"), ready.get("reason"), ready.get("message"))
    if kind is WORKSPACE:
        budget = find(status, "BudgetExceeded")
        judged = budget.get("status"), budget.get("observedGeneration")
        return metadata.get("uid"), metadata.get("generation"), verdict, judged
    if kind is EXPERIMENT:
        return metadata.get("uid"), verdict
    if kind is TRAINING_RUN:
        return metadata.get("uid"), status.get("phase"), status.get("completionTime"), verdict
    if kind is MODEL:
        return metadata.get("uid"), spec.get("stage"), verdict, repr(status.get("evaluations"))
    return None


def seen_by_referred(kind: Kind, resource: Json) -> object:
    """What those whom the object refers to count or list of it."""
    metadata, status = resource["metadata"], resource.get("status") or {}
    if kind is EXPERIMENT:
        return repr(status.get("runs"))
    if kind is TRAINING_RUN:
        return status.get("phase"), status.get("completionTime")
    if kind is MODEL:
        return metadata.get("uid")
    if kind is DEPLOYMENT:
        return metadata.get("uid"), repr((resource.get("spec") or {}).get("model")), status.get("effectiveModel")
    return None


def _compared_with(gates: object) -> list[str]:
    """The models whose versions are gates' incumbents, each once."""
    each = (
        [gate.get(side) for gate in gates if isinstance(gate, dict) for side in ("atLeast", "atMost")]
        if isinstance(gates, list)
        else []
    )
    return list(dict.fromkeys(filter(None, (_word(side, "model") for side in each))))


def _made_by(inputs: object) -> list[tuple[Kind, str]]:
    """The runs and models behind a run's inputs, each once."""
    found = [needed(_word(each, "path")) for each in inputs.values()] if isinstance(inputs, dict) else []
    return list(dict.fromkeys((TRAINING_RUN, each.run) if each.run else (MODEL, each.model) for each in found if each))


def _text(resource: Json, field: str) -> str:
    return _word(resource.get("spec"), field)


def _word(section: object, field: str) -> str:
    value = section.get(field) if isinstance(section, dict) else None
    return value if isinstance(value, str) else ""
