"""POST /invocations: the bodies that MLflow's own scoring server takes, and its answer."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

from smalt_scorer.models.loaded import Batch, LoadedModel
from smalt_scorer.models.schema import ANY, BOOLEAN, INTEGER, NUMBER, Schema
from smalt_scorer.protocols.question import BadRequest, Question, Reply, UnsupportedType
from smalt_scorer.protocols.rows import batch_of, example, of_split
from smalt_scorer.protocols.score import rows_or_columns
from smalt_scorer.protocols.texts import parsed, written

KEYS = ("dataframe_split", "dataframe_records", "instances", "inputs")
_BOOLEANS = {"true": True, "false": False}
_MISSING = frozenset(
    {"", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "<NA>", "n/a", "#N/A"}
)  # as pandas.read_csv


def question(body: bytes, content_type: str, model: LoadedModel) -> Question:
    """One of the four JSON forms, or CSV with a header. BadRequest says what is wrong, UnsupportedType what is read."""
    kind, _, parameters = content_type.partition(";")
    kind = kind.strip().lower()
    if kind == "text/csv":
        batch = _of_csv(body, parameters, model.schema)
    elif kind == "application/json":
        batch = _of_json(body, model.schema)
    else:
        raise UnsupportedType(f"Content-Type is '{content_type[:100]}': send application/json or text/csv")
    return Question(batch, model.usual, lambda outputs: reply(outputs, model.usual))


def reply(outputs: Mapping[str, Any], wanted: tuple[str, ...]) -> Reply:
    """`{"predictions": […]}`; with several outputs, an object for each row."""
    if len(wanted) == 1:
        return Reply(written({"predictions": outputs[wanted[0]]}))
    rows = zip(*(outputs[name].tolist() for name in wanted), strict=True)
    return Reply(written({"predictions": [dict(zip(wanted, row, strict=True)) for row in rows]}))


def _of_json(body: bytes, schema: Schema) -> Batch:
    found = parsed(body) if body else None
    if not isinstance(found, dict):
        raise BadRequest(f"the body is no object with one of {', '.join(KEYS)}")
    if found.get("params"):
        raise BadRequest("'params' is not read: the model has no parameters of a prediction; leave it out")
    keys = [each for each in KEYS if each in found]
    if len(keys) != 1:
        raise BadRequest(f"the body must have exactly one of {', '.join(KEYS)}, and has {', '.join(keys) or 'none'}")
    value, place = found[keys[0]], f"'{keys[0]}'"
    if keys[0] == "dataframe_split":
        return _of_dataframe(value, schema, place)
    if keys[0] == "dataframe_records" and not (
        isinstance(value, list) and all(isinstance(each, dict) for each in value)
    ):
        raise BadRequest(f"{place} is no list of objects, one for each row")
    return rows_or_columns(value, schema, place)


def _of_dataframe(value: Any, schema: Schema, place: str) -> Batch:
    if not isinstance(value, dict) or "data" not in value:
        raise BadRequest(f'{place} is no object with "columns" and "data"')
    if value.get("columns") is None:
        return batch_of(value["data"], schema, f"{place}.data")
    return of_split(value["columns"], value["data"], schema, place)


def _of_csv(body: bytes, parameters: str, schema: Schema) -> Batch:
    """A header with the columns' names, then rows; a model without names takes any header."""
    charset = next((part.partition("=")[2] for part in parameters.split(";") if "charset=" in part.lower()), "utf-8")
    if charset.strip().strip('"').lower() not in ("utf-8", "utf8", "us-ascii"):
        raise UnsupportedType(f"charset is '{charset.strip()[:40]}': send UTF-8")
    try:
        lines = [line for line in csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True) if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadRequest(f"the body is no CSV: {error}") from error
    if len(lines) < 2:
        raise BadRequest(
            f"the body must have a line with the columns' names, and at least one row; the model takes {example(schema)}"
        )
    header, rows = lines[0], lines[1:]
    kinds = _kinds(header, schema)
    wrong = next((number for number, row in enumerate(rows) if len(row) != len(header)), None)
    if wrong is not None:
        raise BadRequest(f"row {wrong} of the body has {len(rows[wrong])} values, and there are {len(header)} columns")
    values = [[_cell(text, kind) for text, kind in zip(row, kinds, strict=True)] for row in rows]
    return of_split(header, values, schema, "the body")


def _kinds(header: list[str], schema: Schema) -> list[str]:
    """The type of each column; a column that the model does not know is told of later."""
    if not schema.is_named:
        return [schema.inputs[0].type] * len(header)
    known = {each.name: each.type for each in schema.inputs}
    return [known.get(name, ANY) for name in header]


def _cell(text: str, kind: str) -> Any:
    """What a cell says, by the type of its column; a text that is not of it stays one, so that it is named."""
    if text in _MISSING:
        return None
    if kind == BOOLEAN:
        return _BOOLEANS.get(text.lower(), text)
    if kind not in (INTEGER, NUMBER, ANY):
        return text
    for convert in (int, float):
        try:
            return convert(text)
        except ValueError:
            continue  # the next kind of number, and then a text
    return text
