"""Everything that is remembered of one column while the rows go by."""

from __future__ import annotations

import math
from typing import Any, Optional

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from smalt_profile.cells import NUMBER, TEXT, TIME, Cells, cells_of, label
from smalt_profile.distinct import Distinct
from smalt_profile.frequent import Frequent
from smalt_profile.hashing import hash_numbers, hash_texts, missing, mix
from smalt_profile.limits import FREQUENT_VALUES
from smalt_profile.moments import Moments
from smalt_profile.quantiles import Quantiles

# Past this, doubles are not exact and a whole number may not be one.
_LARGEST_WHOLE = 2.0**53
_SALTS = {NUMBER: np.uint64(0), TIME: np.uint64(0x71), TEXT: np.uint64(0x7E)}


class Numbers:
    """Statistics of numbers, or of points in time as microseconds."""

    def __init__(self, exact: int) -> None:
        self.count = 0
        self.infinite = self.zeros = self.negative = 0
        self.lowest, self.highest = math.inf, -math.inf
        self.lowest_finite, self.highest_finite = math.inf, -math.inf
        self.are_whole = True
        self.are_rising = True
        self._last = -math.inf
        self.moments = Moments()
        self.quantiles = Quantiles(exact)
        self.frequent: Optional[Frequent] = Frequent(FREQUENT_VALUES)

    def update(self, values: Any) -> None:
        """Add int64 or float64 without NaN."""
        self.count += len(values)
        self.lowest, self.highest = min(self.lowest, values.min().item()), max(self.highest, values.max().item())
        self.zeros += len(values) - int(np.count_nonzero(values))
        self.negative += int(np.count_nonzero(values < 0))
        self._look_at_order(values)
        self._count_values(values)
        if values.dtype == np.float64:
            self.are_whole = self.are_whole and bool((np.floor(values) == values).all())
            finite = np.isfinite(values)
            if not finite.all():
                self.infinite += len(values) - int(np.count_nonzero(finite))
                values = values[finite]
        else:
            values = values.astype(np.float64)
        if len(values):
            self.lowest_finite = min(self.lowest_finite, float(values.min()))
            self.highest_finite = max(self.highest_finite, float(values.max()))
            self.moments.update(values)
            self.quantiles.update(values)

    def _look_at_order(self, values: Any) -> None:
        """Numbers that only rise are likely to count rows."""
        if self.are_rising:
            self.are_rising = bool(values[0] > self._last) and bool((values[1:] > values[:-1]).all())
            self._last = values[-1]

    def _count_values(self, values: Any) -> None:
        """As long as there are few different ones: of measurements none is worth naming."""
        if self.frequent is None:
            return
        counted = pc.value_counts(pa.array(values))
        different = counted.field("values").to_numpy(zero_copy_only=False)
        if len(different) > FREQUENT_VALUES:
            self.frequent = None
            return
        counts = counted.field("counts").to_numpy(zero_copy_only=False)
        self.frequent.update(
            hash_numbers(different), counts, lambda places: [number_label(each) for each in different[places]]
        )
        if not self.frequent.is_exact:
            self.frequent = None


class Texts:
    """Statistics of texts."""

    def __init__(self) -> None:
        self.count = 0
        self.shortest, self.longest, self._length = 2**63, 0, 0
        self.frequent = Frequent(FREQUENT_VALUES)

    @property
    def mean_length(self) -> float:
        """In characters."""
        return self._length / self.count

    def update(self, unlike: pa.Array, counts: Any, hashes: Any) -> None:
        """Add the different texts of a block with their counts."""
        total = int(counts.sum())
        self.count += total
        characters = pc.utf8_length(
            unlike.view(pa.string()) if unlike.type == pa.binary() else unlike.cast(pa.string())
        )
        sizes = characters.to_numpy(zero_copy_only=False)
        self.shortest, self.longest = min(self.shortest, int(sizes.min())), max(self.longest, int(sizes.max()))
        self._length += int((sizes * counts).sum())
        self.frequent.update(
            hashes, counts, lambda places: [label(each) for each in unlike.take(pa.array(places)).to_pylist()]
        )


class Column:
    """One column."""

    def __init__(self, name: str, rows_before: int, exact_values: int, distinct_values: int) -> None:
        self.name = name
        self.rows = self.missing = rows_before
        self.numbers: dict[str, Numbers] = {}
        self.texts: Optional[Texts] = None
        self.distinct = Distinct(distinct_values)
        self.fingerprint = 0
        """The same for columns with the same cells in the same rows."""
        self._exact_values = exact_values

    def update(self, cells: pa.Array, is_text: bool, row_marks: Any) -> Any:
        """Add a block; a hash for each of its rows. `row_marks` are different for every row of the table."""
        size = len(cells)
        hashes = missing(size)
        found = 0
        for part in cells_of(cells, is_text, self.kinds):
            found += len(part)
            each = self._add(part)
            if part.rows is None:
                hashes = each
            else:
                hashes[part.rows] = each
        self.rows += size
        self.missing += size - found
        self.fingerprint = (self.fingerprint + int((hashes * row_marks).sum())) % 2**64
        return hashes

    def skip(self, size: int, row_marks: Any) -> None:
        """Add a block in which the column is missing."""
        self.update(pa.nulls(size, pa.binary()), True, row_marks)

    @property
    def kinds(self) -> frozenset[str]:
        """What the cells were so far."""
        return frozenset([*self.numbers, *([TEXT] if self.texts else [])])

    def _add(self, part: Cells) -> Any:
        salt = _SALTS[part.kind]
        if part.texts is None:
            numbers = self.numbers.setdefault(part.kind, Numbers(self._exact_values))
            numbers.update(part.numbers)
            hashes = hash_numbers(part.numbers) ^ salt
            self.distinct.update(hashes)
            return hashes
        unlike, indices = part.texts.dictionary, part.texts.indices.to_numpy()
        counts = np.bincount(indices, minlength=len(unlike))
        if (counts == 0).any():
            # A part of a block has the dictionary of all of it.
            used = np.flatnonzero(counts)
            places = np.zeros(len(counts), dtype=np.int64)
            places[used] = np.arange(len(used))
            unlike, counts, indices = unlike.take(pa.array(used)), counts[used], places[indices]
        hashes = hash_texts(unlike) ^ salt
        self.texts = self.texts or Texts()
        self.texts.update(unlike, counts, hashes)
        self.distinct.update(hashes)
        return hashes[indices]


def row_marks(first: int, size: int) -> Any:
    """A number for each row that no other row has."""
    return mix(np.arange(first, first + size, dtype=np.uint64)) | np.uint64(1)


def number_label(value: Any) -> str:
    """A number as people write it: 3, not 3.0."""
    plain = value.item() if hasattr(value, "item") else value
    if isinstance(plain, float) and plain.is_integer() and abs(plain) < _LARGEST_WHOLE:
        return str(int(plain))
    return repr(plain)
