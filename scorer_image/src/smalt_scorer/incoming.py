"""The body of a request: read up to a limit, or thrown away so that its sender gets to hear why it is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

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

    def __init__(self, headers: Mapping[str, bytes], receive: Receive) -> None:
        self._headers, self._receive = headers, receive
        self._is_over = False

    async def read(self, most: int) -> bytes:
        """The whole body. TooLarge and Gone."""
        length = self._headers.get("content-length", b"0")
        if length.isdigit() and int(length) > most:
            raise TooLarge
        parts, size = [], 0
        while not self._is_over:
            part = await self._part()
            size += len(part)
            if size > most:
                raise TooLarge
            parts.append(part)
        return b"".join(parts)

    async def discard(self) -> None:
        """Lets the rest go by, unless it is endless, or its sender waits for our leave to send it (Expect)."""
        if "expect" in self._headers:
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
        return bytes(message.get("body", b""))
