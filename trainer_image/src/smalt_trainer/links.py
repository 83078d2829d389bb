"""What a tree of files from elsewhere may hold, wherever it came from: so many, so large, and no way out of it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from smalt_trainer.failures import ANOTHER_NAME, RunFailed

MOST_FILES = 20_000
MOST_BYTES = 1 << 30


@dataclass(frozen=True)
class Link:
    """A link by the name it has, and what it leads to."""

    name: str
    target: str


def link_that_leaves(folder: Path) -> Optional[Link]:
    """A link whose end, whichever links it passes on the way, is outside of the folder."""
    root = folder.resolve()
    for parent, folders, files in os.walk(folder):
        for path in (Path(parent, name) for name in (*folders, *files)):
            if path.is_symlink() and not is_below(path, root):
                return Link(str(path.relative_to(folder)), str(path.readlink()))
    return None


def refuse_links_that_leave(folder: Path) -> None:
    """RunFailed, with its name, for such a link in the code."""
    found = link_that_leaves(folder)
    if found:
        raise RunFailed(
            "CodeInvalid",
            f"'{found.name}' is a link to '{found.target}', which is outside of the code: put the file there itself, "
            f"{ANOTHER_NAME}",
        )


def is_below(path: Path, root: Path) -> bool:
    """Whether a path, with all its links followed, is the folder or in it."""
    real = Path(os.path.realpath(path))
    return real == root or root in real.parents


def too_many(source: str) -> RunFailed:
    """More files than a run's code may have."""
    return RunFailed(
        "CodeInvalid",
        f"{source} has more than {MOST_FILES} files: keep data out of the code and name it in inputs, {ANOTHER_NAME}",
    )


def too_large(source: str, most: int) -> RunFailed:
    """More bytes than a run's code may have."""
    return RunFailed(
        "CodeInvalid",
        f"{source} is larger than {most >> 20} MiB: keep data out of the code and name it in inputs, {ANOTHER_NAME}",
    )
