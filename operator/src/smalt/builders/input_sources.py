"""What the contract says of each input: where the pod has it mounted, or what the container `fetch` is to bring."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from smalt.api.inputs import Input, upload
from smalt.api.schema import Json
from smalt.api.training_run import TrainingRunSpec
from smalt.builders.pods import config_map, mount

_MOUNTS = "/smalt/mounts"
STORED = "mlflow-artifacts:/"


class Numbered(NamedTuple):
    """An input with a number for names that may hold no capitals, as those of volumes."""

    number: int
    name: str
    given: Input

    @property
    def purpose(self) -> str:
        """What its Secret is mounted for."""
        return f"input-{self.number}"


def numbered(spec: TrainingRunSpec) -> list[Numbered]:
    return [Numbered(number, *each) for number, each in enumerate(sorted((spec.inputs or {}).items()))]


def scheme(given: Input) -> str:
    return given.path.partition("://")[0]


def is_fetched(given: Input) -> bool:
    """Everything that is not simply mounted where the script runs."""
    return bool(given.unpack) or scheme(given) not in ("configmap", "pvc")


def is_stored(given: Input) -> bool:
    """It lies in the workspace's own store."""
    return scheme(given) in ("run", "model", "workspace")


def credentials(spec: TrainingRunSpec) -> dict[str, str]:
    """The users' Secrets by purpose."""
    named = ((each.purpose, each.given.credentials_secret) for each in numbered(spec))
    return {purpose: secret for purpose, secret in named if secret}


def input_sources(spec: TrainingRunSpec, artifacts: Json, read: Json) -> Json:
    """The contract's `inputs`; `artifacts` are those of inputs that runs and Models make, and `read` the digests of what an
    earlier attempt has read."""
    return {each.name: _described(each, artifacts) | _pinned(each, read) for each in numbered(spec)}


def _pinned(one: Numbered, read: Json) -> Json:
    return {"pinned": read[one.name]} if one.name in read and not one.given.digest else {}


def _described(one: Numbered, artifacts: Json) -> Json:
    given = one.given
    made: Json = {"type": given.type, "path": given.path, "source": _source(one, artifacts)}
    optional = {"digest": given.digest, "unpack": given.unpack, "target": given.target}
    made |= {name: value for name, value in optional.items() if value}
    if given.credentials_secret:
        made["credentials"] = {"folder": one.purpose, "secret": given.credentials_secret}
    return made


def _source(one: Numbered, artifacts: Json) -> Json:
    path = one.given.path
    if scheme(one.given) in ("https", "s3"):
        return {"url": path}
    pushed = upload(path)
    if pushed:
        return {"artifact": pushed[0], "digest": pushed[1]}
    if is_stored(one.given):
        artifact = artifacts[one.name]
        return {"artifact": artifact["uri"].removeprefix(STORED).lstrip("/"), "digest": artifact["digest"]}
    inside = path.partition("://")[2].partition("/")[2].strip("/")
    return {"mount": f"{_MOUNTS}/{one.name}" + (f"/{inside}" if inside else "")}


class Mounted(NamedTuple):
    """A volume of the pod, and its place in the one container that reads it."""

    volume: Json
    at: Json
    by_fetch: bool


def pushed(url: str) -> Json:
    """Where code lies that was pushed; nothing for any other address."""
    found = upload(url)
    return {"stored": {"artifact": found[0], "digest": found[1]}} if found else {}


def mounted_inputs(spec: TrainingRunSpec) -> Iterator[Mounted]:
    """ConfigMaps and volume claims among the inputs; archives are read by the container that unpacks them."""
    for each in numbered(spec):
        target = each.given.path.partition("://")[2].partition("/")[0]
        at = mount(each.purpose, f"{_MOUNTS}/{each.name}", read_only=True)
        if scheme(each.given) == "configmap":
            yield Mounted(config_map(each.purpose, target), at, is_fetched(each.given))
        elif scheme(each.given) == "pvc":
            claim = {"claimName": target, "readOnly": True}
            yield Mounted({"name": each.purpose, "persistentVolumeClaim": claim}, at, is_fetched(each.given))
