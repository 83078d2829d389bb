"""uvicorn's parser in C, with an end to what a caller may send before a request's body, and to how long a request may take to come."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Any
from urllib.parse import unquote

import httptools
import uvicorn
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from smalt_scorer.cycle import Answering, Cycle
from smalt_scorer.raw_request import RawRequest

# As much as uvicorn's other parser takes. The one in C keeps whatever comes.
MOST_HEAD_BYTES = 64 << 10
# A request must come at this rate at least, after a while in which it need not.
PATIENCE_SECONDS = 10.0
LEAST_BYTES_PER_SECOND = 1024
# A connection on which nobody asks, whether or not somebody has.
SILENCE_SECONDS = 75.0
LOOK_SECONDS = 1.0


class HeadTooLong(Exception):
    """More than MOST_HEAD_BYTES of address and headers."""


class HttpProtocol(HttpToolsProtocol):
    """One connection. Times are of time.monotonic()."""

    app: Answering
    _head_bytes = 0
    _body_bytes = 0
    _coming_since: float | None = None
    """When the request began that has not come to its end yet."""
    _silent_since: float | None = None
    """When it was opened, or the last answer was given, if nobody has asked since."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._silent_since = time.monotonic()
        self._in_order: deque[Cycle] = deque()
        super().connection_made(transport)

    def on_message_begin(self) -> None:
        self._head_bytes = self._body_bytes = 0
        self._coming_since, self._silent_since = time.monotonic(), None
        self.url, self.headers, self.expect_100_continue = b"", [], False

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        parser, url = self.parser, httptools.parse_url(self.url)
        path = url.path.decode("ascii")
        before, self.cycle = (
            self.cycle,
            Cycle(
                RawRequest(
                    parser.get_method().decode("ascii"),
                    unquote(path) if "%" in path else path,
                    url.query or b"",
                    self.headers,
                ),
                self.transport,
                self.flow,
                self.server_state.default_headers,
                self.expect_100_continue,
                parser.get_http_version() != "1.0" and parser.should_keep_alive(),
                self.on_response_complete,
            ),
        )
        if before is None or before.response_complete:
            self._begin(self.cycle)
        else:  # whoever does not wait for the answer is answered in order
            self.flow.pause_reading()
            self._in_order.appendleft(self.cycle)

    def _begin(self, cycle: Cycle) -> None:
        task = self.loop.create_task(cycle.act(self.app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        cycle = self.cycle
        if cycle.response_complete:
            return
        cycle.body += body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        self._coming_since = None
        cycle = self.cycle
        if cycle.response_complete:
            return
        cycle.more_body = False
        cycle.message_event.set()

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self._in_order:
            self._begin(self._in_order.pop())
        elif self._coming_since is None:
            self._silent_since = time.monotonic()

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
        if self._silent_since is not None and now - self._silent_since > SILENCE_SECONDS:
            self.transport.close()
        if self._coming_since is None or (self.flow is not None and self.flow.read_paused):
            return  # nothing is awaited, or it is we who do not read on
        allowed = PATIENCE_SECONDS + (self._head_bytes + self._body_bytes) / LEAST_BYTES_PER_SECOND
        if now - self._coming_since <= allowed:
            return
        self._end(b"408 Request Timeout", f"the request did not come to its end within {allowed:.0f} s: send it faster")

    def _end(self, status: bytes, words: str) -> None:
        body = f'{{"message": "{words}"}}'.encode()
        head = b"content-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
        self.transport.write(b"HTTP/1.1 " + status + b"\r\n" + head + body)
        self.transport.close()


def config_of(application: Answering, **more: Any) -> uvicorn.Config:
    """uvicorn keeps the sockets; what comes on them is this module's."""
    made = uvicorn.Config(
        application,  # type: ignore[arg-type]  # no ASGI application: HttpProtocol asks it for an answer
        interface="asgi3",
        http=HttpProtocol,
        ws="none",
        access_log=False,
        log_level="warning",
        lifespan="off",
        proxy_headers=False,
        server_header=False,
        **more,
    )
    made.load()
    return made


async def look_at(connections: set[Any]) -> None:
    """Once in a while at all of them: one timer costs less than one for each request."""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        now = time.monotonic()
        for each in list(connections):
            each.look(now)
