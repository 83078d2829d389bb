"""The head of every child: type, name and labels, made from scratch.

An owner's labels are never copied: a GitOps tool would take the child for one of its own and prune it.
"""

from __future__ import annotations

from smalt.api.kinds import MANAGED_BY, MANAGER, Kind
from smalt.api.references import Address
from smalt.api.schema import Json


def labels_of(owner: Address, component: str = "") -> dict[str, str]:
    """The labels by which the operator and people find an owner's children and pods."""
    made = {MANAGED_BY: MANAGER, owner.kind.label: owner.name}
    return made | ({"app.kubernetes.io/component": component} if component else {})


def manifest(kind: Kind, owner: Address, name: str, component: str = "", **rest: Json | str) -> Json:
    """A manifest with its metadata; `rest` are its other top-level fields."""
    metadata: Json = {"name": name, "namespace": owner.namespace, "labels": labels_of(owner, component)}
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, **rest}
