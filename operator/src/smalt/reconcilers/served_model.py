"""Which Model a Deployment asks for, and whether it may be served."""

from __future__ import annotations

from smalt.api import conditions
from smalt.api.deployment import DeploymentSpec, ModelReference
from smalt.api.kinds import MODEL
from smalt.api.references import FAMILY, Address
from smalt.api.schema import Json
from smalt.api.workspace import WorkspaceSpec
from smalt.reconcilers.problem import Problem
from smalt.reconcilers.reporting import InvalidSpec, parsed
from smalt.reconcilers.world import World

SIGNATURE_VERIFIED = "SignatureVerified"


def resolved(resource: Json, world: World) -> Json | None:
    """The Model that the spec asks for: its version if Ready, or the highest Ready version of its stage."""
    try:
        wanted = parsed(DeploymentSpec, resource).model
    except InvalidSpec:
        return None
    namespace = resource["metadata"]["namespace"]
    family = world.referrers(MODEL, Address(FAMILY, namespace, wanted.name))
    fitting = [model for model in family if fits(model, wanted) and (model.get("status") or {}).get("artifact")]
    return max(fitting, key=lambda model: model["spec"]["version"], default=None)


def fits(model: Json, wanted: ModelReference) -> bool:
    if not conditions.is_ready(model):
        return False
    if wanted.version is not None:
        return bool(model["spec"].get("version") == wanted.version)
    return (model["spec"].get("stage") or "None") == wanted.stage


def obstacle(
    at: Address, spec: DeploymentSpec, model: Json | None, workspace: WorkspaceSpec, world: World
) -> Problem | None:
    """What keeps the Model that was found from being served."""
    if model is None:
        return Problem("WaitingForModel", missing_model(at, spec.model, world))
    if model["spec"].get("workspace") != spec.workspace:
        return Problem(
            "WaitingForModel",
            f"Model '{model['metadata']['name']}' lies in Workspace '{model['spec'].get('workspace')}', not in "
            f"'{spec.workspace}': name that one in spec.workspace, or another model in spec.model",
            is_users=True,
        )
    if refusal := format_refused(model, workspace, spec.workspace):
        return Problem("FormatNotAllowed", refusal, is_users=True)
    if workspace.signing and not is_signed(model):
        return Problem("NotSigned", unsigned(model, spec.workspace), is_users=True)
    return None


def format_refused(model: Json, workspace: WorkspaceSpec, name: str) -> str:
    """Why a model of this format may not be served; empty when it may. One from before formats were told is `other`."""
    allowed = workspace.policy.model_formats if workspace.policy else None
    found = str((model.get("status") or {}).get("format") or "other")
    if allowed is None or found in allowed:
        return ""
    return (
        f"Model '{model['metadata']['name']}' is of the format {found}, and Workspace '{name}' allows {', '.join(allowed)} "
        "(spec.policy.modelFormats): have it allowed there, or name a version of another format in spec.model"
    )


def is_signed(model: Json) -> bool:
    """Its registration has signed it, and proven that it did. The pods prove it again before they load it."""
    return bool(conditions.find(model.get("status") or {}, SIGNATURE_VERIFIED).get("status") == "True")


def unsigned(model: Json, workspace: str) -> str:
    """Why it is not, and what to do."""
    why = (
        conditions.find(model.get("status") or {}, SIGNATURE_VERIFIED).get("message")
        or "it was registered without a key"
    )
    return (
        f"Model '{model['metadata']['name']}' is not signed ({why}), and Workspace '{workspace}' serves signed models only: "
        "register it again, as a new version, and name that one in spec.model"
    )


def missing_model(at: Address, wanted: ModelReference, world: World) -> str:
    if wanted.version is None:
        family = world.referrers(MODEL, Address(FAMILY, at.namespace, wanted.name))
        staged = [each for each in family if each["spec"].get("stage") == wanted.stage]
        latest = max(staged, key=lambda each: int(each["spec"]["version"]), default=None)
        return f"no version of model '{wanted.name}' in stage {wanted.stage} is ready: " + (
            f"the latest, Model '{latest['metadata']['name']}', is not: {conditions.why_not(latest)}"
            if latest
            else f"set spec.stage of a Model to {wanted.stage}, or register one"
        )
    name = f"{wanted.name}-{wanted.version}"
    model = world.get(MODEL, at.namespace, name)
    if model is None:
        return f"Model '{name}' does not exist in namespace '{at.namespace}': register it, or correct spec.model"
    return (
        f"Model '{name}' is not ready: {conditions.why_not(model)}; the rollout follows when it is, or name another version "
        "in spec.model"
    )
