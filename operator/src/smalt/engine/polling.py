"""Asks the recorders of running pods, each once in ten seconds, beside the workers: none of them waits for a pod.

Whose pods are asked is what reconcilers read: who reads a pod's live status is followed until it reads it no more, and
woken when the answer has changed. An answer is only ever kept here, so a new leader simply asks again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from smalt.api.references import Address
from smalt.api.schema import Json
from smalt.engine.ports import Recorders
from smalt.reconcilers.world import LiveRead, StatusOf

log = logging.getLogger(__name__)

POLL_SECONDS = 10.0
# A recorder that has just been started does not listen yet.
FIRST_SECONDS = 1.0
# One that does not answer is asked ever more rarely.
MOST_SECONDS = 60.0
# Those that do not answer hold a place for two seconds each; the others come in time all the same.
AT_A_TIME = 100
# A new leader meets all runs at once: spread out, they never come together again.
RUNS_A_ROUND = 1000


@dataclass
class _Followed:
    """One pod that is asked, and what it said last."""

    pod: StatusOf
    task: asyncio.Task[None]
    answer: Json | None = None


class Poller:
    """`wake` is called with who follows a pod whose answer has changed."""

    def __init__(self, recorders: Recorders, wake: Callable[[Address], None], every: float = POLL_SECONDS) -> None:
        self._recorders, self._wake, self._every = recorders, wake, every
        self._followed: dict[Address, _Followed] = {}
        self._places = asyncio.Semaphore(AT_A_TIME)
        self._next_slot = 0.0

    def follow(self, who: Address, reads: Iterable[LiveRead]) -> None:
        """From now on the pod among the reads is asked, and no other, for the sake of `who`."""
        pod = next((each for each in reads if isinstance(each, StatusOf)), None)
        present = self._followed.get(who)
        if present and present.pod == pod:
            return
        if present:
            present.task.cancel()
            del self._followed[who]
        if pod:
            self._followed[who] = _Followed(pod, asyncio.create_task(self._ask_on_and_on(who, pod)))

    def said(self, who: Address) -> Json | None:
        """What the pod said last; None while it has not."""
        followed = self._followed.get(who)
        return followed.answer if followed else None

    def following(self) -> int:
        """How many pods are asked."""
        return len(self._followed)

    async def stop(self) -> None:
        """Nobody is asked any more."""
        tasks = [each.task for each in self._followed.values()]
        self._followed.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask_on_and_on(self, who: Address, pod: StatusOf) -> None:
        running = asyncio.get_running_loop()
        due, failures, has_answered = self._slot(), 0, False
        while True:
            await asyncio.sleep(max(0.0, due - running.time()))
            async with self._places:
                began = running.time()
                answer = await self._ask(pod)
            if answer is None:
                first = self._every if has_answered else min(FIRST_SECONDS, self._every)
                due = began + min(MOST_SECONDS, first * 2 ** min(failures, 10))
                failures += 1
                continue
            # From the beginning, so that it stays a round of ten seconds whatever answers take.
            due, failures, has_answered = began + self._every, 0, True
            followed = self._followed[who]
            if answer != followed.answer:
                followed.answer = answer
                self._wake(who)

    async def _ask(self, pod: StatusOf) -> Json | None:
        try:
            return await self._recorders.ask(pod.address)
        except Exception:
            # A defect of ours: told, and the next round tries again.
            log.exception("the recorder at %s could not be asked: internal error", pod.address)
            return None

    def _slot(self) -> float:
        """When the first question may be asked: at once, unless many others are to be asked for the first time, too."""
        slot = max(asyncio.get_running_loop().time(), self._next_slot)
        self._next_slot = slot + self._every / RUNS_A_ROUND
        return slot
