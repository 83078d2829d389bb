"""How columns go together: correlations between all of them, and what each of them tells about the target.

Computed on the sample of rows, which is the whole table as long as that is small.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Optional, Sequence

import numpy as np
import pyarrow as pa

from smalt_profile.cells import NUMBER, TEXT, TIME, cells_of, label
from smalt_profile.variables import BOOLEAN, DATE, INTEGER, MOST_CATEGORIES, NUMERIC, Variable

_BINS = 16
_FEWEST_ROWS = 20
_FEWEST_A_CLASS = 4
_MOST_SHARED = 1_000
# Whole numbers of so few values are classes when they are the target.
MOST_CLASSES = 20


@dataclass(frozen=True)
class Correlations:
    """Pearson's coefficients of numeric columns, from the rows in which both have a value; NaN where none can be told."""

    names: tuple[str, ...]
    matrix: Any

    def strongest(self, most: int) -> list[tuple[str, str, float]]:
        """Pairs by the size of their coefficient."""
        first, second = np.triu_indices(len(self.names), 1)
        values = self.matrix[first, second]
        known = np.flatnonzero(~np.isnan(values))
        order = known[np.argsort(-np.abs(values[known]), kind="stable")][:most]
        return [(self.names[first[each]], self.names[second[each]], float(values[each])) for each in order]


@dataclass(frozen=True)
class Association:
    """What one column tells about the target; measures that make no sense for the two are None."""

    name: str
    pearson: Optional[float] = None
    """Two numbers: how near they are to a line, -1 to 1."""
    spearman: Optional[float] = None
    """Two numbers: how near they are to rising or falling together, -1 to 1."""
    correlation_ratio: Optional[float] = None
    """A number and classes: how much of the number's spread the classes explain (eta), 0 to 1."""
    area_under_curve: Optional[float] = None
    """A number and two classes: how well a threshold on the number tells them apart, 0.5 to 1."""
    cramers_v: Optional[float] = None
    """Classes and classes, a missing value being one: 0 to 1."""
    mutual_information: Optional[float] = None
    """In bits, numbers cut into 16 bins of equal size."""
    information_share: Optional[float] = None
    """The same as a share of what there is to know about the target: 0 to 1."""

    @property
    def strength(self) -> float:
        """The largest of the measures from 0 to 1."""
        return max(
            abs(self.pearson or 0.0),
            abs(self.spearman or 0.0),
            self.correlation_ratio or 0.0,
            2 * ((self.area_under_curve or 0.5) - 0.5),
            self.cramers_v or 0.0,
            self.information_share or 0.0,
        )


@dataclass(frozen=True)
class SampleColumn:
    """A column of the sample: numbers with NaN for no value, or classes from 0 with -1 for no value."""

    variable: Variable
    numbers: Any = None
    classes: Any = None
    labels: tuple[str, ...] = ()


def sample_column(variable: Variable, cells: pa.Array, is_text: bool) -> SampleColumn:
    """The cells of the sample as what the whole column turned out to be."""
    if variable.kind in NUMERIC or variable.kind == DATE:
        numbers = np.full(len(cells), np.nan)
        kind = TIME if variable.kind == DATE else NUMBER
        for part in cells_of(cells, is_text, frozenset([kind, *variable.other_kinds])):
            if part.kind == kind:
                numbers[slice(None) if part.rows is None else part.rows] = part.numbers
        return SampleColumn(variable, numbers=numbers)
    classes = np.full(len(cells), -1, dtype=np.int64)
    labels: tuple[str, ...] = ()
    for part in cells_of(cells, is_text, frozenset([TEXT, *variable.other_kinds])):
        if part.texts is not None:
            unlike = [label(each) for each in part.texts.dictionary.to_pylist()]
            labels = tuple(sorted(set(unlike)))
            places = {each: number for number, each in enumerate(labels)}
            codes = np.array([places[each] for each in unlike], dtype=np.int64)
            where = slice(None) if part.rows is None else part.rows
            classes[where] = codes[part.texts.indices.to_numpy()]
    return SampleColumn(variable, classes=classes, labels=labels)


def correlations(columns: Sequence[SampleColumn]) -> Optional[Correlations]:
    """Between numeric and boolean columns; None for fewer than two."""
    usable = [each for each in columns if _is_correlated(each.variable)]
    if len(usable) < 2:
        return None
    values = np.column_stack([_as_numbers(each) for each in usable])
    return Correlations(tuple(each.variable.name for each in usable), pearson_matrix(values))


