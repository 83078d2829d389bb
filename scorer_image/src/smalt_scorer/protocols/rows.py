"""Rows of JSON values, checked against a model's schema and put into arrays.

The common case, a table of numbers, is checked by numpy and a set of types; only when that fails is every value looked
at by itself, to name the row, the column and the type that is wanted.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy

from smalt_scorer.models.loaded import Batch
from smalt_scorer.models.schema import ANY, BOOLEAN, DATETIME, INTEGER, NUMBER, STRING, Input, Schema
from smalt_scorer.protocols.question import BadRequest
from smalt_scorer.protocols.texts import is_missing, shown

_NUMBERS = frozenset({int, float, type(None)})
_WORDS = {
    INTEGER: "an integer",
    NUMBER: "a number",
    BOOLEAN: "true or false",
    STRING: "a text",
    DATETIME: "a time such as 2024-05-01T12:00:00",
    ANY: "a number, a text, true or false",
}


def batch_of(rows: Any, schema: Schema, place: str = "the body") -> Batch:
    """Rows as lists, as objects by column, or single values for a model of one column. BadRequest says what is wrong."""
    if not isinstance(rows, list):
        raise BadRequest(f"{place} is no list of rows: send {example(schema)}")
    if not rows:
        raise BadRequest(f"{place} has no rows: send at least one")
    if isinstance(rows[0], dict):
        return of_columns(_by_column(rows, schema, place), schema, len(rows))
    if schema.width is None or len(schema.columns) == 0:
        if len(schema.inputs) > 1:
            raise BadRequest(
                f"{place} must have rows as objects with {_listed(schema.names)}, because the model has several inputs"
            )
        return checked_rows(Batch((_tensor(rows, schema.inputs[0], place),), len(rows)), schema)
    if schema.width == 1 and not isinstance(rows[0], list):
        rows = [[each] for each in rows]
    return checked_rows(_of_lists(rows, schema, place), schema)


def of_split(columns: Any, rows: Any, schema: Schema, place: str) -> Batch:
    """Rows as lists with the names of their columns apart, in any order, as pandas writes them (`orient="split"`)."""
    if not isinstance(columns, list):
        raise BadRequest(f"{place}.columns is no list of names")
    names = [str(each) for each in columns]
    if not isinstance(rows, list) or not all(isinstance(each, list) for each in rows):
        raise BadRequest(f"{place}.data is no list of rows: send {example(schema)}")
    wrong = next((number for number, each in enumerate(rows) if len(each) != len(names)), None)
    if wrong is not None:
        raise BadRequest(
            f"row {wrong} of {place}.data has {len(rows[wrong])} values, and there are {len(names)} columns"
        )
    if not schema.is_named or schema.names == tuple(names):
        return batch_of(rows, schema, f"{place}.data")
    check_names(names, schema, place)
    if not rows:
        raise BadRequest(f"{place}.data has no rows: send at least one")
    where = [names.index(name) for name in schema.names]
    return batch_of([[row[each] for each in where] for row in rows], schema, f"{place}.data")


def of_columns(columns: Mapping[str, Any], schema: Schema, count: int) -> Batch:
    """A list of values, a row each, for every input."""
    arrays = tuple(
        column_array(columns[each.name], each)
        if each.is_scalar
        else _tensor(columns[each.name], each, f"input '{each.name}'")
        for each in schema.inputs
    )
    return checked_rows(Batch(arrays, count), schema)


def by_name(found: Mapping[str, Any], schema: Schema, place: str) -> Batch:
    """`{"age": [31, 45], "city": ["Rome", "Oslo"]}`: all values of a column together."""
    if not schema.is_named and tuple(found) == schema.names:
        return batch_of(found[schema.names[0]], schema, f"{place}.{schema.names[0]}")
    check_names([str(each) for each in found], schema, place)
    columns = {name: values if isinstance(values, list) else [values] for name, values in found.items()}
    counts = {name: len(values) for name, values in columns.items()}
    if len(set(counts.values())) != 1 or 0 in counts.values():
        raise BadRequest(
            f"the columns of {place} must have as many values as each other, and at least one: they have "
            + ", ".join(f"{count} ('{name}')" for name, count in list(counts.items())[:10])
        )
    return of_columns(columns, schema, next(iter(counts.values())))


def check_names(names: Sequence[str], schema: Schema, place: str) -> None:
    """BadRequest for a column that the model does not know, one that is missing, and one that is there twice."""
    if not schema.is_named:
        raise BadRequest(
            f"{place} names columns, and the model was trained without names: send rows as lists, {example(schema)}"
        )
    known = set(schema.names)
    for name in names:
        if name not in known:
            raise BadRequest(
                f"{place} has a column '{name[:100]}', which the model does not know: it takes {_listed(schema.names)}"
            )
    if len(set(names)) != len(names):
        twice = next(name for name in names if list(names).count(name) > 1)
        raise BadRequest(f"{place} has column '{twice}' twice")
    missing = [each for each in schema.inputs if each.name not in set(names)]
    if missing:
        raise BadRequest(
            f"{place} has no column '{missing[0].name}' ({_WORDS[missing[0].type]}): the model takes {_listed(schema.names)}"
        )


def checked_rows(batch: Batch, schema: Schema) -> Batch:
    """The batch. BadRequest when the model was made for another number of rows."""
    fixed = next((each.fixed_rows for each in schema.inputs if each.fixed_rows), None)
    if fixed is not None and batch.rows != fixed:
        raise BadRequest(f"the model takes exactly {fixed} rows in a request, and got {batch.rows}")
    return batch


def column_array(values: Sequence[Any], column: Input, label: str | None = None) -> Any:
    """The values of one column as an array. BadRequest names the row."""
    label = label or f"column '{column.name}'"
    types = set(map(type, values))
    try:
        if types <= {float, int} and column.type == NUMBER and (column.is_nullable or float not in types):
            return numpy.array(values, dtype=column.array_type)
        if types == {str} and column.type == STRING:
            return numpy.array(values, dtype=object)
    except OverflowError:
        pass  # the value is named below
    for row, value in enumerate(values):
        _check(value, column, label, row)
    return _converted(values, column, types)


def example(schema: Schema) -> str:
    """A row of the model, in words of JSON."""
    from smalt_scorer.protocols.examples import rows_text

    return f'{{"data": {rows_text(schema)}}}'


def _of_lists(rows: list[Any], schema: Schema, place: str) -> Batch:
    columns = schema.columns
    for number, row in enumerate(rows):
        if not isinstance(row, list):
            raise BadRequest(f"row {number} of {place} is no list of values ({shown(row)}): send {example(schema)}")
        if len(row) != len(columns):
            raise BadRequest(
                f"row {number} of {place} has {len(row)} values, the model takes {_width_in_words(schema)}"
            )
    types = set(map(type, chain.from_iterable(rows)))
    if types <= _NUMBERS and _is_of_numbers(schema, types):
        try:
            array = numpy.array(rows, dtype=columns[0].array_type if len(schema.inputs) == 1 else "float64")
        except OverflowError:
            pass  # a number that no float holds: it is named below
        else:
            if all(each.is_nullable for each in schema.inputs) or not numpy.isnan(array).any():
                return Batch((array if schema.inputs[0].shape or len(columns) > 1 else array[:, 0],), len(rows))
    if len(schema.inputs) > 1:
        made = [column_array([row[place] for row in rows], each) for place, each in enumerate(columns)]
        return Batch(tuple(made), len(rows))
    return Batch((_alike(rows, schema.inputs[0]),), len(rows))


def _is_of_numbers(schema: Schema, types: set[type]) -> bool:
    """Whether one table of floats holds all that the model tells apart."""
    kinds = {each.type for each in schema.inputs}
    if len(schema.inputs) > 1:
        return kinds == {NUMBER} and not any(each.dtype for each in schema.inputs)
    return kinds <= {NUMBER, ANY} and (schema.inputs[0].type == NUMBER or bool(types - {type(None)}))


def _alike(rows: list[list[Any]], of: Input) -> Any:
    """A table without names, whose values are all of one kind."""
    labels = [f"value {number}" if of.shape else f"column '{of.name}'" for number in range(len(rows[0]))]
    columns = [
        column_array([row[place] for row in rows], Input(of.name, of.type, (), of.dtype, of.is_nullable), label)
        for place, label in enumerate(labels)
    ]
    if not of.shape:
        return columns[0]
    types = {each.dtype for each in columns}
    made = numpy.empty((len(rows), len(columns)), dtype=types.pop() if len(types) == 1 else object)
    for place, each in enumerate(columns):
        made[:, place] = each
    return made


def _by_column(rows: list[Any], schema: Schema, place: str) -> dict[str, list[Any]]:
    """Objects, turned into columns. BadRequest for a row that is none, or has other columns."""
    wanted = set(schema.names)
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise BadRequest(f"row {number} of {place} is no object ({shown(row)}), and the rows before it are")
        if row.keys() != wanted:
            check_names([str(each) for each in row], schema, f"row {number} of {place}")
    if not schema.is_named:
        check_names([str(each) for each in rows[0]], schema, f"row 0 of {place}")
    return {name: [row[name] for row in rows] for name in schema.names}


def _tensor(rows: Sequence[Any], wanted: Input, place: str) -> Any:
    """Rows that are lists of lists, of the shape that the model takes."""
    types = _leaf_types(rows)
    if not types <= _leaves(wanted):
        raise BadRequest(f"{place} has values that are not {_WORDS[wanted.type]}")
    try:
        dtype = wanted.array_type if wanted.type != ANY else ("object" if str in types else "float64")
        array = numpy.array(rows, dtype=dtype)
    except (ValueError, OverflowError, TypeError) as error:
        raise BadRequest(
            f"{place} must have rows of the shape {_shape(wanted.shape)} with {_WORDS[wanted.type]} in each place: {error}"
        ) from error
    return shaped(array, wanted, place)


def shaped(array: Any, wanted: Input, place: str) -> Any:
    """The array. BadRequest when its rows have another shape than the model takes."""
    given = array.shape[1:]
    if len(given) != len(wanted.shape) or any(
        want not in (-1, got) for want, got in zip(wanted.shape, given, strict=True)
    ):
        raise BadRequest(f"rows of {place} have the shape {_shape(given)}, the model takes {_shape(wanted.shape)}")
    return array


def _leaf_types(values: Any) -> set[type]:
    """The types of what is in nested lists, without recursion."""
    types: set[type] = set()
    waiting = [values]
    while waiting:
        found = waiting.pop()
        types |= set(map(type, found)) - {list}
        waiting += [each for each in found if type(each) is list]
    return types


def _leaves(wanted: Input) -> set[type]:
    missing: set[type] = {type(None)} if wanted.is_nullable else set()
    kinds: dict[str, set[type]] = {
        INTEGER: {int},
        NUMBER: {int, float} | missing,
        BOOLEAN: {bool},
        STRING: {str},
        DATETIME: {str},
        ANY: {int, float, str, bool} | missing,
    }
    return kinds[wanted.type]


def _check(value: Any, column: Input, label: str, row: int) -> None:
    why = _why_not(value, column)
    if why:
        raise BadRequest(f"row {row}, {label}: {why}, the model takes {_WORDS[column.type]}")


def _why_not(value: Any, column: Input) -> str | None:
    """What is wrong with a value of a column; None when nothing is."""
    if is_missing(value):
        return None if column.is_nullable else "it is missing"
    if not _is_of(value, column.type):
        return shown(value)
    if column.type == INTEGER and not _fits(int(value), column.array_type):
        return f"{shown(value)} beyond {numpy.dtype(column.array_type).itemsize * 8} bits"
    if isinstance(value, int) and column.type == NUMBER and not _is_finite(value):
        return f"{shown(value)} beyond what a float holds"
    return None


def _is_of(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind in (BOOLEAN, ANY)
    if kind == INTEGER:
        return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if kind == NUMBER:
        return isinstance(value, int | float)
    if kind == DATETIME:
        return isinstance(value, str) and _time(value) is not None
    return isinstance(value, str) if kind == STRING else kind == ANY and isinstance(value, int | float | str)


def _fits(value: int, dtype: str) -> bool:
    limits = numpy.iinfo(dtype)
    return int(limits.min) <= value <= int(limits.max)


def _is_finite(value: int) -> bool:
    try:
        float(value)
    except OverflowError:
        return False
    return True


def _time(text: str) -> datetime.datetime | None:
    """A time without a zone, in UTC when it had one, as numpy keeps it."""
    try:
        found = datetime.datetime.fromisoformat(text)
        return found.astimezone(datetime.UTC).replace(tzinfo=None) if found.tzinfo else found
    except (ValueError, OverflowError):
        return None


def _converted(values: Sequence[Any], column: Input, types: set[type]) -> Any:
    """Checked values as pandas would keep them: a missing text is NaN, as in a table that was read from a file."""
    holes = any(is_missing(each) for each in values)
    if column.type == INTEGER and not holes:
        return numpy.array([int(each) for each in values], dtype=column.array_type)
    if column.type == NUMBER or (column.type == INTEGER and holes):
        dtype = column.array_type if column.type == NUMBER else "float64"
        return numpy.array([numpy.nan if each is None else each for each in values], dtype=dtype)
    if column.type == DATETIME:
        times = [None if is_missing(each) else _time(each) for each in values]
        return numpy.array(times, dtype="datetime64[us]")
    if column.type == BOOLEAN and not holes:
        return numpy.array(values, dtype=bool)
    return _of_any(values, types)


def _of_any(values: Sequence[Any], types: set[type]) -> Any:
    if types <= _NUMBERS and types != {type(None)}:
        try:
            return numpy.array(values, dtype="int64" if types == {int} else "float64")
        except OverflowError:
            pass  # kept as Python's own integers
    if types == {bool}:
        return numpy.array(values, dtype=bool)
    made = numpy.empty(len(values), dtype=object)
    made[:] = [numpy.nan if each is None else each for each in values]
    return made


def _width_in_words(schema: Schema) -> str:
    width = len(schema.columns)
    return f"{width} ({_listed(schema.names)})" if schema.is_named and len(schema.inputs) > 1 else str(width)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:30]) + (f" and {len(names) - 30} more" if len(names) > 30 else "")


def _shape(shape: Sequence[int]) -> str:
    return "[" + ", ".join("any" if each < 0 else str(each) for each in shape) + "]"
