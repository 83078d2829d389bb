"""One answer for all who ask the same within seconds: a thousand runs that wait for pods must not be a thousand lists."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

Answer = TypeVar("Answer")

SHARED_SECONDS = 4.0


class Shared(Generic[Answer]):
    """Answers by question. A failure is everybody's who waits for it, and the next one asks again."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._asked: dict[Hashable, tuple[float, asyncio.Future[Answer]]] = {}

    async def ask(self, question: Hashable, answer: Callable[[], Awaitable[Answer]]) -> Answer:
        """The answer that is at most SHARED_SECONDS old, or a new one."""
        self._forget()
        if question not in self._asked:
            self._asked[question] = self._clock(), asyncio.ensure_future(answer())
        asked_at, coming = self._asked[question]
        try:
            # Whoever asks may be cut off; the others still want the answer.
            return await asyncio.shield(coming)
        except Exception:
            if self._asked.get(question) == (asked_at, coming):
                del self._asked[question]
            raise

    def _forget(self) -> None:
        oldest = self._clock() - SHARED_SECONDS
        for question in [each for each, (asked_at, _) in self._asked.items() if asked_at < oldest]:
            del self._asked[question]
