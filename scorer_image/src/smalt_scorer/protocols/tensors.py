"""Tensors of the Open Inference Protocol: its names of types, its JSON and its bytes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy

from smalt_scorer.models.schema import ANY, BOOLEAN, INTEGER, NUMBER, Input, Output
from smalt_scorer.protocols.question import BadRequest

# The protocol's name -> numpy's, in the order of bytes that the protocol sends.
DTYPES = {
    "BOOL": "|b1",
    **{f"{sign}INT{bits}": f"<{kind}{bits // 8}" for sign, kind in (("", "i"), ("U", "u")) for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": f"<f{bits // 8}" for bits in (16, 32, 64)},
}
BYTES = "BYTES"
_NAMES = {numpy.dtype(dtype).str.lstrip("<|="): name for name, dtype in DTYPES.items()}


def datatype(dtype: Any) -> str:
    """The protocol's name of a numpy type; what is neither number nor boolean goes as texts."""
    return _NAMES.get(numpy.dtype(dtype).str.lstrip("<|=>"), BYTES)


def datatype_of(of: Input | Output) -> str:
    """The protocol's name for what an input takes or an output gives; BYTES where that can be anything."""
    if of.dtype:
        return datatype(of.dtype)
    return {INTEGER: "INT64", NUMBER: "FP64", BOOLEAN: "BOOL"}.get(of.type, BYTES)


def from_json(data: Any, name: str, kind: str, shape: Sequence[int]) -> Any:
    """An array of the shape, from values that are flat or nested. BadRequest says what is wrong."""
    if not isinstance(data, list):
        raise BadRequest(f"data of input '{name}' is no list")
    values = _flat(data)
    if len(values) != math.prod(shape):
        raise BadRequest(
            f"data of input '{name}' has {len(values)} values, and its shape {list(shape)} is {math.prod(shape)}"
        )
    wanted = _wanted(kind)
    wrong = next((place for place, each in enumerate(values) if type(each) not in wanted), None)
    if wrong is not None:
        raise BadRequest(f"value {wrong} of input '{name}' is {str(values[wrong])[:60]!r}, and its datatype is {kind}")
    if kind == BYTES:
        return _texts(values).reshape(shape)
    try:
        return numpy.array([numpy.nan if each is None else each for each in values], dtype=DTYPES[kind]).reshape(shape)
    except (OverflowError, ValueError) as error:
        raise BadRequest(f"data of input '{name}' does not fit {kind}: {error}") from error


def from_bytes(data: memoryview, name: str, kind: str, shape: Sequence[int]) -> Any:
    """An array of the shape, from the protocol's bytes. BadRequest says what is wrong."""
    count = math.prod(shape)
    if kind == BYTES:
        return _texts(_taken_apart(data, name, count)).reshape(shape)
    size = numpy.dtype(DTYPES[kind]).itemsize * count
    if len(data) != size:
        raise BadRequest(f"input '{name}' has {len(data)} bytes, and {kind} of the shape {list(shape)} is {size}")
    # A copy of its own, aligned, and in this machine's order of bytes.
    found = numpy.frombuffer(data, dtype=DTYPES[kind]).reshape(shape)
    return found.astype(found.dtype.newbyteorder("="))


def to_bytes(array: Any) -> bytes:
    """The protocol's bytes of an array."""
    kind = datatype(array.dtype)
    if kind != BYTES:
        return numpy.ascontiguousarray(array, dtype=DTYPES[kind]).tobytes()
    parts = []
    for each in array.ravel().tolist():
        encoded = each if isinstance(each, bytes) else str(each).encode()
        parts += [len(encoded).to_bytes(4, "little"), encoded]
    return b"".join(parts)


def to_json(array: Any) -> Any:
    """The values, flat in the order of rows, as the protocol writes them; texts as texts."""
    flat = array.ravel()
    return (
        flat
        if datatype(array.dtype) != BYTES
        else [each if isinstance(each, str) else _text(each) for each in flat.tolist()]
    )


def fitted(array: Any, wanted: Input, name: str) -> Any:
    """The array in the type that the model takes. BadRequest where that would change what is meant.

    Any number becomes a float; a float becomes no integer, and neither becomes a boolean or a text.
    """
    kind = array.dtype.kind
    if wanted.type == ANY:
        return array
    fits = {NUMBER: "fiu", INTEGER: "iu", BOOLEAN: "b"}.get(wanted.type, "O")
    if kind not in fits:
        raise BadRequest(f"input '{name}' is {datatype(array.dtype)}, the model takes {datatype_of(wanted)}")
    if wanted.type not in (NUMBER, INTEGER):
        return array
    if wanted.type == INTEGER and array.size:
        limits = numpy.iinfo(wanted.array_type)
        if int(array.min()) < int(limits.min) or int(array.max()) > int(limits.max):
            raise BadRequest(f"input '{name}' has values beyond the model's {datatype_of(wanted)}")
    if not wanted.is_nullable and kind == "f" and numpy.isnan(array).any():
        row = int(numpy.argwhere(numpy.isnan(array))[0][0])
        raise BadRequest(f"row {row}, column '{name}': it is missing, the model takes a number")
    return array.astype(wanted.array_type, copy=False)


def _wanted(kind: str) -> set[type]:
    if kind == BYTES:
        return {str}
    if kind == "BOOL":
        return {bool}
    return {int, float, type(None)} if kind.startswith("FP") else {int}


def _flat(data: list[Any]) -> list[Any]:
    """All values of nested lists in order, without recursion."""
    values, waiting = [], [iter(data)]
    while waiting:
        for each in waiting[-1]:
            if isinstance(each, list):
                waiting.append(iter(each))
                break
            values.append(each)
        else:
            waiting.pop()
    return values


def _taken_apart(data: memoryview, name: str, count: int) -> list[str]:
    """Texts, each after its length in four bytes."""
    values, place = [], 0
    while place < len(data):
        length = int.from_bytes(data[place : place + 4], "little")
        piece = data[place + 4 : place + 4 + length]
        if place + 4 > len(data) or len(piece) != length:
            raise BadRequest(
                f"input '{name}' ends within a text: each must stand after its length, four bytes, little-endian"
            )
        try:
            values.append(str(piece, "utf-8"))
        except UnicodeDecodeError as error:
            raise BadRequest(f"text {len(values)} of input '{name}' is no UTF-8") from error
        place += 4 + length
    if len(values) != count:
        raise BadRequest(f"input '{name}' has {len(values)} texts, and its shape is one of {count}")
    return values


def _texts(values: Sequence[Any]) -> Any:
    made = numpy.empty(len(values), dtype=object)
    made[:] = values
    return made


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
