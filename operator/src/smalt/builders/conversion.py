"""The containers of a registration's pod that convert the model: in the run's own environment, without any credentials.

Only here is a model loaded, which may run code. What installs the run's packages has run before that, and whatever is
left is looked at by `register`, which trusts nothing of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from smalt.api.references import Address
from smalt.api.schema import Json
from smalt.api.workspace import WorkspaceSpec
from smalt.builders import preparing
from smalt.builders.pods import USER_NAME, container, mount, scratch, variable

CONTAINER, TOOLS = "convert", "tools"
# Those of the pod that nothing may depend on.
CONTAINERS = (TOOLS, preparing.CONTAINER, CONTAINER)
FOLDER = "/smalt/converted"
_OWN_TMP = "convert-tmp"
# The model, what it becomes, and the converter, whose libraries alone are some 200 MiB.
_RESOURCES: Json = {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "2Gi"}}
_INSTALLING: Json = {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}}


@dataclass(frozen=True)
class Conversion:
    """Where a model is converted: an image, and whether the run had packages on top of it."""

    image: str
    has_lock: bool


@dataclass(frozen=True)
class Place:
    """What the containers have in common with the others of the pod."""

    workspace: Address
    spec: WorkspaceSpec
    trainer_image: str
    pull_policy: str
    contract: str
    model: str


def is_installing(conversion: Conversion, trainer_image: str) -> bool:
    """Whether anything has to be added to the image: the trainer's own has the converter."""
    return conversion.has_lock or conversion.image != trainer_image


def conversion_volumes(conversion: Conversion | None, place: Place) -> list[Json]:
    """What is converted goes into the first, which is there in any case."""
    made = [scratch("converted", "4Gi" if conversion else "1Mi")]
    if conversion is None:
        return made
    # Another /tmp than the others': what the packages' and the model's code leaves there is nothing for `register` to find.
    made.append(scratch(_OWN_TMP, "8Gi"))
    if is_installing(conversion, place.trainer_image):
        made += [scratch("tools", "256Mi"), *preparing.volumes(place.workspace, place.spec), scratch("home", "1Gi")]
    return made


def conversion_containers(conversion: Conversion | None, place: Place) -> list[Json]:
    """In the order in which they run."""
    if conversion is None:
        return []
    is_more = is_installing(conversion, place.trainer_image)
    return [
        *([_tools(place), _environment(conversion, place)] if is_more else []),
        _convert(conversion, place, is_more),
    ]


def _reading(place: Place) -> list[Json]:
    return [mount("registration", place.contract.rpartition("/")[0], True), mount("source", place.model, True)]


def _tools(place: Place) -> Json:
    return container(
        TOOLS,
        place.trainer_image,
        place.pull_policy,
        [mount("tools", "/smalt/tools")],
        args=["install", "/smalt/tools"],
        resources=_INSTALLING,
    )


def _environment(conversion: Conversion, place: Place) -> Json:
    """It has the credentials of the package index, and has ended before the model is loaded."""
    mounts = [
        *_reading(place),
        mount("tools", "/smalt/tools", read_only=True),
        mount("home", "/smalt/home"),
        mount(_OWN_TMP, "/tmp"),  # noqa: S108
    ]
    if place.spec.trust_bundle:
        mounts.append(mount("trust", preparing.TRUST, read_only=True))
    verb = ["registration", "environment", "--contract", place.contract, "--source", place.model]
    return preparing.environment_container(
        place.spec, conversion.image, place.pull_policy, verb, mounts, _INSTALLING, False
    )


def _convert(conversion: Conversion, place: Place, is_more: bool) -> Json:
    arguments = ["registration", CONTAINER, "--contract", place.contract, "--source", place.model, "--into", FOLDER]
    mounts = [*_reading(place), mount("converted", FOLDER), mount(_OWN_TMP, "/tmp")]  # noqa: S108
    if is_more:
        mounts += [mount("tools", "/smalt/tools", read_only=True), preparing.environment_mount(read_only=True)]
        given = ["--environment", preparing.FOLDER]
        started: Json = {"command": ["python3", "-s", "-u", "/smalt/tools", *arguments, *given]}
    else:
        started = {"args": arguments}
    return container(
        CONTAINER,
        conversion.image,
        place.pull_policy,
        mounts,
        **started,
        env=[
            variable("PYTHONDONTWRITEBYTECODE", "1"),
            *USER_NAME,
            variable("HOME", "/tmp"),  # noqa: S108
            variable("TMPDIR", "/tmp"),  # noqa: S108
        ],
        workingDir="/tmp",  # noqa: S108
        resources=_RESOURCES,
        terminationMessagePolicy="File",
    )
