"""Claims of volumes that outlive what asked for them."""

from __future__ import annotations

from smalt.api.quantities import amount
from smalt.api.schema import Json


def kept_claim(size: str, storage_class: str | None, present: Json | None) -> Json:
    """Size and class: a claim that is there, kept from an earlier owner or grown by somebody, neither shrinks nor moves."""
    has = claimed(present)
    if has and amount(has) > amount(size):
        size = has
    made: Json = {"resources": {"requests": {"storage": size}}}
    if storage_class:
        made["storageClassName"] = ((present or {}).get("spec") or {}).get("storageClassName") or storage_class
    return made


def claimed(claim: Json | None) -> str:
    """The size that a claim asks for; empty when there is none."""
    resources = ((claim or {}).get("spec") or {}).get("resources") or {}
    return str((resources.get("requests") or {}).get("storage") or "")
