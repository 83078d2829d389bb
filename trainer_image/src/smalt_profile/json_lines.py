"""Reads JSON lines in blocks: one object a line, its fields are the columns, whichever line first has them."""

from __future__ import annotations

import io
import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, Iterator, Optional, cast

import pyarrow as pa

from smalt_profile.limits import Limits
from smalt_profile.opening import Look, Utf8, decompressed, require_text
from smalt_profile.problems import ProfileProblem
from smalt_profile.sources import Table, column_key, unlike_name

_CELLS_IN_A_BLOCK = 400_000
_LONGEST_LINE = 16 << 20
_MOST_BROKEN = 0.5


def open_json_lines(path: Path, look: Look, limits: Limits, target: Optional[str], stack: ExitStack) -> Table:
    """A table of objects, one a line."""
    require_text(path, look)
    details: dict[str, object] = {"format": "JSON lines", "compression": look.compression or None}
    table = Table([], iter(()), True, details)
    stream = Utf8(stack.enter_context(decompressed(path, look.compression)), look.encoding)
    lines = cast(BinaryIO, io.BufferedReader(stream, 1 << 20))
    table.blocks = _blocks(path, lines, table, limits.columns, target)
    return table


def is_json_lines(text: str) -> bool:
    """Whether a text begins with an object that ends on its line."""
    line = next((each for each in text.split("\n", 100)[:100] if each.strip()), "")
    if not line.lstrip().startswith("{"):
        return False
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _blocks(path: Path, lines: BinaryIO, table: Table, most: int, target: Optional[str]) -> Iterator[pa.RecordBatch]:
    positions: dict[str, int] = {}
    taken: set[str] = set()
    left_out: set[str] = set()
    broken = rows = 0
    waiting: list[dict[str, Any]] = []
    while True:
        line = lines.readline(_LONGEST_LINE + 1)
        if len(line) > _LONGEST_LINE:
            raise ProfileProblem(
                f"'{path.name}' has a line of more than {_LONGEST_LINE >> 20} MiB; write one object a line"
            )
        if not line:
            break
        if not line.strip():
            continue
        found = _object(line)
        if found is None:
            broken += 1
            continue
        rows += 1
        for name in found:
            if name not in positions and name not in left_out:
                # The last place is the target's, should it come late.
                if len(positions) < most - (1 if target and target not in positions and name != target else 0):
                    positions[name] = len(positions)
                    table.names.append(unlike_name(name, taken))
                else:
                    left_out.add(name)
        waiting.append(found)
        if len(waiting) * max(len(positions), 1) >= _CELLS_IN_A_BLOCK:
            yield _block(waiting, positions)
            waiting = []
    if waiting:
        yield _block(waiting, positions)
    table.all_columns = len(positions) + len(left_out)
    if broken:
        said = f"{broken} of {rows + broken} lines are no JSON object"
        if broken > _MOST_BROKEN * (rows + broken):
            raise ProfileProblem(f"'{path.name}' is no table: {said}; write one object a line")
        table.notes.append(f"{said}; they are left out.")


def _object(line: bytes) -> Optional[dict[str, Any]]:
    try:
        found = json.loads(line.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _block(rows: list[dict[str, Any]], positions: dict[str, int]) -> pa.RecordBatch:
    columns = [pa.array([_cell(row.get(name)) for row in rows], pa.binary()) for name in positions]
    return pa.RecordBatch.from_arrays(columns, [column_key(each) for each in range(len(columns))])


def _cell(value: Any) -> Optional[bytes]:
    """The value as a CSV would have it: a word that reads as a number is one there too."""
    if value is None or value == "":
        return None
    if isinstance(value, float) and value != value:
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text.encode("utf-8", "replace")
