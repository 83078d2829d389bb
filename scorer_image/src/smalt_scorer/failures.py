"""What can go wrong before the first request, each with the reason that the Deployment's condition shows."""

from __future__ import annotations

import traceback


class Failure(Exception):
    """The pod cannot serve; the text names the cause and the next step."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def last_line(error: BaseException) -> str:
    """What Python prints last of an error, on one line: its class and all of its message."""
    if isinstance(error, SyntaxError):  # printed over several lines that quote the source; its text has file and line
        return f"{type(error).__name__}: {error}"
    return " ".join("".join(traceback.format_exception_only(error)).split())
