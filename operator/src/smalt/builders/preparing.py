"""The container that makes a pod's environment before its program starts, in that program's own image.

Packages are installed by the trainer's code, into a folder that the program finds or, when the image has them all, does
not. The credentials of the package index and the cache are mounted here alone.
"""

from __future__ import annotations

from smalt.api.kinds import CLAIM
from smalt.api.references import Address
from smalt.api.schema import Json
from smalt.api.storage import DEFAULT_SIZE
from smalt.api.workspace import InstanceType, PackageCache, PackageIndex, WorkspaceSpec
from smalt.builders.manifests import manifest
from smalt.builders.pods import USER_NAME, container, mount, scratch, secret_variable, variable
from smalt.builders.volumes import kept_claim

CONTAINER = "environment"
COMPONENT = "packages"
FOLDER = "/smalt/environment"
TRUST = "/smalt/trust"
# Where a pod tells how it goes, as a running attempt does.
STATUS_PORT = 9400
_VOLUME = "environment"
_CACHE_VOLUME, _CACHE = "packages", "/smalt/cache"
# The index's name, to uv; the variables of its credentials have it in theirs.
_INDEX = "smalt"
_LEAST: Json = {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}}


def cache_name(workspace: str) -> str:
    return f"{workspace}-packages"


def cache_of(workspace: WorkspaceSpec) -> PackageCache | None:
    return workspace.packages.cache if workspace.packages else None


def cache_claim(workspace: Address, cache: PackageCache, present: Json | None = None) -> Json:
    """It belongs to the Workspace and goes with it: nothing is in it that cannot be had again."""
    wanted: Json = {
        "accessModes": ((present or {}).get("spec") or {}).get("accessModes") or [cache.access_mode or "ReadWriteOnce"],
        **kept_claim(str(cache.size if cache.size is not None else DEFAULT_SIZE), cache.storage_class_name, present),
    }
    return manifest(CLAIM, workspace, cache_name(workspace.name), COMPONENT, spec=wanted)


def index_variables(packages: PackageIndex | None) -> list[Json]:
    """Where packages come from, for the container that installs them and for scripts that call pip themselves."""
    if packages is None or packages.index_url is None:
        return []
    return [
        variable("PIP_INDEX_URL", packages.index_url),
        variable("UV_DEFAULT_INDEX", f"{_INDEX}={packages.index_url}"),
    ]


def trust_variables(workspace: WorkspaceSpec) -> list[Json]:
    """Whom to trust besides the system's."""
    return [variable("SMALT_TRUST_BUNDLE", f"{TRUST}/ca.crt")] if workspace.trust_bundle else []


def volumes(workspace: Address, spec: WorkspaceSpec) -> list[Json]:
    """The environment, and the cache where there is one."""
    made = [scratch(_VOLUME, "10Gi")]
    if cache_of(spec):
        made.append({"name": _CACHE_VOLUME, "persistentVolumeClaim": {"claimName": cache_name(workspace.name)}})
    return made


def environment_mount(read_only: bool = False) -> Json:
    """How the program sees it."""
    return mount(_VOLUME, FOLDER, read_only)


def making(contract: str) -> list[str]:
    """What makes the environment that a contract asks for."""
    return ["environment", "--from", contract]


def environment_container(
    spec: WorkspaceSpec,
    image: str,
    pull_policy: str,
    verb: list[str],
    mounts: list[Json],
    resources: Json,
    is_heard: bool = True,
) -> Json:
    """`mounts` are the contract's, the tools', the code's, whom to trust, and a home and a /tmp to write to; `is_heard`:
    somebody asks how it goes."""
    cache = [mount(_CACHE_VOLUME, _CACHE)] if cache_of(spec) else []
    command = ["python3", "-s", "-u", "/smalt/tools", *verb, "--into", FOLDER]
    command += [*(["--announce", str(STATUS_PORT)] if is_heard else []), *(["--cache", _CACHE] if cache else [])]
    return container(
        CONTAINER,
        image,
        pull_policy,
        [*mounts, environment_mount(), *cache],
        command=command,
        env=[
            *USER_NAME,
            variable("HOME", "/smalt/home"),
            variable("TMPDIR", "/tmp"),  # noqa: S108
            *index_variables(spec.packages),
            *_credentials(spec.packages),
            *trust_variables(spec),
        ],
        resources=resources,
        terminationMessagePolicy="File",
    )


def _credentials(packages: PackageIndex | None) -> list[Json]:
    """By reference: the kubelet reads the Secret, waits for one that is not there yet, and says which key it lacks."""
    if packages is None or packages.credentials_secret is None:
        return []
    prefix = f"UV_INDEX_{_INDEX.upper()}"
    return [
        secret_variable(f"{prefix}_{key.upper()}", packages.credentials_secret, key) for key in ("username", "password")
    ]


def room(instance: InstanceType) -> Json:
    """What the pod has anyway, without its devices: containers that run one after the other share it."""
    given = instance.resources.model_dump(by_alias=True, exclude_none=True) if instance.resources else {}
    ordinary = {
        part: {name: amount for name, amount in amounts.items() if name in ("cpu", "memory", "ephemeral-storage")}
        for part, amounts in given.items()
    }
    return {part: amounts for part, amounts in ordinary.items() if amounts} or _LEAST
