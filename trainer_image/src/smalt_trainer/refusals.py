"""What a tracking server's answer, or its silence, means for who asked.

Apart from the client: the wrapper, which asks no server, knows these words and starts without all that a client needs.
"""

from __future__ import annotations


class Unreachable(Exception):
    """The server gave no answer, or one that a later try may change."""


class Forbidden(Unreachable):
    """403: rights that are still being granted, or a name that the server's guard cannot read."""


class Refused(Exception):
    """The server understood and refused; trying again changes nothing."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class Unreadable(Exception):
    """A file that was to be sent cannot be read; the server has nothing to do with it."""
