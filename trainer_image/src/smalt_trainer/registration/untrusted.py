"""What the container `convert` has left: somebody else's code wrote it, so nothing is taken that has not been looked at."""

from __future__ import annotations

import json
import math
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Mapping, Optional, Tuple

from smalt_trainer.registration.formats import onnx
from smalt_trainer.registration.refused import NotRegistered, shown

DESCRIPTION, ONNX_FOLDER, ONNX_FILE, SCHEMA = "converted.json", "onnx", "model.onnx", "schema.json"
_MOST_BYTES = 4 << 20
_LARGEST_ONNX = 8 << 30
_MOST_COLUMNS = 20_000
_LONGEST = 200
_NOT_CONVERTED = "NotConverted"


@dataclass(frozen=True)
class Onnx:
    """A converted model, and how far its answers were from the original's."""

    tolerance: float
    rows: int
    max_difference: float


@dataclass(frozen=True)
class Converted:
    """What can be used of it. `reason` and `message` say why there is no ONNX."""

    inspection: Mapping[str, Any] = field(default_factory=dict)
    schema: Optional[Mapping[str, Any]] = None
    onnx: Optional[Onnx] = None
    reason: str = ""
    message: str = ""


class _Unusable(Exception):
    """A part of it is not what it should be."""


def read_converted(folder: Path, is_wanted: bool, refusal: Optional[Tuple[str, str]] = None) -> Converted:
    """All that can be used; whatever is wrong with a part leaves that part out and is said in `message`. `refusal` is why
    nothing was converted at all."""
    if not is_wanted:
        return Converted(reason=refusal[0], message=refusal[1]) if refusal else Converted()
    try:
        described = _json(folder / DESCRIPTION)
    except _Unusable as error:
        return Converted(
            reason=_NOT_CONVERTED, message=f"the container 'convert' left nothing that can be used: {error}"
        )
    inspection = _inspection(described.get("inspection"))
    schema = schema_of(described.get("schema"))
    found = described.get("onnx")
    found = found if isinstance(found, dict) else {}
    if "file" not in found:
        reason = found.get("reason")
        is_reason = isinstance(reason, str) and reason.isalnum() and reason[:1].isupper() and len(reason) <= 63
        message = shown(str(found.get("message") or "the container 'convert' does not say why there is no ONNX"))
        return Converted(
            inspection, schema, None, str(reason) if is_reason else _NOT_CONVERTED, message[: _LONGEST * 3]
        )
    try:
        return Converted(inspection, schema, _onnx(folder, found))
    except (_Unusable, NotRegistered) as error:
        return Converted(inspection, schema, None, _NOT_CONVERTED, f"what was converted cannot be used: {error}")


def schema_of(found: Any) -> Optional[Mapping[str, Any]]:
    """Inputs and outputs with a name and a type each, and what else is plain about them; None for anything else."""
    if not isinstance(found, dict):
        return None
    made = {}
    for key in ("inputs", "outputs"):
        columns = found.get(key)
        if not isinstance(columns, list) or len(columns) > _MOST_COLUMNS or (key == "inputs" and not columns):
            return None
        if not all(
            isinstance(each, dict) and _is_text(each.get("name")) and _is_text(each.get("type")) for each in columns
        ):
            return None
        made[key] = [{str(name): value for name, value in each.items() if _is_plain(value)} for each in columns]
    return made


def _onnx(folder: Path, found: Mapping[str, Any]) -> Onnx:
    path = folder / ONNX_FOLDER / ONNX_FILE
    if found.get("file") != f"{ONNX_FOLDER}/{ONNX_FILE}":
        raise _Unusable(
            f"it names {shown(str(found.get('file')))!r}, and {ONNX_FOLDER}/{ONNX_FILE} is where it belongs"
        )
    if (folder / ONNX_FOLDER).is_symlink():
        raise _Unusable(f"{ONNX_FOLDER} is a link")
    _regular(path, _LARGEST_ONNX)
    numbers = [found.get(key) for key in ("tolerance", "rows", "maxDifference")]
    if not all(isinstance(each, (int, float)) and math.isfinite(each) and each >= 0 for each in numbers):
        raise _Unusable("tolerance, rows and maxDifference are not all numbers")
    if onnx.check(path, path.parent).needs:
        raise _Unusable("it keeps weights in other files")
    tolerance, rows, difference = numbers
    if difference > tolerance:  # type: ignore[operator]
        raise _Unusable(f"it differs by {difference}, and {tolerance} is allowed")
    return Onnx(float(tolerance), int(rows), float(difference))  # type: ignore[arg-type]


def _json(path: Path) -> dict[str, Any]:
    _regular(path, _MOST_BYTES)
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError, OSError) as error:
        raise _Unusable(f"{path.name} is no JSON") from error
    if not isinstance(found, dict):
        raise _Unusable(f"{path.name} is no JSON object")
    return found


def _regular(path: Path, most: int) -> None:
    """A plain file of a size that is meant."""
    try:
        status = os.lstat(path)
    except OSError as error:
        raise _Unusable(f"{path.name} is not there") from error
    if not stat.S_ISREG(status.st_mode) or status.st_size > most:
        raise _Unusable(f"{path.name} is no plain file of at most {most} bytes")


def _inspection(found: Any) -> Mapping[str, Any]:
    """Texts, numbers and short lists of them."""
    if not isinstance(found, dict):
        return {}
    return {str(key)[:60]: value for key, value in list(found.items())[:30] if _is_plain(value)}


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return len(value) <= _MOST_COLUMNS and all(_is_plain(each) and not isinstance(each, list) for each in value)
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, (bool, int)) or (isinstance(value, str) and len(value) <= _LONGEST)
