"""Which images a Workspace lets its runs name."""

from __future__ import annotations

import re
from collections.abc import Sequence

HUB = "docker.io"


def is_allowed(image: str, patterns: Sequence[str] | None) -> bool:
    """One of the patterns fits the image as it is written, or as the node reads it. `*` stands for anything."""
    if patterns is None:
        return True
    names = {image, full_name(image)}
    return any(re.fullmatch(_expression(pattern), name) for pattern in patterns for name in names)


def full_name(image: str) -> str:
    """With the registry that a short name means: python:3.12 is docker.io/library/python:3.12."""
    first, slash, _ = image.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return image
    return f"{HUB}/{image}" if slash else f"{HUB}/library/{image}"


def _expression(pattern: str) -> str:
    return ".*".join(re.escape(part) for part in pattern.split("*"))
