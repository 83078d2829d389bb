"""What a model takes and gives: names, types and shapes, from which requests are checked and documents are made.

It comes from `schema.json`, the registry's or the one beside the model, else from what the format says of itself (an ONNX graph, an MLflow
signature), else from what the fitted estimator remembers.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smalt_scorer.failures import Failure

INTEGER, NUMBER, BOOLEAN, STRING, DATETIME, ANY = "integer", "number", "boolean", "string", "datetime", "any"
# What profiles of training data call a column, and what MLflow signatures do.
_ALIASES = {
    "category": STRING,
    "text": STRING,
    "date": STRING,
    "empty": ANY,
    "long": INTEGER,
    "double": NUMBER,
    "float": NUMBER,
    "str": STRING,
    "bool": BOOLEAN,
}
TYPES = (INTEGER, NUMBER, BOOLEAN, STRING, DATETIME, ANY)
FILE = "schema.json"


@dataclass(frozen=True)
class Input:
    """One named input: `shape` is that of one row, () for a column; -1 in it is any size."""

    name: str
    type: str
    shape: tuple[int, ...] = ()
    dtype: str = ""
    """The numpy type that the model wants, where it has to be exact; else float64, int64, bool and object."""
    is_nullable: bool = True
    """Whether a value may be missing."""
    fixed_rows: int | None = None
    """The one number of rows that is taken, for a graph that was made for it."""

    @property
    def is_scalar(self) -> bool:
        """Whether a row has one value of it."""
        return math.prod(self.shape) == 1 and len(self.shape) <= 1

    @property
    def array_type(self) -> str:
        """The numpy type of its arrays."""
        return self.dtype or {INTEGER: "int64", NUMBER: "float64", BOOLEAN: "bool", DATETIME: "datetime64[us]"}.get(
            self.type, "object"
        )


@dataclass(frozen=True)
class Output:
    """One named output: `shape` is that of one row; `type` is `any` where only a prediction could tell."""

    name: str
    type: str
    shape: tuple[int, ...] = ()
    dtype: str = ""


@dataclass(frozen=True)
class Schema:
    """All inputs, in order. A model without column names has a single one, of as many values as a row has."""

    inputs: tuple[Input, ...]

    @property
    def is_named(self) -> bool:
        """Whether its columns have names, so that a row can be an object; a table as one tensor has none for them."""
        return len(self.inputs) > 1 or (self.inputs[0].is_scalar and self.inputs[0].name != UNNAMED)

    @property
    def width(self) -> int | None:
        """How many values a row has, when a row is a list of single values; -1 when any number; else None."""
        if len(self.inputs) > 1:
            return len(self.inputs) if all(each.is_scalar for each in self.inputs) else None
        shape = self.inputs[0].shape
        return 1 if not shape else shape[0] if len(shape) == 1 else None

    @property
    def columns(self) -> tuple[Input, ...]:
        """An input for each value of a row; those of a table without names are alike. Empty when a row is no list of values."""
        width = self.width
        return self.inputs if len(self.inputs) > 1 or width is None else self.inputs * max(width, 0)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(each.name for each in self.inputs)


# The name of the one input of a model that was fitted without names.
UNNAMED = "input-0"


def beside(artifact: Path) -> Schema | None:
    """The schema.json of an artifact, a folder or a file. Failure when it is none."""
    path = (artifact.parent if artifact.is_file() else artifact) / FILE
    return parsed(path.read_bytes()) if path.is_file() else None


def parsed(content: bytes) -> Schema:
    """What a schema.json says. Failure when it is none."""
    try:
        return parse(json.loads(content.decode("utf-8")))
    except (ValueError, RecursionError) as error:
        raise _unusable(str(error)) from error


def parse(found: Any) -> Schema:
    """`{"inputs": [{"name": "age", "type": "integer", "nullable": false}, …]}`. Failure names what is wrong."""
    inputs = found.get("inputs") if isinstance(found, dict) else None
    if not isinstance(inputs, list) or not inputs:
        raise _unusable("it has no list 'inputs'")
    columns = [_column(number, each) for number, each in enumerate(inputs)]
    names = [each.name for each in columns]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise _unusable(f"column '{twice}' is there twice")
    return Schema(tuple(columns))


def type_named(name: str) -> str | None:
    """Our name of a type that others may call otherwise."""
    name = name.lower()
    return name if name in TYPES else _ALIASES.get(name)


def _column(number: int, found: Any) -> Input:
    name = found.get("name") if isinstance(found, dict) else None
    if not isinstance(name, str):
        raise _unusable(f"inputs[{number}] has no name")
    kind = type_named(str(found.get("type", "")))
    if kind is None:
        raise _unusable(f"type of column '{name}' is {found.get('type')!r}, and must be one of {', '.join(TYPES)}")
    return Input(name, kind, is_nullable=found.get("nullable") is not False)


def _unusable(why: str) -> Failure:
    return Failure(
        "ModelNotLoadable", f"{FILE} of the model cannot be used: {why}; correct it and register the model again"
    )
