"""Mean, variance, skewness and kurtosis of a stream, stable whatever the numbers' size.

Each block's central moments are computed about its own mean and then merged (Chan, Golub and LeVeque; Pébay for the third
and fourth), so that no sums of powers of the values themselves, which cancel, are ever formed.
"""

from __future__ import annotations

import math
from typing import Any, Optional

import numpy as np


class Moments:
    """Count, mean and the second to fourth central moment."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = 0.0
        self._second = self._third = self._fourth = 0.0

    def update(self, values: Any) -> None:
        """Add finite float64 values."""
        count = len(values)
        if not count:
            return
        with np.errstate(over="ignore", invalid="ignore"):
            mean = float(values.mean())
            away = values - mean
            square = away * away
            # Not by `dot`: for so few numbers a library of linear algebra may start threads of its own.
            moments = float(square.sum()), float((square * away).sum()), float((square * square).sum())
        self._merge(count, mean, *moments)

    def _merge(self, count: int, mean: float, second: float, third: float, fourth: float) -> None:
        mine, total = self.count, self.count + count
        step = mean - self.mean
        share = step / total
        try:
            self._fourth += (
                fourth
                + step * share**3 * mine * count * (mine * mine - mine * count + count * count)
                + 6 * share * share * (mine * mine * second + count * count * self._second)
                + 4 * share * (mine * third - count * self._third)
            )
            self._third += (
                third
                + step * share * share * mine * count * (mine - count)
                + 3 * share * (mine * second - count * self._second)
            )
            self._second += second + step * share * mine * count
        except OverflowError:
            self._second = self._third = self._fourth = math.inf
        self.mean += share * count
        self.count = total

    @property
    def variance(self) -> Optional[float]:
        """Of a sample: divided by one less than the count, as pandas does."""
        return _finite(self._second / (self.count - 1)) if self.count > 1 else None

    @property
    def standard_deviation(self) -> Optional[float]:
        """The root of the variance."""
        return None if self.variance is None else math.sqrt(self.variance)

    @property
    def skewness(self) -> Optional[float]:
        """Adjusted for the sample's size, as pandas does; none without spread."""
        n = self.count
        if n < 3 or not self._has_spread():
            return None
        plain = math.sqrt(n) * (self._third / self._second) / math.sqrt(self._second)
        return _finite(plain * math.sqrt(n * (n - 1)) / (n - 2))

    @property
    def kurtosis(self) -> Optional[float]:
        """Excess over a normal distribution's, adjusted for the sample's size, as pandas does."""
        n = self.count
        if n < 4 or not self._has_spread():
            return None
        plain = n * (self._fourth / self._second) / self._second - 3
        return _finite((n - 1) / ((n - 2) * (n - 3)) * ((n + 1) * plain + 6))

    def _has_spread(self) -> bool:
        """Whether the values differ by more than the rounding of their mean."""
        if not 0 < self._second < math.inf:
            return False
        return math.sqrt(self._second / self.count) > abs(self.mean) * 1e-14


def _finite(value: float) -> Optional[float]:
    return value if math.isfinite(value) else None
