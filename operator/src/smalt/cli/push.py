"""Stores a user's own file or folder in a Workspace, under its digest, and says how a run refers to it."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import yaml

from smalt.api import conditions
from smalt.api.inputs import upload
from smalt.api.schema import KEY_PATTERN, Json
from smalt.cli.digests import Entry, digest, entries, manifest, size_of
from smalt.cli.errors import CommandFailed
from smalt.cli.kubectl import Forbidden, Kubectl, NotFound
from smalt.cli.store import Store, Way

PORT = 5000
# Runs may read what lies in the store and may write below their own experiments alone.
_USER, _PASSWORD = "admin", "admin-password"
_YAML_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


class Shown(Protocol):
    """Where the user sees how far it is."""

    def step(self, what: str, total: int) -> Callable[[int], None]:
        """A new bar; what is returned moves it."""

    def say(self, text: str) -> None:
        """A line."""


@dataclass(frozen=True)
class Pushed:
    """Something that lies in the store now."""

    name: str
    hex: str
    is_folder: bool

    @property
    def place(self) -> str:
        return f"uploads/{self.hex}/{self.name}"

    @property
    def address(self) -> str:
        return f"workspace://{self.place}"


def push(path: Path, kubectl: Kubectl, workspace: str | None, shown: Shown) -> Pushed:
    """CommandFailed in words for whatever stands in the way."""
    path = path.resolve()
    if not path.exists():
        raise CommandFailed(f"{path} does not exist: name a file or a folder")
    name = chosen(kubectl, workspace)
    password = password_of(kubectl, name)
    read = shown.step("reading", size_of(path))
    found = entries(path, read)
    if not found:
        raise CommandFailed(f"{path} holds no file: there is nothing to store")
    text = manifest(found)
    made = Pushed(path.name, digest(text), path.is_dir())
    if upload(made.address) is None:
        raise CommandFailed(f"'{path.name}' is too long, or holds a control character: rename it")
    with kubectl.forward(f"service/{name}-tracking", PORT) as forward:
        store = Store(Way(lambda: forward.url, forward.close), _USER, password)
        _send(store, made, found, text, shown)
    return made


def _send(store: Store, made: Pushed, found: list[Entry], text: bytes, shown: Shown) -> None:
    """The manifest comes last: where it is, everything is."""
    if store.read(f"{made.place}.manifest.json") == text:
        shown.say(f"{made.name} is there already")
        return
    there = _there(store, made, found)
    missing = [each for each in found if there.get(_place(made, each)) != each.size]
    if len(missing) < len(found):
        shown.say(f"{len(found) - len(missing)} of {len(found)} files are there already")
    sent = shown.step("storing", sum(each.size for each in missing))
    for each in missing:
        store.write(_place(made, each), each.file, sent)
    store.write(f"{made.place}.manifest.json", text, lambda _: None)


def _place(made: Pushed, entry: Entry) -> str:
    return f"{made.place}/{entry.name}"


def _there(store: Store, made: Pushed, found: list[Entry]) -> dict[str, int]:
    """What an earlier push that broke off has left, by place: a file there is whole, since it gets its name at its end."""
    sizes = {}
    for folder in sorted({_place(made, each).rpartition("/")[0] for each in found}):
        sizes.update({f"{folder}/{name}": size for name, size in store.sizes(folder).items()})
    return sizes


def chosen(kubectl: Kubectl, workspace: str | None) -> str:
    """The Workspace's name: the one that was named, or the only one; it must be ready."""
    if workspace is None:
        there = [each["metadata"]["name"] for each in _asked(kubectl)["items"]]
        if len(there) != 1:
            has = f"has the Workspaces {', '.join(sorted(there))}" if there else "has no Workspace"
            step = "name one with --workspace" if there else "apply one, or name another namespace with --namespace"
            raise CommandFailed(f"namespace '{kubectl.namespace}' {has}: {step}")
        workspace = there[0]
    found = _asked(kubectl, workspace)
    if not conditions.is_ready(found):
        raise CommandFailed(
            f"Workspace '{workspace}' in namespace '{kubectl.namespace}' is not ready: {conditions.why_not(found)}"
        )
    return workspace


def _asked(kubectl: Kubectl, name: str = "") -> Json:
    try:
        return kubectl.get("workspaces.smalt.dev", name)
    except NotFound as error:
        raise CommandFailed(
            f"namespace '{kubectl.namespace}' has no Workspace '{name}': apply it, or name another with --workspace or "
            "--namespace"
        ) from error
    except Forbidden as error:
        raise CommandFailed(
            f"you may not see Workspaces in namespace '{kubectl.namespace}': ask for the role view there, or name another "
            "namespace with --namespace"
        ) from error


def password_of(kubectl: Kubectl, workspace: str) -> str:
    """It is read with the user's own rights: who may not read the Secret may not write to the store."""
    name = f"{workspace}-tracking"
    try:
        content = kubectl.get("secret", name).get("data") or {}
    except Forbidden as error:
        raise CommandFailed(
            f"you may not read Secret '{name}' in namespace '{kubectl.namespace}', which has the password of the "
            "workspace's store: ask for the role edit there, or have somebody who has it push for you"
        ) from error
    except NotFound as error:
        raise CommandFailed(
            f"Secret '{name}' is not in namespace '{kubectl.namespace}': the operator makes it anew; see `kubectl describe "
            f"mlws {workspace}`"
        ) from error
    if _PASSWORD not in content:
        raise CommandFailed(
            f"Secret '{name}' has no key {_PASSWORD}: delete the Secret, and the operator makes it anew"
        )
    return base64.b64decode(content[_PASSWORD]).decode().rstrip("\r\n")


def as_yaml(made: Pushed) -> str:
    """What to write into a run's spec; a folder can be code as well as data."""
    kind = "uriFolder" if made.is_folder else "uriFile"
    given = {"type": kind, "path": made.address, "digest": f"sha256:{made.hex}"}
    parts = [_dumped({"inputs": {key_of(made.name): given}})]
    if made.is_folder:
        parts.append("# or, as the code of a run:\n" + _dumped({"code": {"url": made.address}}))
    return "".join(parts)


def _dumped(value: Json) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=10_000)


def key_of(name: str) -> str:
    """A name for the input, made from the file's."""
    stem = re.sub(r"[^A-Za-z0-9_]+", "_", name.partition(".")[0] or name).strip("_")[:63]
    usable = re.match(KEY_PATTERN, stem) and stem.lower() not in _YAML_WORDS
    return stem if usable else f"data_{stem}"[:63].rstrip("_")
