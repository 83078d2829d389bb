"""Example rows of a model, for documents, errors and the page to try."""

from __future__ import annotations

import json
from typing import Any

from smalt_scorer.models.schema import ANY, BOOLEAN, DATETIME, INTEGER, NUMBER, STRING, Input, Schema

_VALUES = {INTEGER: 1, NUMBER: 1.0, BOOLEAN: True, STRING: "text", DATETIME: "2024-05-01T12:00:00", ANY: 1.0}
_UNKNOWN_WIDTH, _MOST_OF_A_SIZE, _MOST_SHOWN = 2, 16, 20


def row(schema: Schema) -> Any:
    """One row: a list of values, an object by column, or nested lists."""
    if schema.is_named and (len(schema.inputs) > 1 or schema.inputs[0].is_scalar):
        return record(schema)
    only = schema.inputs[0]
    return value(only) if only.shape == () else nested(only.shape, _VALUES[only.type])


def record(schema: Schema) -> dict[str, Any]:
    """One row as an object."""
    return {each.name: value(each) for each in schema.inputs}


def listed(schema: Schema) -> list[Any]:
    """One row as a list of values."""
    return [value(each) for each in schema.inputs] if schema.is_named else [row(schema)]


def value(column: Input) -> Any:
    """An example of a column's values."""
    made = _VALUES[column.type]
    return made if column.is_scalar else nested(column.shape, made)


def nested(shape: tuple[int, ...], leaf: Any) -> Any:
    """Lists of a shape; a free dimension is short."""
    if not shape:
        return leaf
    size = _UNKNOWN_WIDTH if shape[0] < 0 else shape[0] if len(shape) == 1 else min(shape[0], _MOST_OF_A_SIZE)
    return [nested(shape[1:], leaf) for _ in range(size)]


def rows_text(schema: Schema) -> str:
    """Rows as JSON text, shortened where there are many values."""
    found = row(schema)
    if isinstance(found, list) and len(found) > _MOST_SHOWN:
        return "[[" + ", ".join(json.dumps(each) for each in found[:3]) + ", …]]"
    text = json.dumps([found])
    return text if len(text) <= 400 else text[:397] + "…"
