"""An API server of a few lines, for what a unit test asks of the engine: objects, versions, and a list of writes."""

from __future__ import annotations

import copy
import itertools
from collections.abc import AsyncIterator
from typing import Any

from smalt.api.kinds import Kind
from smalt.errors import AlreadyExists, Conflict, NotFound, Unavailable

Json = dict[str, Any]


class MemoryApi:
    """smalt.engine.ports.Api over a dictionary. `writes` tells what was asked for; `is_down` refuses everything."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], Json] = {}
        self.writes: list[str] = []
        self.is_down = False
        self._versions = itertools.count(100)

    def put(self, kind: Kind, found: Json) -> Json:
        """As somebody else would have made it."""
        stored = copy.deepcopy(found)
        stored["metadata"]["resourceVersion"] = str(next(self._versions))
        stored["metadata"].setdefault("uid", f"made-{stored['metadata']['resourceVersion']}")
        self.objects[self._key(kind, stored)] = stored
        return copy.deepcopy(stored)

    async def find(self, kind: Kind, namespace: str, name: str) -> Json | None:
        self._answer()
        return copy.deepcopy(self.objects.get((kind.kind, namespace, name)))

    async def select(self, kind: Kind, namespace: str, **query: str) -> Json:
        self._answer()
        return {"items": []}

    async def pages(self, kind: Kind, namespace: str, selector: str = "", fields: str = "") -> AsyncIterator[Json]:
        self._answer()
        yield {"items": []}

    async def create(self, kind: Kind, manifest: Json) -> Json:
        self._write("POST", kind, manifest)
        if self._key(kind, manifest) in self.objects:
            raise AlreadyExists(f"{kind.kind} is there", 409)
        return self.put(kind, manifest)

    async def apply(self, kind: Kind, manifest: Json) -> Json:
        self._write("APPLY", kind, manifest)
        present = self.objects.get(self._key(kind, manifest))
        wanted_uid = manifest["metadata"].get("uid")
        if wanted_uid and (present is None or present["metadata"]["uid"] != wanted_uid):
            raise Conflict("another UID", 409)
        return self.put(kind, merged(present or {}, manifest))

    async def replace(self, kind: Kind, manifest: Json) -> Json:
        self._write("PUT", kind, manifest)
        present = self.objects.get(self._key(kind, manifest))
        if present is None:
            raise NotFound("gone", 404)
        if present["metadata"]["resourceVersion"] != manifest["metadata"]["resourceVersion"]:
            raise Conflict("changed since", 409)
        return self.put(kind, manifest)

    async def patch_status(self, kind: Kind, resource: Json, difference: Json) -> Json:
        self._write("STATUS", kind, resource)
        present = self.objects.get(self._key(kind, resource))
        if present is None:
            raise NotFound("gone", 404)
        if any(present["metadata"][key] != resource["metadata"][key] for key in ("uid", "resourceVersion")):
            raise Conflict("changed since", 409)
        return self.put(kind, merged(present, {"status": difference}))

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str, version: str) -> None:
        self._write("DELETE", kind, {"metadata": {"name": name}})
        present = self.objects.get((kind.kind, namespace, name))
        if present is None:
            raise NotFound("gone", 404)
        if (present["metadata"]["uid"], present["metadata"]["resourceVersion"]) != (uid, version):
            raise Conflict("changed since", 409)
        del self.objects[kind.kind, namespace, name]

    def _write(self, verb: str, kind: Kind, manifest: Json) -> None:
        self._answer()
        self.writes.append(f"{verb} {kind.kind}/{manifest['metadata']['name']}")

    def _answer(self) -> None:
        if self.is_down:
            raise Unavailable("the API server is down", 503)

    def _key(self, kind: Kind, found: Json) -> tuple[str, str, str]:
        return kind.kind, found["metadata"]["namespace"], found["metadata"]["name"]


def merged(present: Json, patch: Json) -> Json:
    """A JSON merge patch."""
    made = copy.deepcopy(present)
    for key, value in patch.items():
        if value is None:
            made.pop(key, None)
        elif isinstance(value, dict) and isinstance(made.get(key), dict):
            made[key] = merged(made[key], value)
        else:
            made[key] = copy.deepcopy(value)
    return made
