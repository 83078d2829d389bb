"""What must be there before a run's Job is worth making: ConfigMaps with their keys, and volume claims.

A pod that waits for them would wait as well, but its Job's time would be running out meanwhile. Secrets are not among
them, since the operator does not look at users' Secrets: the kubelet says when one is missing.
"""

from __future__ import annotations

from typing import NamedTuple

from smalt.api.kinds import CLAIM, CONFIG_MAP
from smalt.api.references import Address
from smalt.api.schema import Json
from smalt.api.training_run import TrainingRunSpec
from smalt.api.workspace import WorkspaceSpec
from smalt.reconcilers.causes import volumes
from smalt.reconcilers.causes.finding import Finding
from smalt.reconcilers.world import Live, Read

TRUST_KEY = "ca.crt"


class Prerequisite(NamedTuple):
    """An object, with a key that it must have where one is named, and the field that names it."""

    read: Read
    field: str
    key: str = ""


def prerequisites(at: Address, spec: TrainingRunSpec, workspace: WorkspaceSpec | None) -> list[Prerequisite]:
    """All that the spec names; the workspace's too when it is known."""
    made = []
    if spec.code.config_map:
        made.append(Prerequisite(Read(CONFIG_MAP, at.namespace, spec.code.config_map), "code.configMap"))
    if workspace and workspace.trust_bundle:
        read = Read(CONFIG_MAP, at.namespace, workspace.trust_bundle.config_map)
        made.append(Prerequisite(read, "trustBundle.configMap of the Workspace", TRUST_KEY))
    for name, each in sorted((spec.inputs or {}).items()):
        scheme, _, rest = each.path.partition("://")
        target, _, inside = rest.partition("/")
        field = f"inputs.{name}"
        if scheme == "configmap":
            made.append(Prerequisite(Read(CONFIG_MAP, at.namespace, target), field, inside))
        elif scheme == "pvc":
            made.append(Prerequisite(Read(CLAIM, at.namespace, target), field))
    return made


def missing(wanted: list[Prerequisite], live: Live) -> Finding | None:
    """The first that is not there, or is not as it must be."""
    return next((found for found in (_trouble(each, live.get(each.read)) for each in wanted) if found), None)


def _trouble(wanted: Prerequisite, found: Json | None) -> Finding | None:
    name, namespace = wanted.read.name, wanted.read.namespace
    if wanted.read.kind is CLAIM:
        unbound = volumes.unbound(name, found, [], is_blamed=False)
        return unbound._replace(message=f"{wanted.field}: {unbound.message}") if unbound else None
    if found is None:
        return Finding(
            "WaitingForConfigMap",
            f"ConfigMap '{name}', which {wanted.field} names, does not exist in namespace '{namespace}': apply it; the run "
            "follows by itself",
        )
    keys = sorted({**(found.get("data") or {}), **(found.get("binaryData") or {})})
    if wanted.key and wanted.key not in keys:
        return Finding(
            "WaitingForConfigMap",
            f"ConfigMap '{name}', which {wanted.field} names, has no key '{wanted.key}' (it has {', '.join(keys[:10]) or 'none'}): "
            "add it; the run follows by itself",
        )
    return None
