"""What a table is read from: names, blocks of rows, and what there is to say about how it was read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Iterator

import pyarrow as pa

LONGEST_NAME = 200


@dataclass
class Table:
    """A table about to be read. Blocks name their columns by position, because names in files repeat and are empty.

    `names` may grow while blocks are read: lines of JSON tell of a field when it first comes.
    """

    names: list[str]
    blocks: Iterator[pa.RecordBatch]
    is_text: bool
    """Whether cells are texts whose meaning is to be found out."""
    details: dict[str, object] = field(default_factory=dict)
    """Format, compression, encoding and the like."""
    notes: list[str] = field(default_factory=list)
    """Sentences about what was left out or taken another way; complete when all blocks are read."""
    all_columns: int = 0
    """How many columns there are, those that are not read included."""


def column_key(position: int) -> str:
    """The name of a column in a block."""
    return f"f{position}"


def unlike_names(names: list[str]) -> list[str]:
    """Names as `unlike_name` makes each."""
    made: list[str] = []
    taken: set[str] = set()
    for name in names:
        made.append(unlike_name(name, taken))
    return made


def unlike_name(name: str, taken: set[str]) -> str:
    """A name that is there, short and new, and is taken now: an empty one is its position, a repeated one is counted."""
    base = name.strip() or f"column {len(taken) + 1}"
    base = base if len(base) <= LONGEST_NAME else base[: LONGEST_NAME - 1] + "…"
    unlike, number = base, 2
    while unlike in taken:
        unlike, number = f"{base} ({number})", number + 1
    taken.add(unlike)
    return unlike


def kept_columns(names: list[str], most: int, target: str | None) -> list[int]:
    """The positions of the columns that are profiled: the first ones, and the target wherever it is."""
    kept = list(range(min(len(names), most)))
    if target in names and names.index(target) not in kept:
        kept[-1] = names.index(target)
    return kept
