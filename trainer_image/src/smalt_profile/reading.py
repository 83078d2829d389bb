"""Which files are tables, and how each is opened."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Optional

from smalt_profile.delimited import open_delimited
from smalt_profile.json_lines import is_json_lines, open_json_lines
from smalt_profile.limits import Limits
from smalt_profile.opening import look_at
from smalt_profile.parquet import open_parquet
from smalt_profile.problems import ProfileProblem
from smalt_profile.sources import Table


def open_table(path: Path, limits: Limits, target: Optional[str], stack: ExitStack) -> Table:
    """The table in a file, told by its content. ProfileProblem when it holds none."""
    look = look_at(path)
    if look.is_parquet:
        return open_parquet(path, limits, target, stack)
    suffixes = [each.lower() for each in path.suffixes[-2:]]
    if ".parquet" in suffixes:
        raise ProfileProblem(f"'{path.name}' is no Parquet file, whatever its name says; write it again")
    if {".jsonl", ".ndjson"} & set(suffixes) or is_json_lines(look.text[: 1 << 20]):
        return open_json_lines(path, look, limits, target, stack)
    return open_delimited(path, look, limits, target, stack)
