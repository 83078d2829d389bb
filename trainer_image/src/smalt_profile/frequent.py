"""The most frequent values of a stream: counted exactly while they are few, else with a bound on the error.

When there are more values than are kept, the rarest give way; the largest count so lost is what a count can be too low by.
"""

from __future__ import annotations

from typing import Any, Callable, Sequence

import numpy as np

_LARGEST_LABEL = 1000


class Frequent:
    """Counts by hash, with the values' texts for those that are kept."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._hashes = np.empty(0, dtype=np.uint64)
        self._counts = np.empty(0, dtype=np.int64)
        self._labels: dict[int, str] = {}
        self.error = 0

    def update(self, hashes: Any, counts: Any, labels: Callable[[Any], Sequence[str]]) -> None:
        """Add values of a block, each hash once; `labels` gives the texts of those at some positions."""
        merged, places = np.unique(np.concatenate([self._hashes, hashes]), return_inverse=True)
        totals = np.bincount(places, weights=np.concatenate([self._counts, counts]), minlength=len(merged))
        totals = totals.astype(np.int64)
        if len(merged) > self._size:
            # Of equal ones those stay that were here before, so that a block of unlike values moves nothing.
            is_old = np.isin(merged, self._hashes, assume_unique=True)
            order = np.lexsort((~is_old, -totals))
            kept = np.sort(order[: self._size])
            self.error += int(totals[order[self._size]])
            merged, totals = merged[kept], totals[kept]
        self._hashes, self._counts = merged, totals
        self._name(hashes, labels)

    def _name(self, hashes: Any, labels: Callable[[Any], Sequence[str]]) -> None:
        kept = {int(each) for each in self._hashes}
        self._labels = {each: label for each, label in self._labels.items() if each in kept}
        new = np.flatnonzero(np.isin(hashes, self._hashes))
        wanted = [int(position) for position in new if int(hashes[position]) not in self._labels]
        for position, label in zip(wanted, labels(np.array(wanted, dtype=np.int64)) if wanted else ()):
            self._labels[int(hashes[position])] = label[:_LARGEST_LABEL]

    @property
    def is_exact(self) -> bool:
        """Whether every value is there with its full count."""
        return self.error == 0

    def __len__(self) -> int:
        return len(self._hashes)

    def top(self, most: int) -> list[tuple[str, int]]:
        """The most frequent ones, equal ones by their text."""
        pairs = [(self._labels[int(each)], int(count)) for each, count in zip(self._hashes, self._counts)]
        return sorted(pairs, key=lambda pair: (-pair[1], pair[0]))[:most]
