"""One request of a connection and its answer, which is written at once: what uvicorn does for any ASGI application takes a
quarter of a light model's time.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Sequence
from typing import Protocol, cast

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from smalt_scorer.incoming import Receive
from smalt_scorer.raw_request import RawAnswer, RawRequest

_log = logging.getLogger("uvicorn.error")
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_UNFIT_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_FAILED = RawAnswer(500, b"Internal Server Error", "text/plain; charset=utf-8", (("connection", "close"),))


class Answering(Protocol):
    """Whoever is asked."""

    async def answer(self, request: RawRequest, receive: Receive) -> RawAnswer:
        """The answer to any request."""


class Cycle(RequestResponseCycle):
    """uvicorn's side of a request, which is told by the connection of the body and of the caller's going."""

    def __init__(
        self,
        request: RawRequest,
        transport: asyncio.Transport,
        flow: FlowControl,
        default_headers: Sequence[tuple[bytes, bytes]],
        is_waiting_for_leave: bool,
        keep_alive: bool,
        on_response: Callable[[], None],
    ) -> None:
        self.request, self.transport, self.flow = request, transport, flow
        self._always, self.on_response = default_headers, on_response
        self.message_event = asyncio.Event()
        self.waiting_for_100_continue, self.keep_alive = is_waiting_for_leave, keep_alive
        self.disconnected = self.response_complete = False
        self.body, self.more_body = bytearray(), True

    async def act(self, application: Answering) -> None:
        """Asks the application and answers with what it says; whatever it raises is a 500, and the end of the connection."""
        try:
            answer = await application.answer(self.request, cast(Receive, self.receive))
            head = self._head(answer)
        except Exception as error:
            _log.error("a request could not be answered", exc_info=error)
            answer = _FAILED
            head = self._head(answer)
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if not self.disconnected:
            self._write(head, answer.body)

    def _head(self, answer: RawAnswer) -> bytes:
        """ValueError for a header that would not come over as it is."""
        lines = [f"content-length: {len(answer.body)}\r\n"]
        if answer.content_type:
            lines.append(_line("content-type", answer.content_type))
        ends = False
        for name, value in answer.headers:
            lines.append(_line(name, value))
            ends = ends or (name.lower() == "connection" and "close" in value.lower())
        if ends:
            self.keep_alive = False
        elif not self.keep_alive:
            lines.append("connection: close\r\n")
        always = b"".join([b"%s: %s\r\n" % each for each in self._always])
        return b"%s%s%s\r\n" % (STATUS_LINE[answer.status], always, "".join(lines).encode("latin-1", "replace"))

    def _write(self, head: bytes, body: bytes) -> None:
        self.waiting_for_100_continue = False
        self.transport.write(head if self.request.method == "HEAD" else head + body)
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()


def _line(name: str, value: str) -> str:
    if not _NAME.fullmatch(name) or _UNFIT_VALUE.search(value):
        raise ValueError(f"{name!r}: {value!r} is no header that can be sent")
    return f"{name.lower()}: {value}\r\n"
