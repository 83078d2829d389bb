"""What a run() is called with, by the kind of run() it is. Pure; messages go to the caller as they are."""

from __future__ import annotations

import codecs
import inspect
import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

from smalt_scorer.raw_request import RawRequest

# What a form's body holds is the framework's to parse, so a run() that takes text sees none of it.
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")

# Bytes of a query that are no UTF-8 stay as they were written, in percent signs.
_STAYS = "smalt.percent"


class Unacceptable(Exception):
    """A request that run() cannot be called with."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


def text_of(request: RawRequest) -> str:
    """`raw_data` of an undecorated run(): the body as text, or the query as a JSON object."""
    if request.method == "GET":
        return json.dumps(query_of(request.query))
    if request.media_type in _FORMS:
        return ""
    try:
        return request.body.decode()
    except UnicodeDecodeError as error:
        raise Unacceptable(400, f"Input cannot be decoded as UTF-8: {error}") from None


def query_of(query: bytes) -> dict[str, Any]:
    """Each value as JSON where it is JSON, else as text; a name that comes twice has a list of values."""
    found: dict[str, list[Any]] = {}
    for name, value in parse_qsl(query.decode("utf-8", "replace"), keep_blank_values=True, errors=_STAYS):
        found.setdefault(name, []).append(_value(value))
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


def _percent(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(f"%{byte:02X}" for byte in error.object[error.start : error.end]), error.end


codecs.register_error(_STAYS, _percent)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def arguments_of(request: RawRequest, parameters: Sequence[inspect.Parameter]) -> dict[str, Any]:
    """The arguments of a run() with @input_schema: the body's members by parameter name."""
    body = query_of(request.query) if request.method == "GET" else _object(request)
    return {each.name: _argument(each, body) for each in parameters}


def _object(request: RawRequest) -> Mapping[str, Any]:
    if not is_json(request.media_type):
        raise Unacceptable(415, "Expects Content-Type to be application/json")
    if not request.body:
        raise Unacceptable(400, "POST body is empty. Expecting a JSON dictionary.")
    try:
        found = json.loads(request.body)
    except (ValueError, RecursionError) as error:
        told = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise Unacceptable(400, f"POST body could not be decoded as JSON: {told}") from None
    if not isinstance(found, dict):
        raise Unacceptable(400, "POST body should be a JSON dictionary.")
    return found


def is_json(media_type: str) -> bool:
    return media_type == "application/json" or (media_type.startswith("application/") and media_type.endswith("+json"))


def _argument(parameter: inspect.Parameter, body: Mapping[str, Any]) -> Any:
    value = body.get(parameter.name, parameter.default)
    if value is inspect.Parameter.empty:
        raise Unacceptable(400, f"A value is not provided for the {parameter.name!r} parameter.")
    return value
