"""README's fenced blocks, so that tests can run what a reader would type."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """One fenced block: its language word, its text, and the line it starts on."""

    language: str
    text: str
    line: int


def blocks(path: Path = REPOSITORY / "README.md") -> list[Block]:
    text = path.read_text()
    return [Block(found[1], found[2], text.count("\n", 0, found.start()) + 1) for found in FENCE.finditer(text)]


def of_language(language: str) -> list[Block]:
    return [block for block in blocks() if block.language == language]
