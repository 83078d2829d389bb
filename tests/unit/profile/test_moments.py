"""Moments of a stream are those of the whole, as pandas and scipy compute them, whatever the numbers and the blocks."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from smalt_profile.moments import Moments

Array = np.ndarray


def of(values: Array, cuts: list[int]) -> Moments:
    moments = Moments()
    for block in np.split(values, sorted(cut % (len(values) + 1) for cut in cuts)):
        moments.update(block)
    return moments


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.integers(4, 3000),
    offset=st.sampled_from([0.0, 1.0, -1e3, 1e6]),
    scale=st.sampled_from([1e-6, 1.0, 1e4]),
    shape=st.sampled_from(["normal", "lognormal", "uniform", "exponential"]),
    cuts=st.lists(st.integers(0, 10_000), max_size=6),
)
@pytest.mark.slow
def test_moments_are_pandas_and_scipys(
    seed: int, size: int, offset: float, scale: float, shape: str, cuts: list[int]
) -> None:
    # The mean is at most a million times the spread: beyond it, digits that doubles do not have decide in any algorithm.
    values = getattr(np.random.default_rng(seed), shape)(size=size) * scale + offset * scale
    moments, whole = of(values, cuts), pd.Series(values)
    assert moments.count == size
    assert moments.mean == pytest.approx(whole.mean(), rel=1e-12, abs=1e-12 * scale)
    assert moments.variance == pytest.approx(whole.var(), rel=1e-9)
    assert moments.standard_deviation == pytest.approx(whole.std(), rel=1e-9)
    assert moments.skewness == pytest.approx(stats.skew(values, bias=False), rel=1e-6, abs=1e-6)
    assert moments.kurtosis == pytest.approx(stats.kurtosis(values, bias=False), rel=1e-6, abs=1e-5)
    assert moments.skewness == pytest.approx(whole.skew(), rel=1e-6, abs=1e-6)
    assert moments.kurtosis == pytest.approx(whole.kurt(), rel=1e-6, abs=1e-5)


def test_what_cancels_in_sums_of_squares_does_not_here() -> None:
    values = 1e9 + np.tile([4.0, 7.0, 13.0, 16.0], 250)
    assert of(values, [10, 500]).variance == pytest.approx(22.5 * 1000 / 999, rel=1e-9)


@pytest.mark.parametrize("values", [[], [3.0], [0.1] * 1000, [1e300, -1e300, 1e300, 5.0]])
def test_what_cannot_be_told_is_none_and_never_nan(values: list[float]) -> None:
    moments = of(np.array(values), [2])
    for each in (moments.variance, moments.standard_deviation, moments.skewness, moments.kurtosis):
        assert each is None or math.isfinite(each)
    assert moments.skewness is None
