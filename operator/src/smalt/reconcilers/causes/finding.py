"""What a cause is: a reason for programs and a sentence for people."""

from __future__ import annotations

from typing import NamedTuple

MOST_QUOTED = 400


class Finding(NamedTuple):
    """A cause; `is_users` when only an edit can help, else it may pass by itself."""

    reason: str
    message: str
    is_users: bool = False


def brief(words: str) -> str:
    """What somebody else said, in one line of at most 400 characters and without its full stop."""
    line = " ".join(words.split()).rstrip(". ")
    return line if len(line) <= MOST_QUOTED else line[: MOST_QUOTED - 1] + "…"
