"""JSON in and out: orjson where it can, with Python's NaN let in."""

from __future__ import annotations

import json
import math
from typing import Any

import orjson

from smalt_scorer.protocols.question import BadRequest

_NOT_A_NUMBER = (b"NaN", b"Infinity")


def parsed(body: bytes) -> Any:
    """The JSON value of a body. BadRequest says where it is none.

    NaN and Infinity are no JSON, and yet what Python's json writes by default, so clients send them: they are let in,
    as missing and infinite numbers.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if not any(each in body for each in _NOT_A_NUMBER):
            raise BadRequest(f"the body is no JSON: {error}") from error
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is no JSON: {error or 'it is nested too deeply'}") from error


def written(value: Any) -> bytes:
    """JSON of a value with arrays in it; what is no number in them is null, because JSON has no word for it."""
    return orjson.dumps(value, _plain, orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)


def _plain(value: Any) -> Any:
    """What orjson does not know: arrays of texts and of odd types, numpy's and other scalars, bytes."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    if kind in ("M", "m"):
        return value.astype(str).tolist()
    if kind == "c":
        raise TypeError("complex numbers have no form in JSON")
    for name in ("tolist", "item", "isoformat"):
        convert = getattr(value, name, None)
        if callable(convert):
            return convert()
    raise TypeError(f"the model gave back a {type(value).__name__}, which has no form in JSON")


def shown(value: Any) -> str:
    """A value in an error: short, and what it is."""
    if is_missing(value):
        return "it is missing"
    if isinstance(value, dict | list):  # their content may be nested deeply
        return "it is an object" if isinstance(value, dict) else "it is a list"
    text = json.dumps(value)
    short = text if len(text) <= 60 else text[:57] + "…"
    return (
        f"{short} is {'a text' if isinstance(value, str) else 'a boolean' if isinstance(value, bool) else 'a number'}"
    )


def is_missing(value: Any) -> bool:
    """null, or a number that is none."""
    return value is None or (isinstance(value, float) and math.isnan(value))
