"""The lock of the run that made a model: the packages of a Deployment that names none of its own."""

from __future__ import annotations

from dataclasses import dataclass

from smalt.api.references import Address
from smalt.api.schema import Json
from smalt.api.workspace import WorkspaceSpec
from smalt.builders import preparing
from smalt.builders.pods import container, mount, scratch, variable
from smalt.builders.tracking import access

CONTAINER = "lock"
FOLDER = "/smalt/locked"
FILE = f"{FOLDER}/requirements.lock"
_VOLUME = "locked"


@dataclass(frozen=True)
class RunLock:
    """The registry's copy of it; `digest` is the file's."""

    model: str
    uri: str
    digest: str


def of_model(model: Json) -> RunLock | None:
    """None for a model whose run asked for no packages, or that comes from no run."""
    found = (model.get("status") or {}).get("environment") or {}
    if not found.get("uri") or not found.get("digest"):
        return None
    return RunLock(model["metadata"]["name"], found["uri"], found["digest"])


def volume() -> Json:
    return scratch(_VOLUME, "16Mi")


def lock_mount(read_only: bool = True) -> Json:
    return mount(_VOLUME, FOLDER, read_only)


def asked() -> Json:
    """What a contract says of the environment."""
    return {"lockFile": FILE}


def store_variables(workspace: Address, spec: WorkspaceSpec) -> list[Json]:
    """Where the registry is, and as whom the scorer image asks."""
    server = access(workspace, spec, "scoring")
    return [
        variable("SMALT_TRACKING_URI", server.uri),
        *server.username("SMALT_TRACKING_USERNAME"),
        *server.password("SMALT_TRACKING_PASSWORD"),
        *preparing.trust_variables(spec),
    ]


def lock_container(lock: RunLock, workspace: Address, spec: WorkspaceSpec, image: str, pull_policy: str) -> Json:
    """Brings it where no model is brought; `image` is the scorer's."""
    trust = [mount("trust", preparing.TRUST, read_only=True)] if spec.trust_bundle else []
    return container(
        CONTAINER,
        image,
        pull_policy,
        [lock_mount(read_only=False), mount("tmp", "/tmp"), *trust],  # noqa: S108
        args=["lock", "--model", lock.model, "--uri", lock.uri, "--digest", lock.digest, "--lock-into", FOLDER],
        env=store_variables(workspace, spec),
        resources={"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
        terminationMessagePolicy="File",
    )
