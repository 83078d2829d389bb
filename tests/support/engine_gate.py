"""A way to a Docker Engine's socket over TCP with TLS, for those who bring a certificate of one authority.

dockerd of the local cluster listens on a socket alone; this is what an engine for a team looks like from outside.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from pathlib import Path
from types import TracebackType

from support.certificates import Certificates


class EngineGate:
    """Listens on an address while it is open."""

    def __init__(self, address: str, engine: Path, certificates: Certificates) -> None:
        self._address, self._engine = address, engine
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificates.certificate, certificates.key)
        self._context.load_verify_locations(certificates.authority)
        self._context.verify_mode = ssl.CERT_REQUIRED
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.host = ""

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._carry, self._address, 0, ssl=self._context)
        self.host = f"{self._address}:{self._server.sockets[0].getsockname()[1]}"

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inside, inward = await asyncio.open_unix_connection(str(self._engine))
        ways = [asyncio.create_task(_pass_on(reader, inward)), asyncio.create_task(_pass_on(inside, writer))]
        # Whoever ends first ends it: HTTP closes a connection only when both are done.
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        for each in (writer, inward):
            each.close()
            with contextlib.suppress(OSError):
                await each.wait_closed()

    async def _close(self) -> None:
        self._server.close()
        here = asyncio.current_task()
        others = [task for task in asyncio.all_tasks() if task is not here]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def __enter__(self) -> EngineGate:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while piece := await source.read(1 << 16):
        target.write(piece)
        await target.drain()
