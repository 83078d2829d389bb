"""How many different values there are: exactly as long as they are few, then estimated from the smallest hashes.

A k-minimum-values sketch: hashes are spread evenly, so how far the k smallest reach tells how many there are. Until there
are k of them nothing is estimated.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_RANGE = 2.0**64


class Distinct:
    """The k smallest hashes seen."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._smallest = np.empty(0, dtype=np.uint64)
        self._waiting: list[Any] = []
        self._waiting_size = 0
        self._reach = np.uint64(2**64 - 1)

    def update(self, hashes: Any) -> None:
        """Add the hashes of some values."""
        if len(self._smallest) >= self._size:
            hashes = hashes[hashes < self._reach]
        if not len(hashes):
            return
        different = pc.unique(pa.array(hashes)).to_numpy()
        self._waiting.append(different)
        self._waiting_size += len(different)
        if self._waiting_size >= self._size:
            self._merge()

    def _merge(self) -> None:
        if not self._waiting:
            return
        self._smallest = _sorted(np.concatenate([self._smallest, *self._waiting]))[: self._size]
        self._waiting, self._waiting_size = [], 0
        if len(self._smallest) >= self._size:
            self._reach = self._smallest[-1]

    @property
    def is_exact(self) -> bool:
        """Whether the count is no estimate."""
        self._merge()
        return len(self._smallest) < self._size

    @property
    def count(self) -> int:
        """How many different values there are."""
        if self.is_exact:
            return len(self._smallest)
        return round((self._size - 1) / (float(self._smallest[-1]) / _RANGE))

    @property
    def relative_error(self) -> float:
        """One standard error of the count, as a share of it; 0 when it is exact."""
        return 0.0 if self.is_exact else 1 / math.sqrt(self._size - 2)


def _sorted(hashes: Any) -> Any:
    """Each hash once, in order."""
    hashes.sort()
    return hashes[np.concatenate([[True], hashes[1:] != hashes[:-1]])]
