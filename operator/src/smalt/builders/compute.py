"""An instance type as what a pod needs of it."""

from __future__ import annotations

from smalt.api.code import Resources
from smalt.api.schema import Json
from smalt.api.workspace import DEFAULT_INSTANCE_TYPE, InstanceType, WorkspaceSpec

# What a run gets where nobody has said anything: enough for scikit-learn, small enough for a laptop's cluster.
BUILT_IN = InstanceType.model_validate(
    {"resources": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": "2Gi"}}}
)


def instance_type(spec: WorkspaceSpec, name: str | None) -> InstanceType | None:
    """The instance type of that name, `default` when there is none; None when nobody defined it."""
    types = spec.instance_types or {}
    wanted = name or DEFAULT_INSTANCE_TYPE
    return types.get(wanted, BUILT_IN if wanted == DEFAULT_INSTANCE_TYPE else None)


def names(spec: WorkspaceSpec) -> list[str]:
    return sorted({DEFAULT_INSTANCE_TYPE, *(spec.instance_types or {})})


def resources(wanted: Resources | None) -> Json:
    return wanted.model_dump(by_alias=True, exclude_none=True) if wanted else {}


def placement(chosen: InstanceType) -> Json:
    """The pod's fields that decide where it runs."""
    made = chosen.model_dump(by_alias=True, exclude_none=True, include={"node_selector", "tolerations"})
    return {key: value for key, value in made.items() if value}
