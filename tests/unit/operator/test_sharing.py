"""What a thousand ask within seconds is asked of the API server once."""

from __future__ import annotations

import asyncio

import pytest

from smalt.engine.sharing import SHARED_SECONDS, Shared
from smalt.errors import Unavailable


class Server:
    """Counts how often it was asked; may be down."""

    def __init__(self) -> None:
        self.asked, self.is_down = 0, False
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def answer(self) -> int:
        self.asked += 1
        asked = self.asked
        await self.may_answer.wait()
        if self.is_down:
            raise Unavailable("down", 503)
        return asked


async def test_who_asks_at_the_same_time_and_shortly_after_shares_one_answer() -> None:
    server, now = Server(), [100.0]
    shared: Shared[int] = Shared(lambda: now[0])
    assert await asyncio.gather(*(shared.ask("a", server.answer) for _ in range(50))) == [1] * 50
    now[0] += SHARED_SECONDS
    assert await shared.ask("a", server.answer) == 1
    assert await shared.ask("another question", server.answer) == 2
    now[0] += 0.1
    assert await shared.ask("a", server.answer) == 3


async def test_a_failure_is_told_to_all_who_wait_and_the_next_asks_again() -> None:
    server = Server()
    server.is_down = True
    shared: Shared[int] = Shared()
    told = await asyncio.gather(*(shared.ask("a", server.answer) for _ in range(3)), return_exceptions=True)
    assert [type(each) for each in told] == [Unavailable] * 3
    server.is_down = False
    assert await shared.ask("a", server.answer) == 2


async def test_one_that_is_cut_off_takes_the_answer_from_nobody() -> None:
    server = Server()
    server.may_answer.clear()
    shared: Shared[int] = Shared()
    first = asyncio.create_task(shared.ask("a", server.answer))
    second = asyncio.create_task(shared.ask("a", server.answer))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    server.may_answer.set()
    assert await second == 1
