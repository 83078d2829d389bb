"""What stands for all values: exact while they are few, within its error beyond."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smalt_profile.columns import row_marks
from smalt_profile.distinct import Distinct
from smalt_profile.frequent import Frequent
from smalt_profile.hashing import hash_numbers, hash_texts
from smalt_profile.quantiles import Quantiles, equal_edges
from smalt_profile.sampling import RowSample

RANDOM = np.random.default_rng(5)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.binary(max_size=40) | st.binary(min_size=500, max_size=540), min_size=1, max_size=30))
@pytest.mark.slow
def test_texts_have_the_same_hash_exactly_when_they_are_the_same(texts: list[bytes]) -> None:
    hashes = hash_texts(pa.array(texts, pa.binary()))
    assert len(set(hashes.tolist())) == len(set(texts))
    # Whatever stands before it in the array.
    assert hash_texts(pa.array([b"before", *texts], pa.binary()).slice(1)).tolist() == hashes.tolist()
    assert hash_texts(pa.array(texts, pa.large_binary())).tolist() == hashes.tolist()


def test_texts_that_differ_only_at_their_end_are_told_apart() -> None:
    long = b"x" * 2000
    hashes = hash_texts(pa.array([long + b"1", long + b"2", b"", b"\0", b"\0\0"], pa.binary()))
    assert len(set(hashes.tolist())) == 5


def test_a_number_has_one_hash_however_it_is_written() -> None:
    whole = hash_numbers(np.array([0, 1, -7, 2**53]))
    assert (hash_numbers(np.array([0.0, 1.0, -7.0, 2.0**53])) == whole).all()
    assert len(set(hash_numbers(np.array([0.5, -0.5, np.inf, -np.inf, 1e300])).tolist())) == 5


@pytest.mark.parametrize("count", [0, 1, 999, 1000])
def test_few_different_values_are_counted_exactly(count: int) -> None:
    distinct = Distinct(1001)
    for _ in range(3):
        distinct.update(hash_numbers(np.arange(count)))
    assert (distinct.count, distinct.is_exact, distinct.relative_error) == (count, True, 0)


@pytest.mark.parametrize("count", [20_000, 300_000])
def test_many_different_values_are_estimated_within_the_stated_error(count: int) -> None:
    distinct = Distinct(4096)
    values = np.random.default_rng(1).permutation(np.repeat(np.arange(count), 3))
    for block in np.array_split(values, 50):
        distinct.update(hash_numbers(block))
    assert not distinct.is_exact
    assert distinct.relative_error == pytest.approx(0.0156, abs=0.0001)
    assert distinct.count == pytest.approx(count, rel=4 * distinct.relative_error)


SHARES = (0.01, 0.25, 0.5, 0.75, 0.99)


def test_quantiles_and_histogram_of_few_values_are_numpys() -> None:
    values = RANDOM.normal(size=1000)
    quantiles = Quantiles(1000)
    for block in np.split(values, [10, 700]):
        quantiles.update(block)
    assert quantiles.rank_error == 0
    assert quantiles.at(SHARES) == pytest.approx(np.quantile(values, SHARES).tolist())
    edges = equal_edges(values.min(), values.max(), 30)
    assert quantiles.histogram(edges, 1000) == np.histogram(values, edges)[0].tolist()


@pytest.mark.parametrize("order", ["random", "rising", "falling"])
def test_quantiles_of_many_values_are_within_the_stated_error(order: str) -> None:
    values = RANDOM.lognormal(0, 2, size=400_000)
    ordered = {"random": values, "rising": np.sort(values), "falling": np.sort(values)[::-1].copy()}[order]
    quantiles = Quantiles(1000)
    for block in np.array_split(ordered, 40):
        quantiles.update(block)
    assert 0 < quantiles.rank_error < 0.0025
    ranks = [float((values <= value).mean()) for value in quantiles.at(SHARES)]
    # The bound holds in 99 of 100 cases; a little more leaves no test to chance.
    assert ranks == pytest.approx(SHARES, abs=2 * quantiles.rank_error)
    edges = equal_edges(0.0, float(np.quantile(values, 0.999)), 20)
    counted = np.array(quantiles.histogram(edges, len(values)))
    assert counted.sum() == pytest.approx(len(values), abs=20)
    assert counted[:-1] == pytest.approx(
        np.histogram(values, edges)[0][:-1], abs=4 * quantiles.rank_error * len(values)
    )


@pytest.mark.parametrize(("lowest", "highest"), [(3.0, 3.0), (0.0, 0.0), (-1.7e308, 1.7e308)])
def test_a_histogram_has_edges_whatever_the_range(lowest: float, highest: float) -> None:
    edges = equal_edges(lowest, highest, 30)
    assert np.isfinite(edges).all() and edges[0] <= lowest and edges[-1] >= highest
    assert (np.diff(edges / 2) > 0).all()


def counted(frequent: Frequent, values: np.ndarray) -> None:
    unlike, counts = np.unique(values, return_counts=True)
    frequent.update(hash_numbers(unlike), counts, lambda places: [str(each) for each in unlike[places]])


def test_the_most_frequent_of_few_values_are_exact() -> None:
    values = RANDOM.integers(0, 50, 10_000)
    frequent = Frequent(50)
    for block in np.array_split(values, 9):
        counted(frequent, block)
    assert frequent.is_exact
    expected = sorted(((str(v), int((values == v).sum())) for v in range(50)), key=lambda pair: (-pair[1], pair[0]))
    assert frequent.top(50) == expected


def test_the_most_frequent_of_many_values_are_found_within_the_stated_error() -> None:
    common = RANDOM.choice([-1, -2, -3], 30_000, p=[0.6, 0.3, 0.1])
    values = RANDOM.permutation(np.concatenate([common, np.arange(70_000)]))
    frequent = Frequent(100)
    for block in np.array_split(values, 50):
        counted(frequent, block)
    assert not frequent.is_exact and 0 < frequent.error < 500
    top = frequent.top(3)
    assert [value for value, _ in top] == ["-1", "-2", "-3"]
    for value, count in top:
        true = int((values == int(value)).sum())
        assert true - frequent.error <= count <= true


def rows_of(first: int, size: int, **more: pa.Array) -> pa.RecordBatch:
    return pa.record_batch({"f0": pa.array(range(first, first + size)), **more})


def test_a_sample_of_few_rows_is_all_of_them_in_order() -> None:
    sample = RowSample(1000, 1 << 20)
    for first in range(0, 1000, 100):
        sample.update(rows_of(first, 100))
    assert sample.rows().column("f0").to_pylist() == list(range(1000))


def test_a_sample_of_many_rows_is_uniform_and_the_same_each_time() -> None:
    def drawn() -> list[int]:
        sample = RowSample(2000, 1 << 20)
        for first in range(0, 200_000, 5000):
            sample.update(rows_of(first, 5000))
        return [int(each) for each in sample.rows().column("f0").to_pylist()]

    rows = drawn()
    assert len(rows) == len(set(rows)) == 2000
    assert rows == drawn()
    # Each tenth of the table has its tenth of the sample, give or take four standard errors.
    tenths = np.bincount(np.array(rows) // 20_000, minlength=10)
    assert tenths == pytest.approx(np.full(10, 200), abs=4 * 13.5)


def test_a_sample_of_heavy_rows_weighs_no_more_than_it_may() -> None:
    sample = RowSample(100_000, 1 << 20)
    for first in range(0, 20_000, 1000):
        sample.update(rows_of(first, 1000, f1=pa.array(["x" * 2000] * 1000)))
    assert 100 < sample.rows().num_rows < 600


def test_a_sample_goes_on_when_a_column_comes_late() -> None:
    sample = RowSample(10_000, 1 << 20)
    sample.update(rows_of(0, 2))
    sample.update(rows_of(2, 1, f1=pa.array([b"late"])))
    assert sample.rows().column("f1").to_pylist() == [None, None, b"late"]


def test_every_row_has_a_mark_of_its_own_however_blocks_are_cut() -> None:
    whole = row_marks(0, 1000)
    assert len(set(whole.tolist())) == 1000
    assert np.concatenate([row_marks(0, 300), row_marks(300, 700)]).tolist() == whole.tolist()
