"""What a request comes down to, whatever protocol it is written in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from smalt_scorer.models.loaded import Batch


class BadRequest(ValueError):
    """The caller's body cannot be predicted; the text says why."""


class UnsupportedType(BadRequest):
    """The body is of a type that this route does not read."""


@dataclass(frozen=True)
class Reply:
    """A body that goes back to the caller."""

    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Question:
    """Checked rows, the outputs that are asked for, and how to write them down."""

    batch: Batch
    wanted: tuple[str, ...]
    reply: Callable[[Mapping[str, Any]], Reply]
