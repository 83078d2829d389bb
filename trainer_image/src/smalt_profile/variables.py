"""A column's statistics, finished: what is shown, stored and judged."""

from __future__ import annotations

import datetime
import math
from dataclasses import dataclass, field
from typing import Any, Optional

from smalt_profile.cells import TEXT, TIME
from smalt_profile.columns import Column, Numbers, number_label
from smalt_profile.quantiles import equal_edges

SHARES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
INTEGER, REAL, BOOLEAN, DATE, CATEGORY, WORDS, EMPTY = (
    "integer",
    "number",
    "boolean",
    "date",
    "category",
    "text",
    "empty",
)
NUMERIC = (INTEGER, REAL)
MOST_CATEGORIES = 50
_BINS = 30
_LARGEST_SPREAD = 2.0**50
_TOP = 10
_LONGEST = 100
_TRUTHS = frozenset({"true", "false", "yes", "no", "t", "f", "y", "n"})


@dataclass(frozen=True)
class Variable:
    """One column of the profile. Numbers of a date are microseconds since 1970."""

    name: str
    kind: str
    rows: int
    missing: int
    distinct: int
    distinct_error: float
    """One standard error as a share of `distinct`; 0 when it is exact."""
    other_kinds: dict[str, int] = field(default_factory=dict)
    """Cells of another kind than most, by kind; statistics are of the others."""
    lowest: Optional[float] = None
    highest: Optional[float] = None
    mean: Optional[float] = None
    standard_deviation: Optional[float] = None
    variance: Optional[float] = None
    skewness: Optional[float] = None
    kurtosis: Optional[float] = None
    zeros: int = 0
    negative: int = 0
    infinite: int = 0
    quantiles: dict[float, float] = field(default_factory=dict)
    rank_error: float = 0.0
    edges: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()
    is_rising: bool = False
    lengths: Optional[tuple[int, float, int]] = None
    """Shortest, mean and longest text in characters."""
    top: tuple[tuple[str, int], ...] = ()
    top_error: int = 0
    """What a count in `top` can be too low by."""

    @property
    def count(self) -> int:
        """Rows with a value."""
        return self.rows - self.missing

    @property
    def missing_share(self) -> float:
        return self.missing / self.rows if self.rows else 0.0

    @property
    def is_numeric(self) -> bool:
        return self.kind in NUMERIC

    @property
    def is_exact(self) -> bool:
        """Whether nothing of it is approximated."""
        return not (self.distinct_error or self.rank_error or self.top_error)


def finish(column: Column) -> Variable:
    """The statistics of a column when all rows have gone by."""
    sizes = {kind: each.count for kind, each in column.numbers.items()}
    if column.texts:
        sizes[TEXT] = column.texts.count
    common = {
        "name": column.name,
        "rows": column.rows,
        "missing": column.missing,
        # An estimate may be over what there can be.
        "distinct": min(column.distinct.count, column.rows - column.missing),
        "distinct_error": column.distinct.relative_error,
    }
    if not sizes:
        return Variable(kind=EMPTY, **common)  # type: ignore[arg-type]
    main = max(sizes, key=lambda kind: sizes[kind])
    common["other_kinds"] = {kind: size for kind, size in sizes.items() if kind != main}
    if main == TEXT:
        return _of_texts(column, common)
    return _of_numbers(column.numbers[main], main, common)


def _of_texts(column: Column, common: dict[str, object]) -> Variable:
    texts = column.texts
    assert texts
    frequent = texts.frequent
    top = tuple((_short(value), count) for value, count in frequent.top(_TOP))
    distinct = int(column.distinct.count)
    kind = WORDS
    if distinct <= MOST_CATEGORIES:
        values = {value.lower() for value, _ in frequent.top(3)}
        kind = BOOLEAN if distinct <= 2 and values <= _TRUTHS else CATEGORY
    lengths = (texts.shortest, texts.mean_length, texts.longest)
    return Variable(kind=kind, lengths=lengths, top=top, top_error=frequent.error, **common)  # type: ignore[arg-type]


def _of_numbers(numbers: Numbers, main: str, common: dict[str, object]) -> Variable:
    kind = DATE if main == TIME else INTEGER if numbers.are_whole and not numbers.infinite else REAL
    moments = numbers.moments
    top: tuple[tuple[str, int], ...] = ()
    if numbers.frequent is not None and kind != DATE:
        top = tuple(numbers.frequent.top(_TOP))
    elif numbers.frequent is not None:
        top = tuple((date_label(float(value)), count) for value, count in numbers.frequent.top(_TOP))
    made: dict[str, object] = {
        "zeros": numbers.zeros if kind != DATE else 0,
        "negative": numbers.negative if kind != DATE else 0,
        "infinite": numbers.infinite,
        "is_rising": numbers.are_rising,
        "top": top,
    }
    if moments.count:
        shares = numbers.quantiles.at(SHARES)
        edges = _edges(numbers, kind)
        made |= {
            "lowest": numbers.lowest_finite,
            "highest": numbers.highest_finite,
            "mean": moments.mean if math.isfinite(moments.mean) else None,
            "standard_deviation": moments.standard_deviation,
            "quantiles": dict(zip(SHARES, shares)),
            "rank_error": numbers.quantiles.rank_error,
            "edges": tuple(float(each) for each in edges),
            "counts": tuple(numbers.quantiles.histogram(edges, moments.count)),
        }
        if kind != DATE:
            made |= {"variance": moments.variance, "skewness": moments.skewness, "kurtosis": moments.kurtosis}
    return Variable(kind=kind, **common, **made)  # type: ignore[arg-type]


def _edges(numbers: Numbers, kind: str) -> Any:
    lowest, highest = numbers.lowest_finite, numbers.highest_finite
    spread = highest - lowest
    if kind == INTEGER and 0 < spread < _LARGEST_SPREAD:
        # Every bin has as many whole numbers as the others, or bars would differ for that alone.
        wide = math.ceil((spread + 1) / _BINS)
        bins = math.ceil((spread + 1) / wide)
        return equal_edges(lowest - 0.5, lowest - 0.5 + bins * wide, bins)
    return equal_edges(lowest, highest, _BINS if spread > 0 else 1)


def date_label(microseconds: float) -> str:
    """A point in time as ISO 8601, without the parts that are zero."""
    try:
        moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=microseconds)
    except OverflowError:
        return f"{microseconds / 1e6:.0f} s after 1970"
    text = moment.isoformat(sep=" ", timespec="seconds")
    return text[: -len(" 00:00:00")] if text.endswith(" 00:00:00") else text


def value_label(variable: Variable, value: Optional[float]) -> str:
    """A statistic of the variable for people."""
    if value is None:
        return "–"
    return date_label(value) if variable.kind == DATE else short_number(value)


def short_number(value: float) -> str:
    """Four digits that count; whole numbers as they are, with spaces between thousands."""
    if float(value).is_integer() and abs(value) < 1e12:
        return f"{int(value):,}".replace(",", " ")
    return number_label(float(f"{value:.4g}"))


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
