"""Names of files that a model's own description gives: they must stay within its folder."""

from __future__ import annotations

from pathlib import PurePosixPath


def leaves(name: str) -> bool:
    """Whether a relative path leads out of its folder, on any system."""
    parts = PurePosixPath(name.replace("\\", "/"))
    return parts.is_absolute() or ".." in parts.parts or "\0" in name or (len(name) > 1 and name[1] == ":")