def _is_correlated(variable: Variable) -> bool:
    return variable.kind in (*NUMERIC, BOOLEAN) and variable.distinct > 1


def _as_numbers(column: SampleColumn) -> Any:
    if column.numbers is not None:
        return column.numbers
    return np.where(column.classes < 0, np.nan, column.classes)


def pearson_matrix(values: Any) -> Any:
    """Coefficients of every two columns from the rows in which both are finite."""
    values = np.where(np.isfinite(values), values, np.nan)
    with np.errstate(all="ignore"):
        known = ~np.isnan(values)
        counts = known.sum(axis=0)
        filled = np.where(known, values, 0.0)
        # Centred and scaled first, so that sums of squares neither cancel nor overflow.
        largest = np.abs(filled).max(axis=0, initial=0.0)
        filled = filled / np.where(largest > 0, largest, 1.0)
        mean = filled.sum(axis=0) / np.maximum(counts, 1)
        centred = np.where(known, filled - mean, 0.0)
        mask = known.astype(np.float64)
        both = mask.T @ mask
        sums = centred.T @ mask
        squares = (centred * centred).T @ mask
        products = centred.T @ centred
        covariance = products - sums * sums.T / both
        spread = squares - sums * sums / both
        matrix = covariance / np.sqrt(spread * spread.T)
    usable = (both >= 3) & (spread > 1e-24 * squares) & (spread.T > 1e-24 * squares.T)
    return np.clip(np.where(usable, matrix, np.nan), -1.0, 1.0)


def target_is_classes(target: Variable) -> bool:
    """Whether the target is predicted as a class, or else as a number."""
    if target.kind == INTEGER:
        return target.distinct <= MOST_CLASSES
    return target.kind not in NUMERIC and target.kind != DATE and target.distinct <= MOST_CATEGORIES * 20


def associations(columns: Sequence[SampleColumn], target: SampleColumn) -> list[Association]:
    """What every other column tells about the target, the strongest first."""
    wanted = [each for each in columns if each.variable.name != target.variable.name and each.variable.distinct > 0]
    if target_is_classes(target.variable):
        classes = _codes(target)
        made = [_with_classes(each, classes) for each in wanted]
    else:
        made = [_with_number(each, _as_numbers(target)) for each in wanted]
    return sorted(made, key=lambda each: (-each.strength, each.name))


def _codes(column: SampleColumn) -> Any:
    """Classes from 0, -1 for no value."""
    if column.classes is not None:
        return column.classes
    known = np.isfinite(column.numbers)
    codes = np.full(len(known), -1, dtype=np.int64)
    codes[known] = np.unique(column.numbers[known], return_inverse=True)[1]
    return codes


def _with_classes(column: SampleColumn, target: Any) -> Association:
    told = target >= 0
    name = column.variable.name
    if np.count_nonzero(told) < _FEWEST_ROWS:
        return Association(name)
    classes = target[told]
    if column.numbers is None:
        codes = _few(column.classes[told])
        information, share = _information(codes, classes)
        return Association(
            name, cramers_v=cramers_v(codes, classes), mutual_information=information, information_share=share
        )
    numbers = column.numbers[told]
    information, share = _information(_binned(numbers), classes)
    known = np.isfinite(numbers)
    area = None
    if np.array_equal(np.unique(classes[known]), [0, 1]):
        area = area_under_curve(numbers[known], classes[known] == 1)
        area = max(area, 1 - area)
    return Association(
        name,
        correlation_ratio=correlation_ratio(numbers[known], classes[known]),
        area_under_curve=area,
        mutual_information=information,
        information_share=share,
    )


def _with_number(column: SampleColumn, target: Any) -> Association:
    told = np.isfinite(target)
    name = column.variable.name
    if np.count_nonzero(told) < _FEWEST_ROWS:
        return Association(name)
    goal = target[told]
    if column.numbers is None:
        codes = _few(column.classes[told])
        information, share = _information(codes, _binned(goal))
        known = codes >= 0
        ratio = correlation_ratio(goal[known], codes[known])
        return Association(name, correlation_ratio=ratio, mutual_information=information, information_share=share)
    numbers = column.numbers[told]
    information, share = _information(_binned(numbers), _binned(goal))
    known = np.isfinite(numbers)
    pearson = pearson_matrix(np.column_stack([numbers[known], goal[known]]))[0, 1]
    ranks = np.column_stack([_ranks(numbers[known]), _ranks(goal[known])])
    spearman = pearson_matrix(ranks)[0, 1] if len(ranks) else np.nan
    return Association(
        name,
        pearson=_known(pearson),
        spearman=_known(spearman),
        mutual_information=information,
        information_share=share,
    )


