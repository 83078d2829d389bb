"""A few rows of a table as they are, chosen by chance: what a model that was trained on the table can be tried with.

Plain JSON, columns with a type and their values; null is no value. A row with a long text is left out, and of a table
whose rows are wide there are fewer: what is kept is bounded.
"""

from __future__ import annotations

import json
import math
from typing import Any, Optional, Sequence

import numpy as np
import pyarrow as pa

from smalt_profile.associations import SampleColumn
from smalt_profile.cells import label
from smalt_profile.variables import DATE, INTEGER, NUMERIC

VERSION = 1
MOST_ROWS = 1_000
MOST_BYTES = 2 << 20
LONGEST_TEXT = 200


def table_sample(
    rows: pa.Table, columns: Sequence[SampleColumn], is_text: bool, of: int, target: Optional[str] = None
) -> str:
    """At most MOST_ROWS of `rows`, which are a sample of `of` themselves, as JSON."""
    kept = _chosen(rows.num_rows)
    made = []
    for position, column in enumerate(columns):
        kind, values = _values(rows.column(position), column, is_text)
        made.append({"name": column.variable.name, "type": kind, "values": [values[each] for each in kept]})
    short = [at for at in range(len(kept)) if all(_is_short(each["values"][at]) for each in made)]
    while True:
        content = _encoded(made, short, {"rows": len(short), "of": of, "target": target})
        if len(content) <= MOST_BYTES or not short:
            return content.decode("utf-8")
        # They are in the table's order, so that every other one is as good a sample as all.
        short = short[::2] if len(short) > 1 else []


def _chosen(rows: int) -> list[int]:
    """The same rows each time."""
    if rows <= MOST_ROWS:
        return list(range(rows))
    return sorted(np.random.default_rng(21).choice(rows, MOST_ROWS, replace=False).tolist())


def _encoded(columns: Sequence[dict[str, Any]], kept: Sequence[int], told: dict[str, Any]) -> bytes:
    cut = [{**each, "values": [each["values"][at] for at in kept]} for each in columns]
    document = {"version": VERSION, **told, "columns": cut}
    return json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8", "replace")


def _is_short(value: Any) -> bool:
    return not isinstance(value, str) or len(value) <= LONGEST_TEXT


def _values(cells: Any, column: SampleColumn, is_text: bool) -> tuple[str, list[Any]]:
    """The column's type, as who reads the table meets it, and its values."""
    variable = column.variable
    if variable.kind in NUMERIC and not variable.other_kinds:
        numbers = [each if math.isfinite(each) else None for each in column.numbers.tolist()]
        if variable.kind == INTEGER:
            return "integer", [each if each is None else int(each) for each in numbers]
        return "number", numbers
    values = cells.to_pylist()
    if pa.types.is_boolean(cells.type):
        return "boolean", values
    texts = [None if each is None else label(each) for each in values]
    if is_text and all(each is None or each in _TRUTHS for each in texts) and any(texts):
        return "boolean", [None if each is None else each.lower() == "true" for each in texts]
    return "datetime" if variable.kind == DATE and not is_text else "string", texts


_TRUTHS = frozenset({"True", "False", "true", "false", "TRUE", "FALSE"})
