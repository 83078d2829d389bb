"""The Open Inference Protocol, version 2, over HTTP: metadata, and inference with JSON or with bytes after it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy

from smalt_scorer.models.loaded import Batch, LoadedModel
from smalt_scorer.models.schema import Schema
from smalt_scorer.protocols.question import BadRequest, Question, Reply
from smalt_scorer.protocols.rows import check_names, checked_rows, shaped
from smalt_scorer.protocols.tensors import (
    BYTES,
    DTYPES,
    datatype,
    datatype_of,
    fitted,
    from_bytes,
    from_json,
    to_bytes,
    to_json,
)
from smalt_scorer.protocols.texts import parsed, written

EXTENSIONS = ["binary_tensor_data"]
HEADER = "inference-header-content-length"
_MOST_VALUES = 1 << 40


def server(version: str) -> dict[str, Any]:
    """GET /v2."""
    return {"name": "smalt", "version": version, "extensions": EXTENSIONS}


def metadata(name: str, version: str, model: LoadedModel) -> dict[str, Any]:
    """GET /v2/models/<name>."""
    inputs = [
        {"name": each.name, "datatype": datatype_of(each), "shape": [each.fixed_rows or -1, *each.shape]}
        for each in model.schema.inputs
    ]
    outputs = [{"name": each.name, "datatype": datatype_of(each), "shape": [-1, *each.shape]} for each in model.outputs]
    return {
        "name": name,
        "versions": [version] if version else [],
        "platform": model.platform,
        "inputs": inputs,
        "outputs": outputs,
    }


def question(body: bytes, json_length: str | None, name: str, version: str, model: LoadedModel) -> Question:
    """POST …/infer. `json_length` is the header that says where the JSON ends. BadRequest says what is wrong."""
    length = _length(json_length, len(body))
    if length == 0 and body:
        return _of_raw(body, name, version, model)
    found = parsed(body[:length])
    if not isinstance(found, dict):
        raise BadRequest("the body is no object")
    raw = memoryview(body)[length:]
    tensors = _tensors(found, raw)
    wanted, binary = _wanted(found, model)
    identifier = found.get("id")
    if identifier is not None and not isinstance(identifier, str):
        raise BadRequest("'id' is no text")
    batch = _batch(tensors, model.schema)
    return Question(batch, wanted, lambda outputs: reply(outputs, wanted, binary, name, version, identifier))


def reply(
    outputs: Mapping[str, Any],
    wanted: tuple[str, ...],
    binary: frozenset[str],
    name: str,
    version: str,
    identifier: str | None,
) -> Reply:
    """JSON, and after it the bytes of those outputs that were asked for as such."""
    told, parts = [], []
    for each in wanted:
        array = numpy.asarray(outputs[each])
        tensor: dict[str, Any] = {"name": each, "shape": list(array.shape), "datatype": datatype(array.dtype)}
        if each in binary:
            parts.append(to_bytes(array))
            tensor["parameters"] = {"binary_data_size": len(parts[-1])}
        else:
            tensor["data"] = to_json(array)
        told.append(tensor)
    answer = {"model_name": name, **({"model_version": version} if version else {})}
    answer |= {"id": identifier} if identifier is not None else {}
    head = written(answer | {"outputs": told})
    if not binary:
        return Reply(head)
    headers = {"Inference-Header-Content-Length": str(len(head))}
    return Reply(b"".join([head, *parts]), "application/octet-stream", headers)


def _length(header: str | None, size: int) -> int:
    if header is None:
        return size
    if not header.isascii() or not header.isdigit() or len(header) > 12 or int(header) > size:
        raise BadRequest(f"Inference-Header-Content-Length is '{header[:40]}', and the body has {size} bytes")
    return int(header)


def _of_raw(body: bytes, name: str, version: str, model: LoadedModel) -> Question:
    """A body that is nothing but the bytes of the only input; the answer is in bytes too."""
    only = model.schema.inputs[0]
    if len(model.schema.inputs) > 1 or any(each < 0 for each in only.shape):
        raise BadRequest("a body without JSON is for models with a single input of a fixed shape of rows")
    kind = datatype_of(only)
    if kind == BYTES:
        array = from_bytes(memoryview(len(body).to_bytes(4, "little") + body), only.name, kind, (1, *only.shape))
    else:
        size = numpy.dtype(DTYPES[kind]).itemsize * int(numpy.prod(only.shape, dtype="int64"))
        array = from_bytes(memoryview(body), only.name, kind, (len(body) // max(size, 1), *only.shape))
    batch = _batch({only.name: array}, model.schema)
    return Question(
        batch, model.usual, lambda outputs: reply(outputs, model.usual, frozenset(model.usual), name, version, None)
    )


def _tensors(found: Mapping[str, Any], raw: memoryview) -> dict[str, Any]:
    inputs = found.get("inputs")
    if not isinstance(inputs, list) or not inputs:
        raise BadRequest("the body has no list 'inputs' with at least one tensor")
    tensors: dict[str, Any] = {}
    place = 0
    for number, each in enumerate(inputs):
        name, kind, shape = _described(number, each)
        if name in tensors:
            raise BadRequest(f"input '{name}' is there twice")
        size = _parameters(each).get("binary_data_size")
        if size is None:
            tensors[name] = from_json(each.get("data"), name, kind, shape)
            continue
        if not isinstance(size, int) or isinstance(size, bool) or size < 0 or place + size > len(raw):
            raise BadRequest(
                f"binary_data_size of input '{name}' is {str(size)[:40]}, and {len(raw) - place} bytes are left"
            )
        tensors[name] = from_bytes(raw[place : place + size], name, kind, shape)
        place += size
    if place != len(raw):
        raise BadRequest(
            f"{len(raw) - place} bytes are left over after the last input: binary_data_size of inputs must add up"
        )
    return tensors


def _described(number: int, found: Any) -> tuple[str, str, list[int]]:
    name = found.get("name") if isinstance(found, dict) else None
    if not isinstance(name, str):
        raise BadRequest(f"inputs[{number}] has no name")
    kind, shape = found.get("datatype"), found.get("shape")
    if not isinstance(kind, str) or kind not in (*DTYPES, BYTES):
        raise BadRequest(
            f"datatype of input '{name[:60]}' is {str(kind)[:40]!r}, and must be one of {', '.join((*DTYPES, BYTES))}"
        )
    if (
        not isinstance(shape, list)
        or not 0 < len(shape) < 32
        or any(type(each) is not int or each < 0 for each in shape)
    ):
        raise BadRequest(f"shape of input '{name[:60]}' is no list of sizes")
    if numpy.prod([float(each) for each in shape]) > _MOST_VALUES:
        raise BadRequest(f"shape of input '{name[:60]}' is more than any body holds")
    return name, kind, shape


def _parameters(found: Mapping[str, Any]) -> Mapping[str, Any]:
    parameters = found.get("parameters")
    return parameters if isinstance(parameters, dict) else {}


def _wanted(found: Mapping[str, Any], model: LoadedModel) -> tuple[tuple[str, ...], frozenset[str]]:
    """Which outputs are asked for, and which of them as bytes."""
    everything_binary = _parameters(found).get("binary_data_output") is True
    asked = found.get("outputs")
    if asked is None or asked == []:
        return model.usual, frozenset(model.usual if everything_binary else ())
    known = {each.name for each in model.outputs}
    if not isinstance(asked, list) or not all(
        isinstance(each, dict) and isinstance(each.get("name"), str) for each in asked
    ):
        raise BadRequest("'outputs' is no list of objects with a name")
    names = tuple(each["name"] for each in asked)
    for name in names:
        if name not in known:
            raise BadRequest(f"there is no output '{name[:100]}': the model has {', '.join(sorted(known))}")
    if len(set(names)) != len(names):
        raise BadRequest("an output is asked for twice")
    classes = [each["name"] for each in asked if _parameters(each).get("classification")]
    if classes:
        raise BadRequest(f"output '{classes[0]}' is asked for as a classification, an extension that is not there")
    binary = {each["name"] for each in asked if _parameters(each).get("binary_data", everything_binary) is True}
    return names, frozenset(binary)


def _batch(tensors: dict[str, Any], schema: Schema) -> Batch:
    """One tensor for each input, or a single one with a column for each."""
    counts = {len(each) for each in tensors.values()}
    if len(counts) != 1 or 0 in counts:
        raise BadRequest("all inputs must have the same number of rows, their first dimension, and at least one")
    rows = counts.pop()
    if len(tensors) == 1 and len(schema.inputs) > 1 and schema.width == len(schema.inputs):
        name, only = next(iter(tensors.items()))
        if name not in schema.names:
            return checked_rows(Batch(_columns(only, name, schema), rows), schema)
    if len(tensors) == 1 and len(schema.inputs) == 1:
        tensors = {schema.inputs[0].name: next(iter(tensors.values()))}  # its name says nothing that is not known
    check_tensor_names(tensors, schema)
    arrays = []
    for each in schema.inputs:
        array = fitted(tensors[each.name], each, each.name)
        if each.is_scalar:
            if array.size != rows:
                raise BadRequest(
                    f"input '{each.name}' has the shape {list(array.shape)}, the model takes [{rows}] or [{rows}, 1]"
                )
            arrays.append(array.reshape(rows, *(each.shape and (1,))))
        else:
            arrays.append(shaped(array, each, f"input '{each.name}'"))
    return checked_rows(Batch(tuple(arrays), rows), schema)


def check_tensor_names(tensors: Mapping[str, Any], schema: Schema) -> None:
    """BadRequest for an input that the model does not know, and for one that is missing."""
    if schema.is_named:
        check_names(list(tensors), schema, "'inputs'")
    elif list(tensors) != [schema.inputs[0].name]:
        raise BadRequest(f"the model takes a single input, and got {', '.join(list(tensors)[:10])}")


def _columns(table: Any, name: str, schema: Schema) -> tuple[Any, ...]:
    width = len(schema.inputs)
    if table.ndim != 2 or table.shape[1] != width:
        raise BadRequest(
            f"input '{name}' has the shape {list(table.shape)}, the model takes [-1, {width}], or an input for each column"
        )
    columns = tuple(fitted(table[:, place], each, each.name) for place, each in enumerate(schema.inputs))
    is_one_kind = len({each.dtype for each in columns}) == 1 and columns[0].dtype == numpy.float64
    return (numpy.column_stack(columns),) if is_one_kind else columns