def _few(codes: Any) -> Any:
    """Classes that rows share. Texts that hardly repeat tell rows apart, not targets: only whether there is one counts."""
    unlike = len(np.unique(codes))
    if unlike <= _MOST_SHARED and unlike * _FEWEST_A_CLASS <= len(codes):
        return codes
    return np.where(codes < 0, -1, 0)


def _known(value: float) -> Optional[float]:
    return None if math.isnan(value) else float(value)


def _ranks(values: Any) -> Any:
    """From 1, equal values sharing the mean of theirs."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts - 1) / 2)[places]


def area_under_curve(numbers: Any, is_positive: Any) -> float:
    """The chance that a positive row has the larger number, equal ones counting half."""
    ranks = _ranks(numbers)
    positive = int(np.count_nonzero(is_positive))
    negative = len(numbers) - positive
    return float((ranks[is_positive].sum() - positive * (positive + 1) / 2) / (positive * negative))


def correlation_ratio(numbers: Any, classes: Any) -> Optional[float]:
    """The root of the share of variance that lies between the classes, corrected for the number of classes."""
    used, places = np.unique(classes, return_inverse=True)
    size, groups = len(numbers), len(used)
    if groups < 2 or size <= groups:
        return None
    with np.errstate(all="ignore"):
        scaled = numbers / (np.abs(numbers).max() or 1.0)
        away = scaled - scaled.mean()
        total = float(away @ away)
        if total <= 1e-24 * size:
            return None
        sums = np.bincount(places, weights=away)
        between = float((sums * sums / np.bincount(places)).sum())
    # Classes at random explain (groups - 1) / (size - 1) of it.
    corrected = 1 - (1 - between / total) * (size - 1) / (size - groups)
    return math.sqrt(min(1.0, max(0.0, corrected)))


def cramers_v(first: Any, second: Any) -> Optional[float]:
    """Corrected for what tables of that size show by chance (Bergsma)."""
    table = _table(first, second)
    size = table.sum()
    rows, columns = table.shape
    if rows < 2 or columns < 2 or size < 2:
        return None
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / size
    phi = float(((table - expected) ** 2 / expected).sum()) / size
    corrected = max(0.0, phi - (rows - 1) * (columns - 1) / (size - 1))
    least = min(rows - (rows - 1) ** 2 / (size - 1), columns - (columns - 1) ** 2 / (size - 1)) - 1
    return math.sqrt(min(1.0, corrected / least)) if least > 0 else None


def _information(first: Any, second: Any) -> tuple[Optional[float], Optional[float]]:
    """Mutual information in bits, corrected for what chance shows (Miller and Madow), and its share of the second's
    entropy."""
    table = _table(first, second)
    size = table.sum()
    if not size:
        return None, None
    entropy = _entropy(table.sum(axis=0) / size)
    shared = _entropy(table.sum(axis=1) / size) + entropy - _entropy(table.ravel() / size)
    filled = [np.count_nonzero(each) for each in (table.sum(axis=1), table.sum(axis=0), table)]
    by_chance = (filled[2] - filled[0] - filled[1] + 1) / (2 * size * math.log(2))
    information = min(max(0.0, shared - by_chance), entropy)
    return float(information), float(information / entropy) if entropy > 0 else None


def _table(first: Any, second: Any) -> Any:
    rows, row_places = np.unique(first, return_inverse=True)
    columns, column_places = np.unique(second, return_inverse=True)
    flat = np.bincount(row_places * len(columns) + column_places, minlength=len(rows) * len(columns))
    return flat.reshape(len(rows), len(columns)).astype(np.float64)


def _entropy(shares: Any) -> float:
    present = shares[shares > 0]
    return float(-(present * np.log2(present)).sum())


def _binned(numbers: Any) -> Any:
    """Bins of equal size; few different values are their own bins. No value is a bin, -1."""
    bins = np.full(len(numbers), -1, dtype=np.int64)
    known = np.isfinite(numbers)
    values = numbers[known]
    if not len(values):
        return bins
    unlike = np.unique(values)
    if len(unlike) <= _BINS:
        bins[known] = np.searchsorted(unlike, values)
    else:
        edges = np.unique(np.quantile(values, np.linspace(0, 1, _BINS + 1)[1:-1]))
        bins[known] = np.searchsorted(edges, values, side="right")
    return bins
