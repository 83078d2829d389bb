"""POST /score of a model without a script: the bodies that Azure's deployments without code take, and plain rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from smalt_scorer.models.loaded import PREDICTIONS, PROBABILITIES, Batch, LoadedModel
from smalt_scorer.models.schema import Schema
from smalt_scorer.protocols.question import BadRequest, Question, Reply
from smalt_scorer.protocols.rows import batch_of, by_name, example, of_split
from smalt_scorer.protocols.texts import parsed, written

KEYS = ("data", "input_data", "inputs")
METHODS = {"predict": PREDICTIONS, "predict_proba": PROBABILITIES}


def question(body: bytes, model: LoadedModel) -> Question:
    """`{"data": rows}`, `input_data` or `inputs` in its place, or the rows alone. BadRequest says what is wrong."""
    if not body:
        raise BadRequest(f"the body is empty: send {example(model.schema)} with Content-Type: application/json")
    return of_value(parsed(body), model)


def of_value(found: Any, model: LoadedModel) -> Question:
    """The same, of a body that has been read."""
    wanted = _wanted(found, model) if isinstance(found, dict) else model.usual
    return Question(_batch(found, model.schema), wanted, lambda outputs: reply(outputs, wanted, model))


def reply(outputs: Mapping[str, Any], wanted: tuple[str, ...], model: LoadedModel) -> Reply:
    """`{"predictions": […]}`; by their names where there are several, or another one was asked for."""
    if wanted == model.usual and len(wanted) == 1:
        return Reply(written({PREDICTIONS: outputs[wanted[0]]}))
    return Reply(written({name: outputs[name] for name in wanted}))


def _batch(found: Any, schema: Schema) -> Batch:
    if isinstance(found, list):
        return batch_of(found, schema)
    if not isinstance(found, dict):
        raise BadRequest(f"the body is neither an object nor a list: send {example(schema)}")
    if "columns" in found and "data" in found:
        return of_split(found["columns"], found["data"], schema, "the body")
    key = next((each for each in KEYS if each in found), None)
    if key is None:
        raise BadRequest(f"the body has none of {', '.join(KEYS)}: send {example(schema)}")
    return rows_or_columns(found[key], schema, f"'{key}'")


def rows_or_columns(found: Any, schema: Schema, place: str) -> Batch:
    """Rows, a table as pandas writes it, or an object with all values of a column together."""
    if not isinstance(found, dict):
        return batch_of(found, schema, place)
    if (
        "data" in found
        and ("columns" in found or "index" in found)
        and not {"data", "columns", "index"} & set(schema.names)
    ):
        if "columns" not in found:
            return batch_of(found["data"], schema, f"{place}.data")
        return of_split(found["columns"], found["data"], schema, place)
    return by_name(found, schema, place)


def _wanted(found: Mapping[str, Any], model: LoadedModel) -> tuple[str, ...]:
    if found.get("params"):
        raise BadRequest("'params' is not read: the model has no parameters of a prediction; leave it out")
    method = found.get("method")
    if method is None:
        return model.usual
    name = METHODS.get(method) if isinstance(method, str) else None
    has = [each for each, output in METHODS.items() if output in {given.name for given in model.outputs}]
    if name is None or method not in has:
        raise BadRequest(
            f"'method' is {str(method)[:60]!r}, and the model has {', '.join(has) or 'no choice of methods'}"
        )
    return (name,)
