"""uvicorn's parser in C, with an end to what a caller may send before a request's body, and to how long a request may take to come."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# As much as uvicorn's other parser takes. The one in C keeps whatever comes.
MOST_HEAD_BYTES = 64 << 10
# A request must come at this rate at least, after a while in which it need not.
PATIENCE_SECONDS = 10.0
LEAST_BYTES_PER_SECOND = 1024
# A connection on which nobody has ever asked.
SILENCE_SECONDS = 75.0
LOOK_SECONDS = 1.0


class HeadTooLong(Exception):
    """More than MOST_HEAD_BYTES of address and headers."""


class HttpProtocol(HttpToolsProtocol):
    """One connection. Times are of time.monotonic()."""

    _head_bytes = 0
    _body_bytes = 0
    _coming_since: float | None = None
    """When the request began that has not come to its end yet."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._connected_at: float | None = time.monotonic()
        super().connection_made(transport)

    def on_message_begin(self) -> None:
        self._head_bytes = self._body_bytes = 0
        self._coming_since, self._connected_at = time.monotonic(), None
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._coming_since = None
        super().on_message_complete()

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > MOST_HEAD_BYTES:
            raise HeadTooLong  # which the parser turns into an error of its own, and that into `send_400_response`

    def send_400_response(self, msg: str) -> None:
        if self._head_bytes <= MOST_HEAD_BYTES:
            super().send_400_response(msg)
            return
        words = f"the address and headers have more than {MOST_HEAD_BYTES} bytes"
        self._end(b"431 Request Header Fields Too Large", words)

    def look(self, now: float) -> None:
        """Ends the connection of whoever takes too long."""
        if self._connected_at is not None and now - self._connected_at > SILENCE_SECONDS:
            self.transport.close()
        if self._coming_since is None or (self.flow is not None and self.flow.read_paused):
            return  # nothing is awaited, or it is we who do not read on
        allowed = PATIENCE_SECONDS + (self._head_bytes + self._body_bytes) / LEAST_BYTES_PER_SECOND
        if now - self._coming_since <= allowed:
            return
        if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
            self.transport.close()
            return
        self._end(b"408 Request Timeout", f"the request did not come to its end within {allowed:.0f} s: send it faster")

    def _end(self, status: bytes, words: str) -> None:
        body = f'{{"message": "{words}"}}'.encode()
        head = b"content-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
        self.transport.write(b"HTTP/1.1 " + status + b"\r\n" + head + body)
        self.transport.close()


async def look_at(connections: set[Any]) -> None:
    """Once in a while at all of them: one timer costs less than one for each request."""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        now = time.monotonic()
        for each in list(connections):
            each.look(now)
