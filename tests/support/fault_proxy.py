"""A proxy between the operator and the API server that ends the operator before or after one of its writes.

No switch in the product is needed for it: what a SIGKILL can hit is the moment before a request leaves and the
moment before its answer arrives, and both are seen from the wire.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import aiohttp
from aiohttp import web

WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
HOP_HEADERS = frozenset({"connection", "host", "transfer-encoding", "content-length", "content-encoding", "keep-alive"})


@dataclass
class Fault:
    """Which write to strike at (as `told` names it), the how manieth of that name, and on which side of it."""

    write: str
    nth: int
    side: Literal["before", "after"]
    strike: Callable[[], None]
    struck: bool = False


@dataclass
class FaultProxy:
    """Forwards to `server` with the client certificate in `tls`; `writes` lists what passed, Leases left out."""

    server: str
    tls: ssl.SSLContext
    fault: Fault | None = None
    writes: list[str] = field(default_factory=list)
    port: int = 0
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _thread: threading.Thread | None = None
    _stopping: asyncio.Event | None = None

    def __enter__(self) -> FaultProxy:
        started = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(started),), daemon=True)
        self._thread.start()
        assert started.wait(10), "the proxy did not start"
        return self

    def __exit__(self, *_: object) -> None:
        assert self._stopping is not None and self._thread is not None
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(10)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def _serve(self, started: threading.Event) -> None:
        self._stopping = asyncio.Event()
        connector = aiohttp.TCPConnector(ssl=self.tls, limit=0)
        async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
            application = web.Application(client_max_size=8 << 20)

            async def forward(request: web.Request) -> web.StreamResponse:
                return await self._forward(session, request)

            application.router.add_route("*", "/{path:.*}", forward)
            runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.port = runner.addresses[0][1]
            started.set()
            await self._stopping.wait()
            await runner.cleanup()

    async def _forward(self, session: aiohttp.ClientSession, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        write = self._count(request)
        self._strike(write, "before")
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP_HEADERS}
        timeout = aiohttp.ClientTimeout(total=None)
        url = self.server + request.raw_path
        # Without a body there is no content type either: the API server would refuse to guess what it means.
        skipped = () if body else ("Content-Type",)
        async with session.request(
            request.method, url, headers=headers, data=body or None, timeout=timeout, skip_auto_headers=skipped
        ) as answer:
            passed = {name: value for name, value in answer.headers.items() if name.lower() not in HOP_HEADERS}
            if encoding := answer.headers.get("Content-Encoding"):
                passed["Content-Encoding"] = encoding
            if write:
                content = await answer.read()
                self._strike(write, "after")
                return web.Response(status=answer.status, headers=passed, body=content)
            response = web.StreamResponse(status=answer.status, headers=passed)
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            return response

    def _count(self, request: web.Request) -> tuple[str, int] | None:
        """The write's name and how many of that name there have been; None for reads and the Lease."""
        if request.method not in WRITES or "/leases" in request.path:
            return None
        name = told(request.method, request.path)
        self.writes.append(name)
        return name, self.writes.count(name)

    def _strike(self, write: tuple[str, int] | None, side: str) -> None:
        fault = self.fault
        if fault is None or fault.struck or write != (fault.write, fault.nth) or side != fault.side:
            return
        fault.struck = True
        fault.strike()
        raise ConnectionResetError(f"the operator was ended {side} {fault.write}")


def told(method: str, path: str) -> str:
    """A write in words that are the same in every namespace, such as `PATCH workspaces/lab/status` or `POST jobs`."""
    return f"{method} {re.sub('.*/namespaces/[^/]+/', '', path)}"
