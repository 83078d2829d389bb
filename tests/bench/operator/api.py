"""A small client for loading and playing: the measured programs' own clients must not be part of the measuring."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, Self, TypeVar

import aiohttp

from bench.rows import CannotMeasure

Json = dict[str, Any]
MERGE = "application/merge-patch+json"
AT_A_TIME = 16
Item = TypeVar("Item")


class Api:
    """One connection pool with the certificate of a kubeconfig that `Plane.kubeconfig_for` wrote."""

    def __init__(self, kubeconfig: Path) -> None:
        config = json.loads(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self._server = cluster["server"]
        self._tls = ssl.create_default_context(cafile=cluster["certificate-authority"])
        self._tls.load_cert_chain(user["client-certificate"], user["client-key"])
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._tls, limit=AT_A_TIME), timeout=aiohttp.ClientTimeout(total=60)
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._session is not None
        await self._session.close()

    async def get(self, path: str) -> Json:
        return await self._request("GET", path)

    async def create(self, path: str, body: Json) -> Json:
        return await self._request("POST", path, body)

    async def merge(self, path: str, body: Json) -> Json:
        return await self._request("PATCH", path, body, MERGE)

    async def _request(
        self, method: str, path: str, body: Json | None = None, content_type: str = "application/json"
    ) -> Json:
        assert self._session is not None
        content = json.dumps(body) if body is not None else None
        async with self._session.request(
            method, self._server + path, data=content, headers={"Content-Type": content_type}
        ) as answer:
            text = await answer.text()
            if answer.status >= 300:
                raise CannotMeasure(f"{method} {path}: {answer.status} {text[:500]}")
            found: Json = json.loads(text)
            return found


async def each(items: Iterable[Item], work: Callable[[Item], Awaitable[object]], at_a_time: int = AT_A_TIME) -> None:
    """All of it, so many at a time."""
    waiting = iter(items)

    async def worker() -> None:
        for item in waiting:
            await work(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(at_a_time):
            group.create_task(worker())
