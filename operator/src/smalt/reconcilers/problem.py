"""Why what a Deployment asks for cannot be made now."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """`is_users`: only an edit can help. `again`: look again after so many seconds, though nobody tells."""

    reason: str
    message: str
    is_users: bool = False
    again: float | None = None
