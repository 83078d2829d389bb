"""Whether a Deployment that asks for it is served from ONNX Runtime, and why not."""

from __future__ import annotations

from dataclasses import dataclass

from smalt.api import conditions
from smalt.api.deployment import DeploymentSpec
from smalt.api.schema import Json
from smalt.api.workspace import WorkspaceSpec

OPTIMIZED = "Optimized"
_ONNX = "onnx"


@dataclass(frozen=True)
class Optimizing:
    """The Model's ONNX, where it is to be served, and what is said of it; nothing where nobody has asked."""

    onnx: Json | None = None
    said: tuple[Json, ...] = ()


def optimizing(spec: DeploymentSpec, model: Json, workspace: WorkspaceSpec) -> Optimizing:
    """How the Model is served. What cannot be served from ONNX Runtime is served as it is: the answers are the same."""
    if spec.optimize != _ONNX:
        return Optimizing()
    name, report = model["metadata"]["name"], model.get("status") or {}
    if report.get("format") == _ONNX:
        return Optimizing(said=_information(True, "IsOnnx", f"Model '{name}' is ONNX itself"))
    found = report.get("onnx") or {}
    reason, why = _refused(found, str(report.get("format") or "other"), workspace, spec.workspace)
    if reason:
        return Optimizing(said=_information(False, reason, f"Model '{name}' is served as it is: {why}"))
    words = (
        f"ONNX Runtime serves Model '{name}': on {found['rows']} rows of its run's data the answers differ by at most "
        f"{found['maxDifference']:.2g}, and {found['tolerance']:g} is allowed"
    )
    return Optimizing({"uri": found["uri"], "digest": found["digest"]}, _information(True, "Converted", words))


def _refused(found: Json, format_: str, workspace: WorkspaceSpec, name: str) -> tuple[str, str]:
    """Why it is not; empty when it is."""
    allowed = workspace.policy.model_formats if workspace.policy else None
    if found.get("uri") and (allowed is None or _ONNX in allowed):
        return "", ""
    if found.get("uri"):
        return "FormatNotAllowed", (
            f"Workspace '{name}' allows {', '.join(allowed or ())} (spec.policy.modelFormats), and not onnx: have it allowed "
            "there, or leave out spec.optimize"
        )
    if found.get("reason"):
        return str(found["reason"]), str(found.get("message") or "its registration does not say why")
    if format_ not in ("joblib", "skops"):
        return (
            "NotConvertible",
            f"a model of the format {format_} is not converted: joblib and skops of scikit-learn are",
        )
    return "NotConverted", "it was registered before models were converted: register it again, as a new version"


def _information(holds: bool, reason: str, words: str) -> tuple[Json, ...]:
    return tuple(conditions.information(OPTIMIZED, holds, reason, words))


def said_before(spec: DeploymentSpec, resource: Json) -> list[Json]:
    """What was said of the pods of before, as long as nothing else can be served."""
    before = conditions.find(resource.get("status") or {}, OPTIMIZED)
    if spec.optimize != _ONNX or not before:
        return []
    return [{key: before[key] for key in ("type", "status", "reason", "message")}]
