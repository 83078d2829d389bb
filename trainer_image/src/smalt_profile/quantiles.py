"""Quantiles and histograms of a stream: from all values while they are few, then from a KLL sketch."""

from __future__ import annotations

from typing import Any, Optional, Sequence

import numpy as np

_SKETCH_SIZE = 2048


class Quantiles:
    """The distribution of finite float64 values."""

    def __init__(self, exact: int) -> None:
        self._exact = exact
        self._values: list[Any] = []
        self._sketch: Optional[Any] = None
        self.count = 0

    def update(self, values: Any) -> None:
        """Add values; the array is kept, so it must not change afterwards."""
        self.count += len(values)
        if self._sketch is None:
            self._values.append(values)
            if self.count > self._exact:
                self._begin_sketch()
        else:
            self._sketch.update(_writable(values))

    def _begin_sketch(self) -> None:
        # Most columns of a small table never need it.
        from datasketches import kll_doubles_sketch

        self._sketch = kll_doubles_sketch(_SKETCH_SIZE)
        for values in self._values:
            self._sketch.update(_writable(values))
        self._values = []

    @property
    def rank_error(self) -> float:
        """How far off the rank of a quantile is at most (in 99 of 100 cases); 0 when all values are known."""
        return 0.0 if self._sketch is None else float(self._sketch.normalized_rank_error(False))

    def at(self, shares: Sequence[float]) -> list[float]:
        """The values below which the shares lie; interpolated when all values are known, as pandas does."""
        if self._sketch is None:
            with np.errstate(over="ignore"):
                return [float(each) for each in np.quantile(self._all(), shares)]
        return [float(each) for each in self._sketch.get_quantiles(list(shares))]

    def histogram(self, edges: Any, total: int) -> list[int]:
        """How many values lie between each two edges, the last one included."""
        if self._sketch is None:
            return [int(each) for each in np.histogram(self._all(), edges)[0]]
        below = np.array(self._sketch.get_cdf(edges[1:-1].tolist()) if len(edges) > 2 else [1.0])
        counts = np.round(np.diff(np.concatenate([[0.0], below])) * total)
        return [int(each) for each in counts]

    def _all(self) -> Any:
        if len(self._values) > 1:
            self._values = [np.concatenate(self._values)]
        return self._values[0]


def _writable(values: Any) -> Any:
    """The sketch takes no array that it could not write to, though it does not."""
    return np.require(values, requirements="W")


def equal_edges(lowest: float, highest: float, bins: int) -> Any:
    """Edges of bins of one width; a single value gets a bin around it."""
    if lowest == highest:
        around = abs(lowest) * 0.5 or 0.5
        lowest, highest = lowest - around, highest + around
    # Halved first: the distance between the largest doubles is not one.
    steps = np.linspace(0.0, 1.0, bins + 1)
    edges = np.unique(lowest * (1 - steps) + highest * steps)
    # Doubles as large as these may be too far apart for so many bins, or for any.
    return edges if len(edges) > 1 else equal_edges(lowest, lowest, 1)
