"""What run() gives back, as the body of an answer: as Azure's server does it, and numpy, pandas and bytes too."""

from __future__ import annotations

import json
from typing import Any


def body_of(result: Any) -> bytes:
    """JSON. TypeError for what has no such form."""
    return json.dumps({} if result is None else result, default=_plain, ensure_ascii=False).encode()


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
