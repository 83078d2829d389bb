"""What the pods of the whole cluster ask of each node, which no cache of ours holds.

Watching every pod would cost memory and work for each of them all the time; asking for all of them now and then, and
keeping only the sums, costs some when somebody wants to know. How often is bounded by how much it costs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from smalt.api.kinds import POD
from smalt.api.schema import Json
from smalt.engine.ports import Api
from smalt.reconcilers import fit

KEPT_SECONDS = 20.0
# In a cluster of so many pods that counting them takes long, it is done at most in so small a part of the time.
KEPT_TIMES = 50
PLACED = "spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed"


class Occupancy:
    """The sums, counted anew when they have become old and somebody asks."""

    def __init__(self, api: Api, clock: Callable[[], float]) -> None:
        self._api, self._clock = api, clock
        self._counting = asyncio.Lock()
        self._found: Json = {}
        self._fresh_until = float("-inf")

    async def read(self) -> Json:
        """By node, then by resource: what is taken. Who asks while it is counted waits for that."""
        async with self._counting:
            if self._clock() >= self._fresh_until:
                began = self._clock()
                found: dict[str, dict[str, Any]] = {}
                async for page in self._api.pages(POD, "", fields=PLACED):
                    _add(found, fit.occupied(page.get("items") or ()))
                self._found = found
                took = self._clock() - began
                self._fresh_until = self._clock() + max(KEPT_SECONDS, KEPT_TIMES * took)
            return self._found


def _add(found: dict[str, dict[str, Any]], more: dict[str, Any]) -> None:
    for node, amounts in more.items():
        found[node] = fit.added(found.get(node, {}), amounts)
