"""The body of a request: read up to a limit, or thrown away so that its sender gets to hear why it is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from smalt_scorer.raw_request import RawRequest
from smalt_scorer.tracing import Trace

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

# Most callers send all of a body before they look at the answer, and a connection closed meanwhile takes the answer away.
DISCARD_BYTES = 64 << 20
DISCARD_SECONDS = 5.0


class TooLarge(Exception):
    """More bytes than the limit."""


class Gone(Exception):
    """The caller has gone before the end of the body."""


class Incoming:
    """One request's body."""

    def __init__(self, request: RawRequest, receive: Receive) -> None:
        self._request, self._receive = request, receive
        # uvicorn's side of the request, which knows when its sender has gone.
        self.caller = getattr(receive, "__self__", None)
        self.trace: Trace | None = None
        self._is_over = False

    async def read(self, most: int) -> bytes:
        """The whole body. TooLarge and Gone."""
        length = self._request.raw(b"content-length")
        if length.isdigit() and int(length) > most:
            raise TooLarge
        parts, size = [], 0
        while not self._is_over:
            part = await self._part()
            size += len(part)
            if size > most:
                raise TooLarge
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def discard(self) -> None:
        """Lets the rest go by, unless it is endless, or its sender waits for our leave to send it (Expect)."""
        if self._request.raw(b"expect"):
            return
        try:
            async with asyncio.timeout(DISCARD_SECONDS):
                size = 0
                while not self._is_over and size < DISCARD_BYTES:
                    size += len(await self._part())
        except (TimeoutError, Gone):
            return  # who is too slow, or gone, does without the answer

    async def _part(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._is_over = True
            raise Gone
        self._is_over = not message.get("more_body")
        found: bytes = message.get("body", b"")
        return found
