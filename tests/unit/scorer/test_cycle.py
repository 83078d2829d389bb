"""One answer as it goes over the wire, whatever the application says."""

from __future__ import annotations

from typing import Any

import pytest
from uvicorn.protocols.http.flow_control import FlowControl

from smalt_scorer.cycle import Cycle
from smalt_scorer.incoming import Receive
from smalt_scorer.raw_request import RawAnswer, RawRequest


class Transport:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.written, self.is_closed = b"", False

    def write(self, content: bytes) -> None:
        self.written += content

    def close(self) -> None:
        self.is_closed = True

    def resume_reading(self) -> None:
        """Nothing is paused here."""


class Says:
    """An application with one answer, or one error."""

    def __init__(self, answer: RawAnswer | Exception) -> None:
        self._answer = answer

    async def answer(self, request: RawRequest, receive: Receive) -> RawAnswer:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


async def told(answer: RawAnswer | Exception, method: str = "POST", keep_alive: bool = True) -> tuple[str, bool, int]:
    """What is written, whether the connection is closed, and how often it hears of the end."""
    transport: Any = Transport()
    ends: list[None] = []
    always = [(b"date", b"today")]
    request = RawRequest(method)
    cycle = Cycle(request, transport, FlowControl(transport), always, False, keep_alive, lambda: ends.append(None))
    await cycle.act(Says(answer))
    assert cycle.response_complete
    return transport.written.decode("latin-1"), transport.is_closed, len(ends)


async def test_head_and_body_are_written_as_they_are() -> None:
    written, is_closed, ends = await told(RawAnswer(200, b"[1]", headers=[("X-Ms-Id", "7")]))
    head = "HTTP/1.1 200 OK\r\ndate: today\r\ncontent-length: 3\r\ncontent-type: application/json\r\nx-ms-id: 7\r\n"
    assert (written, is_closed, ends) == (f"{head}\r\n[1]", False, 1)


async def test_of_a_head_there_is_no_body() -> None:
    written, _, _ = await told(RawAnswer(200, b"[1]"), method="HEAD")
    assert "content-length: 3\r\n" in written and written.endswith("\r\n\r\n")


@pytest.mark.parametrize("headers", [[], [("Connection", "close")]])
async def test_a_connection_that_is_not_kept_is_told_once_and_closed(headers: list[tuple[str, str]]) -> None:
    written, is_closed, _ = await told(RawAnswer(200, headers=headers), keep_alive=bool(headers))
    assert written.count("connection: close\r\n") == 1 and is_closed


@pytest.mark.parametrize(
    "answer",
    [
        RawAnswer(200, b"secret", headers=[("x-own", "1\r\nset-cookie: a")]),
        RawAnswer(200, b"secret", headers=[("x-own\r\nset-cookie", "a")]),
        RawAnswer(200, b"secret", headers=[("", "a")]),
        RawAnswer(200, b"secret", "text/plain\r\nset-cookie: a"),
        RawAnswer(777, b"secret"),
        KeyError("secret"),
    ],
    ids=["value", "name", "no name", "content type", "status", "error"],
)
async def test_what_cannot_be_sent_is_a_500_and_the_end_of_the_connection(answer: RawAnswer | Exception) -> None:
    written, is_closed, ends = await told(answer)
    assert written.startswith("HTTP/1.1 500 Internal Server Error\r\n") and is_closed and ends == 1
    assert "cookie" not in written and "secret" not in written
