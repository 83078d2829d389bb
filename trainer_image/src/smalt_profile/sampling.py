"""A uniform sample of rows from a stream of unknown length: whatever needs two columns side by side is computed on it.

Every row draws a number, and the rows with the smallest numbers stay. The draw is the same each time, so that one file
gives one profile.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa


class RowSample:
    """At most `rows` rows and `weight` bytes."""

    def __init__(self, rows: int, weight: int) -> None:
        self._most, self._weight = rows, weight
        self._random = np.random.default_rng(20)
        self._pieces: list[pa.Table] = []
        self._draws: list[Any] = []
        self._below = 1.0
        self._held = 0

    def update(self, batch: pa.RecordBatch) -> None:
        """Add a block of rows; later blocks may have more columns."""
        draws = self._random.random(batch.num_rows)
        chosen = np.flatnonzero(draws < self._below)
        if not len(chosen):
            return
        self._pieces.append(pa.Table.from_batches([batch.take(pa.array(chosen))]))
        self._draws.append(draws[chosen])
        self._held += len(chosen)
        if self._held > 2 * self._most or sum(each.nbytes for each in self._pieces) > 2 * self._weight:
            self._prune()

    def _prune(self) -> None:
        whole = pa.concat_tables(self._pieces, promote_options="permissive").combine_chunks()
        draws = np.concatenate(self._draws)
        if whole.nbytes > self._weight:
            self._most = max(1, min(self._most, whole.num_rows * self._weight // whole.nbytes))
        if whole.num_rows > self._most:
            kept = np.sort(np.argpartition(draws, self._most)[: self._most])
            self._below = float(np.partition(draws, self._most)[self._most])
            whole, draws = whole.take(pa.array(kept)), draws[kept]
        self._pieces, self._draws, self._held = [whole], [draws], whole.num_rows

    def rows(self) -> pa.Table:
        """The sample; every row that there was, in order, when there were few enough."""
        if not self._pieces:
            return pa.table({})
        self._prune()
        return self._pieces[0]
