"""What every status begins with."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from smalt.api.conditions import Condition
from smalt.api.schema import SmaltModel

LIST_MAP_BY_TYPE: dict[str, Any] = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}


class Status(SmaltModel):
    """What the operator last saw and did."""

    observed_generation: int = -1
    """The generation of the spec that this status speaks of; -1 until the operator has looked."""
    conditions: Annotated[list[Condition], Field(max_length=16, json_schema_extra=LIST_MAP_BY_TYPE)] | None = None
    """Ready, Reconciling and Stalled, as Kubernetes tools read them, and facts of the kind's own."""


class RunCounts(SmaltModel):
    """Runs by what they are doing."""

    total: Annotated[int, Field(ge=0)] | None = None
    """All of them."""
    pending: Annotated[int, Field(ge=0)] = 0
    """Those that have not started."""
    running: Annotated[int, Field(ge=0)] = 0
    """Those at work."""
    succeeded: Annotated[int, Field(ge=0)] = 0
    """Those that ended well."""
    failed: Annotated[int, Field(ge=0)] = 0
    """Those that ended badly."""
    canceled: Annotated[int, Field(ge=0)] = 0
    """Those that somebody canceled."""


class Artifact(SmaltModel):
    """Files kept in the workspace's store, named by what is in them."""

    uri: str
    """Where they lie, as MLflow writes it."""
    digest: str
    """sha256 of the manifest of all files (path, bytes, sha256)."""
    bytes: Annotated[int, Field(ge=0)] = 0
    """The size of all files."""
    files: Annotated[int, Field(ge=0)] = 0
    """How many files."""
