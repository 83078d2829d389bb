"""README's fenced blocks and the commands within its sentences, so that tests can run what a reader would type."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parents[2]
README = REPOSITORY / "README.md"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE_COMMAND = re.compile(r"`((?:make|kubectl|curl) [^`]+)`")


class Block(NamedTuple):
    """One fenced block, or one command within a sentence: its language word, its text, and the line it starts on."""

    language: str
    text: str
    line: int


def blocks(path: Path = README) -> list[Block]:
    text = path.read_text()
    return [Block(found[1], found[2], _line(text, found)) for found in FENCE.finditer(text)]


def of_language(language: str, path: Path = README) -> list[Block]:
    return [block for block in blocks(path) if block.language == language]


def inline_commands(path: Path = README) -> list[Block]:
    """`make …`, `kubectl …` and `curl …` in sentences and tables; each a line for a shell."""
    # Fences are blanked by as many lines, so that what follows keeps its own.
    text = FENCE.sub(lambda fence: "\n" * fence[0].count("\n"), path.read_text())
    return [
        Block("sh", f"{' '.join(found[1].split())}\n", _line(text, found)) for found in INLINE_COMMAND.finditer(text)
    ]


def _line(text: str, found: re.Match[str]) -> int:
    return text.count("\n", 0, found.start()) + 1
