"""How every reconciler puts its conditions and facts together into a status."""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime
from typing import TypeVar, cast

from pydantic import BaseModel, ValidationError

from smalt.api import conditions
from smalt.api.schema import Json
from smalt.reconcilers.plan import Plan

Spec = TypeVar("Spec", bound=BaseModel)


class InvalidSpec(ValueError):
    """A stored spec is not what the schema says; the text names the field."""


# Every look at an object reads its spec more than once. Objects are not changed where they are, so that a spec which is
# the same object says the same; it is kept beside its model, or another one could come to its place in memory.
_LATELY = 64
_lately: OrderedDict[tuple[type[BaseModel], int], tuple[Json, BaseModel]] = OrderedDict()


def parsed(model: type[Spec], resource: Json) -> Spec:
    """The spec as a model, not to be changed. InvalidSpec for what an older schema, or none, has let through."""
    spec = resource.get("spec") or {}
    known = _lately.get((model, id(spec)))
    if known is not None and known[0] is spec:
        return cast(Spec, known[1])
    made = _validated(model, spec)
    _lately[model, id(spec)] = (spec, made)
    if len(_lately) > _LATELY:
        _lately.popitem(last=False)
    return made


def _validated(model: type[Spec], spec: Json) -> Spec:
    try:
        return model.model_validate(spec)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(["spec", *(str(part) for part in first["loc"])])
        raise InvalidSpec(
            f"{field}: {first['msg']} (it is {first['input']!r:.100}): correct the field and apply again"
        ) from error


def status(resource: Json, said: list[Json], now: datetime, **facts: object) -> Json:
    """The whole new status: what is said of the present generation, and the facts that are known."""
    generation = resource["metadata"].get("generation", 1)
    old = (resource.get("status") or {}).get("conditions") or []
    known = {name: fact for name, fact in facts.items() if fact is not None}
    return {"observedGeneration": generation, "conditions": conditions.merged(said, old, generation, now), **known}


def kept(resource: Json, *names: str) -> Json:
    """Facts of the present status that still hold."""
    present = resource.get("status") or {}
    return {name: present[name] for name in names if name in present}


def invalid(resource: Json, error: InvalidSpec, now: datetime) -> Plan:
    """Nothing can be done before somebody corrects the spec."""
    facts = {
        name: fact
        for name, fact in (resource.get("status") or {}).items()
        if name not in ("conditions", "observedGeneration")
    }
    return Plan(status=status(resource, conditions.stalled("InvalidSpec", str(error)), now, **facts))


def only_counts_changed(resource: Json, new: Json, *counts: str) -> bool:
    """True when the new status differs from the present one in numbers alone."""
    old = resource.get("status") or {}
    return {key: value for key, value in old.items() if key not in counts} == {
        key: value for key, value in new.items() if key not in counts
    }
