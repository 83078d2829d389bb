"""Finds out what the cells of a block are: numbers, points in time, or texts, each with the rows they stand in.

One column may hold several kinds: each gets statistics of its own, and the commonest names the column's type.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

NUMBER, TIME, TEXT = "number", "time", "text"
_PATTERNS = {
    NUMBER: r"(?i)^[-+]?(\d+\.?\d*(e[-+]?\d+)?|\.\d+(e[-+]?\d+)?|inf(inity)?)$",
    TIME: r"^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[-+]\d\d:?\d\d)?)?$",
}
_UNLIKE_LOOKED_AT = 1_000
_TRIED_FIRST = 16
_LONGEST_NESTED = 1_000


@dataclass(frozen=True)
class Cells:
    """Cells of one kind. `rows` are their positions in the block; None when they are all of it."""

    kind: str
    rows: Optional[Any]
    numbers: Any = None
    """int64 or float64; for times microseconds since 1970."""
    texts: Optional[pa.DictionaryArray] = None

    def __len__(self) -> int:
        return len(self.numbers) if self.texts is None else len(self.texts)


def cells_of(column: pa.Array, is_text: bool, seen: frozenset[str]) -> list[Cells]:
    """The cells that have a value. `seen` are the kinds that the column had before, which are looked for first."""
    rows = None
    if column.null_count:
        rows = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
        column = column.drop_null()
    if not len(column):
        return []
    return _read(column, rows, seen) if is_text else _typed(column, rows)


def _read(column: pa.Array, rows: Optional[Any], seen: frozenset[str]) -> list[Cells]:
    """Cells of a text file."""
    texts = column.view(pa.string())
    if TEXT not in seen:
        for kind in (TIME, NUMBER) if seen == {TIME} else (NUMBER, TIME):
            values = _numbers(texts) if kind == NUMBER else _times(texts)
            if values is not None:
                return _without_nan(kind, values, rows)
    encoded = column.dictionary_encode()
    return _sorted_out(encoded, rows, seen)


def _sorted_out(encoded: pa.DictionaryArray, rows: Optional[Any], seen: frozenset[str]) -> list[Cells]:
    """Cells that are not all of one kind; the kinds are told by the different values."""
    unlike = encoded.dictionary
    kinds = np.full(len(unlike), TEXT, dtype=object)
    values = np.zeros(len(unlike))
    looked_at = unlike if len(unlike) <= _UNLIKE_LOOKED_AT or seen - {TEXT} else unlike.slice(0, _UNLIKE_LOOKED_AT)
    # A text that is not UTF-8 is no number, and no pattern can be tried on it.
    trimmed = pc.utf8_trim_whitespace(pa.array([_plain(each) for each in looked_at.to_pylist()], pa.string()))
    for kind, pattern in _PATTERNS.items():
        matching = np.flatnonzero(pc.match_substring_regex(trimmed, pattern).to_numpy(zero_copy_only=False))
        if len(matching):
            found = trimmed.take(pa.array(matching))
            read = _numbers(found) if kind == NUMBER else _times(found)
            if read is not None:
                kinds[matching], values[matching] = kind, read
    indices = encoded.indices.to_numpy()
    if (kinds == TEXT).all():
        return [Cells(TEXT, rows, texts=encoded)]
    made = []
    for kind in (NUMBER, TIME, TEXT):
        places = np.flatnonzero(kinds[indices] == kind)
        if not len(places):
            continue
        where = places if rows is None else rows[places]
        if kind == TEXT:
            made.append(Cells(TEXT, where, texts=encoded.take(pa.array(places))))
        else:
            made.append(Cells(kind, where, numbers=values[indices[places]]))
    return made


def _plain(text: bytes) -> str:
    return text.decode("utf-8", "replace") if len(text) <= 64 else ""


def _cast(texts: pa.StringArray, kind: pa.DataType) -> Optional[pa.Array]:
    """None when a text is nothing of the kind. A few are tried first: Arrow words an error for each that is not."""
    try:
        if len(texts) > _TRIED_FIRST:
            texts.slice(0, _TRIED_FIRST).cast(kind)
        return texts.cast(kind)
    except pa.ArrowInvalid:
        return None


def _numbers(texts: pa.StringArray) -> Optional[Any]:
    for kind in (pa.int64(), pa.float64()):
        numbers = _cast(texts, kind)
        if numbers is not None:
            return numbers.to_numpy(zero_copy_only=False)
    if not _may_be_trimmed(texts[0]):
        return None
    try:
        trimmed = pc.replace_substring_regex(pc.utf8_trim_whitespace(texts), r"^\+", "")
        return trimmed.cast(pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        return None


def _may_be_trimmed(first: pa.StringScalar) -> bool:
    """Spaces around numbers, or a plus before them, are seen at once: they are there in every row or in none."""
    try:
        float(first.as_buffer().to_pybytes())
    except ValueError:
        return False
    return True


def _times(texts: pa.StringArray) -> Optional[Any]:
    """ISO 8601, with or without an offset."""
    for kind in (pa.timestamp("us"), pa.timestamp("us", "UTC")):
        times = _cast(texts, kind)
        if times is not None:
            return times.cast(pa.int64()).to_numpy(zero_copy_only=False)
    return None


def _without_nan(kind: str, values: Any, rows: Optional[Any]) -> list[Cells]:
    """Not a number is no value."""
    if values.dtype == np.float64:
        empty = np.isnan(values)
        if empty.any():
            places = np.flatnonzero(~empty)
            rows = places if rows is None else rows[places]
            values = values[places]
    return [Cells(kind, rows, numbers=values)] if len(values) else []


def _typed(column: pa.Array, rows: Optional[Any]) -> list[Cells]:
    """Cells of a column that has a type."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        # Its values may repeat in a file's own dictionary.
        return _typed(column.cast(kind.value_type), rows)
    if pa.types.is_integer(kind) and kind != pa.uint64():
        return [Cells(NUMBER, rows, numbers=column.cast(pa.int64()).to_numpy(zero_copy_only=False))]
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind) or kind == pa.uint64():
        return _without_nan(NUMBER, column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), rows)
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        times = column.cast(pa.timestamp("us", kind.tz if pa.types.is_timestamp(kind) else None), safe=False)
        return [Cells(TIME, rows, numbers=times.cast(pa.int64()).to_numpy(zero_copy_only=False))]
    return [Cells(TEXT, rows, texts=_as_texts(column).dictionary_encode())]


def _as_texts(column: pa.Array) -> pa.Array:
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return column
    if pa.types.is_boolean(kind) or pa.types.is_time(kind) or pa.types.is_string_view(kind):
        return column.cast(pa.string())
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return column.cast(pa.binary())
    return pa.array([_shown(value)[:_LONGEST_NESTED] for value in column.to_pylist()], pa.string())


def _shown(value: object) -> str:
    """A list or a record as JSON."""
    return json.dumps(value, default=str, ensure_ascii=False)


def label(text: Any) -> str:
    """A cell's text for people."""
    return text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
