"""The container that brings what a run needs from elsewhere, before its script: the only one that sees credentials.

It runs in Smalt's own image, whatever image the script has chosen, and is left out where everything is mounted.
"""

from __future__ import annotations

from smalt.api.schema import Json
from smalt.api.training_run import TrainingRunSpec
from smalt.builders import input_sources
from smalt.builders.pods import USER_NAME, container, mount, scratch, secret, variable
from smalt.builders.preparing import STATUS_PORT

CONTAINER = "fetch"
FETCHED = "/smalt/fetched"
CREDENTIALS = "/smalt/credentials"
_VOLUME = "fetched"
_CODE_SIZE = "20Gi"
_INPUTS_SIZE = "200Gi"
# git works on a pack in memory; the rest is streamed.
MEMORY = "1Gi"
_RESOURCES: Json = {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": MEMORY}}


def is_needed(spec: TrainingRunSpec) -> bool:
    return brings_code(spec) or brings_inputs(spec)


def brings_code(spec: TrainingRunSpec) -> bool:
    return spec.code.git is not None or spec.code.url is not None


def brings_inputs(spec: TrainingRunSpec) -> bool:
    return any(input_sources.is_fetched(each) for each in (spec.inputs or {}).values())


def reads_store(spec: TrainingRunSpec) -> bool:
    """It needs the password of the tracking server."""
    is_pushed = spec.code.url is not None and bool(input_sources.pushed(spec.code.url))
    return is_pushed or any(input_sources.is_stored(each) for each in (spec.inputs or {}).values())


def credentials(spec: TrainingRunSpec) -> dict[str, str]:
    """The users' Secrets by what they are for, which is the name of the folder they are mounted as."""
    code = (spec.code.git or spec.code).credentials_secret
    return ({"code": code} if code else {}) | input_sources.credentials(spec)


def volumes(spec: TrainingRunSpec) -> list[Json]:
    """What the pod has more. A Secret that is not there keeps the pod from starting, and the kubelet says which."""
    if not is_needed(spec):
        return []
    secrets = [secret(f"credentials-{purpose}", name) for purpose, name in credentials(spec).items()]
    return [scratch(_VOLUME, _INPUTS_SIZE if brings_inputs(spec) else _CODE_SIZE), *secrets]


def script_mounts(spec: TrainingRunSpec) -> list[Json]:
    """What the script's container sees of it: the result, to read."""
    return [mount(_VOLUME, FETCHED, read_only=True)] if is_needed(spec) else []


def fetch_container(
    spec: TrainingRunSpec, image: str, pull_policy: str, mounts: list[Json], environment: list[Json]
) -> Json | None:
    """`mounts` are the contract, whom to trust and the workspace's store; `environment` names the latter two."""
    if not is_needed(spec):
        return None
    secrets = [
        mount(f"credentials-{purpose}", f"{CREDENTIALS}/{purpose}", read_only=True) for purpose in credentials(spec)
    ]
    archives = [each.at for each in input_sources.mounted_inputs(spec) if each.by_fetch]
    return container(
        CONTAINER,
        image,
        pull_policy,
        [*mounts, *archives, mount(_VOLUME, FETCHED), *secrets],
        args=["fetch", "--announce", str(STATUS_PORT)],
        env=[*USER_NAME, variable("HOME", FETCHED), variable("TMPDIR", FETCHED), *environment],
        resources=_RESOURCES,
        terminationMessagePolicy="File",
    )
