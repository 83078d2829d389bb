"""Reading a body up to its limit, and letting go by what is refused."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import pytest

from smalt_scorer.incoming import DISCARD_BYTES, Gone, Incoming, TooLarge
from smalt_scorer.raw_request import RawRequest


class Caller:
    """Sends parts of a body, and then goes."""

    def __init__(self, *parts: bytes, ends: bool = True) -> None:
        more = [True] * (len(parts) - ends) + [False] * ends
        self.messages: list[dict[str, Any]] = [
            {"type": "http.request", "body": part, "more_body": each} for part, each in zip(parts, more, strict=True)
        ]

    async def __call__(self) -> MutableMapping[str, Any]:
        return self.messages.pop(0) if self.messages else {"type": "http.disconnect"}


async def test_a_body_in_parts_is_read_whole_up_to_the_limit() -> None:
    assert await Incoming(RawRequest(), Caller(b"ab", b"", b"cd")).read(4) == b"abcd"


async def test_a_body_without_a_length_is_refused_at_the_limit() -> None:
    with pytest.raises(TooLarge):
        await Incoming(RawRequest(), Caller(b"ab", b"cde", b"f")).read(4)


async def test_a_body_whose_length_is_too_large_is_refused_unread() -> None:
    caller = Caller(b"abcde")
    with pytest.raises(TooLarge):
        await Incoming(RawRequest(headers=[(b"content-length", b"5")]), caller).read(4)
    assert len(caller.messages) == 1


async def test_a_caller_who_goes_before_the_end_is_noticed() -> None:
    with pytest.raises(Gone):
        await Incoming(RawRequest(), Caller(b"ab", ends=False)).read(4)


async def test_what_is_refused_is_let_go_by_to_its_end_and_not_beyond() -> None:
    caller = Caller(b"ab", b"cd")
    incoming = Incoming(RawRequest(), caller)
    await incoming.discard()
    assert caller.messages == []
    caller.messages.append({"type": "http.request", "body": b"the next request"})
    await incoming.discard()
    assert len(caller.messages) == 1


async def test_an_endless_body_is_let_go_by_only_for_a_while() -> None:
    caller = Caller(*[b"x" * (DISCARD_BYTES // 4)] * 10, ends=False)
    await Incoming(RawRequest(), caller).discard()
    assert len(caller.messages) == 6


async def test_who_waits_for_leave_to_send_is_not_given_it_by_a_refusal() -> None:
    caller = Caller(b"ab")
    await Incoming(RawRequest(headers=[(b"expect", b"100-continue")]), caller).discard()
    assert len(caller.messages) == 1


async def test_who_goes_while_being_refused_does_no_harm() -> None:
    await Incoming(RawRequest(), Caller(b"ab", ends=False)).discard()
