"""Who may ask: the keys in a mounted Secret, read again when they change."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable
from pathlib import Path

NAMES = ("primaryKey", "secondaryKey")
# The kubelet takes up to a minute to bring a changed Secret; looking each second is not what one waits for.
LOOK_SECONDS = 1.0


class Keys:
    """Primary and secondary key, so that one can be changed while clients use the other."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._clock = folder, clock
        self._looked = float("-inf")
        self._keys: tuple[bytes, ...] = ()

    def admit(self, authorization: bytes) -> bool:
        """True for `Bearer <key>` with one of the keys; takes the same time for every wrong one."""
        scheme, _, given = authorization.partition(b" ")
        good = False
        for key in self._current():
            good |= hmac.compare_digest(given.strip(), key)
        return good and scheme.lower() == b"bearer"

    def _current(self) -> tuple[bytes, ...]:
        now = self._clock()
        if now - self._looked >= LOOK_SECONDS:
            found = [self._read(name) for name in NAMES]
            self._keys = tuple(key for key in found if key)
            self._looked = now
        return self._keys

    def _read(self, name: str) -> bytes:
        try:
            return (self._folder / name).read_bytes().strip()
        except FileNotFoundError:
            return b""  # no such key: nobody is admitted by it
