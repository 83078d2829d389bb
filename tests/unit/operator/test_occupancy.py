"""What pods hold is counted seldom, for all who ask, and the more seldom the longer it takes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from smalt.api.kinds import POD, Kind
from smalt.engine.occupancy import KEPT_SECONDS, KEPT_TIMES, Occupancy
from support.memory_api import MemoryApi

Json = dict[str, Any]
ON_A = {
    "spec": {"nodeName": "a", "containers": [{"resources": {"requests": {"cpu": "1"}}}]},
    "status": {"phase": "Running"},
}


class Crowd(MemoryApi):
    """Two pages of pods, each of which takes some time to read."""

    def __init__(self, takes: float = 0.0) -> None:
        super().__init__()
        self.now, self.takes, self.asked = 1000.0, takes, 0

    def clock(self) -> float:
        return self.now

    async def pages(self, kind: Kind, namespace: str, selector: str = "", fields: str = "") -> AsyncIterator[Json]:
        self.asked += 1
        assert (kind, namespace) == (POD, "") and "spec.nodeName!=" in fields
        for _ in range(2):
            await asyncio.sleep(0)
            self.now += self.takes
            yield {"items": [ON_A]}


async def test_pages_are_summed_and_everybody_who_asks_within_seconds_gets_one_answer() -> None:
    api = Crowd()
    occupancy = Occupancy(api, api.clock)
    found = await asyncio.gather(*(occupancy.read() for _ in range(5)))
    assert [each["a"]["cpu"] for each in found] == [2] * 5
    api.now += KEPT_SECONDS - 1
    await occupancy.read()
    assert api.asked == 1
    api.now += 2
    await occupancy.read()
    assert api.asked == 2


async def test_where_counting_takes_long_it_is_done_at_most_in_a_small_part_of_the_time() -> None:
    api = Crowd(takes=2.0)
    occupancy = Occupancy(api, api.clock)
    await occupancy.read()
    api.now += 4 * KEPT_TIMES - 1
    await occupancy.read()
    assert api.asked == 1
    api.now += 2
    await occupancy.read()
    assert api.asked == 2
