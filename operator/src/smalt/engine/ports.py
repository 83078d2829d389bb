"""What the engine needs of the world outside; a test may be it."""

from __future__ import annotations

from typing import Protocol

from smalt.api.kinds import Kind
from smalt.api.schema import Json


class Api(Protocol):
    """The API server. See smalt.cluster.Cluster for what each does and raises."""

    async def find(self, kind: Kind, namespace: str, name: str) -> Json | None: ...
    async def select(self, kind: Kind, namespace: str, **query: str) -> Json: ...
    async def create(self, kind: Kind, manifest: Json) -> Json: ...
    async def apply(self, kind: Kind, manifest: Json) -> Json: ...
    async def replace(self, kind: Kind, manifest: Json) -> Json: ...
    async def patch_status(self, kind: Kind, resource: Json, difference: Json) -> Json: ...


class Recorders(Protocol):
    """The recorders in running pods. See smalt.live.Recorders."""

    async def ask(self, address: str) -> Json | None: ...
