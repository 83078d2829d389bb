"""Tells when many Jobs are being made at once: the words that a Job is made can then wait for the Jobs yet to be made."""

from __future__ import annotations

from collections import deque

# So many within a second are a burst: a person applies fewer, a sweep or a queue of runs more.
BURST = 20
BURST_SECONDS = 1.0
# Looking whether it is over costs a reconcile.
LOOK_SECONDS = 5.0
# However long a burst lasts, nobody waits longer for a first status.
MOST_SECONDS = 30.0


class Burst:
    """The times at which Jobs were made, and since when each first status waits for the burst's end."""

    def __init__(self) -> None:
        self._made: deque[float] = deque(maxlen=BURST)
        self._waiting: dict[object, float] = {}

    def made(self, now: float) -> None:
        """A Job was made just now."""
        self._made.append(now)

    def wait(self, key: object, now: float) -> float:
        """For how many seconds the key's first status should wait yet."""
        if not self._is_on(now):
            return 0.0
        since = self._waiting.setdefault(key, now)
        return max(0.0, min(LOOK_SECONDS, since + MOST_SECONDS - now))

    def forget(self, key: object) -> None:
        """The status is written, or its object gone."""
        self._waiting.pop(key, None)

    def _is_on(self, now: float) -> bool:
        if len(self._made) < BURST:
            return False
        return self._made[-1] - self._made[0] <= BURST_SECONDS and now - self._made[-1] <= BURST_SECONDS
