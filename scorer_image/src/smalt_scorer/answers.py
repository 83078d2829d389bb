"""What run() gives back, as the body of an answer: as Azure's server does it, and numpy, pandas and bytes too."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

# Everything between here and the caller holds an answer in memory as a whole.
MOST_BYTES = 100 << 20


class TooLong(ValueError):
    """An answer that nobody should have to hold."""


def body_of(result: Any) -> bytes:
    """JSON. TypeError or ValueError for what has no such form, TooLong for more than MOST_BYTES."""
    if result is None:
        return b"{}"
    if isinstance(result, str | bytes | bytearray | memoryview):
        _limit(result)
    body = _text(result).encode()
    _limit(body)
    return body


def _limit(body: str | bytes | bytearray | memoryview) -> None:
    size = body.nbytes if isinstance(body, memoryview) else len(body)
    if size > MOST_BYTES:
        raise TooLong(
            f"run() gave back {size / 2**20:.0f} MiB, more than the {MOST_BYTES >> 20} MiB of an answer: send the result in "
            "parts, or store it and send where it is"
        )


def _text(result: Any) -> str:
    try:
        return _ENCODER.encode(result)
    except TypeError as error:
        if "keys must be" not in str(error):
            raise
        return _ENCODER.encode(_with_plain_keys(result))


def _with_plain_keys(value: Any) -> Any:
    """Keys that are numpy's numbers, as `dict(zip(*numpy.unique(...)))` makes them, become Python's."""
    if isinstance(value, Mapping):
        return {_key(key): _with_plain_keys(each) for key, each in value.items()}
    return [_with_plain_keys(each) for each in value] if isinstance(value, list | tuple) else value


def _key(key: Any) -> Any:
    item = getattr(key, "item", None)
    return item() if callable(item) else key


def _plain(value: Any) -> Any:
    """Values that json does not know, by what they can do; no library is imported for it."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode()
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    for method, arguments in (("to_dict", {"orient": "records"}), ("tolist", {}), ("isoformat", {}), ("item", {})):
        convert = getattr(value, method, None)
        if not callable(convert):
            continue
        try:
            return convert(**arguments)
        except TypeError:
            continue  # a namesake that takes other arguments, such as Series.to_dict
    raise TypeError(f"run() gave back a {type(value).__name__}, which has no form in JSON")


# Text beyond ASCII is escaped, as Azure's server does it: half of a surrogate pair has no UTF-8.
_ENCODER = json.JSONEncoder(default=_plain)
