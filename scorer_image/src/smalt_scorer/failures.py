"""What can go wrong before the first request, each with the reason that the Deployment's condition shows."""

from __future__ import annotations

import traceback


class Failure(Exception):
    """The pod cannot serve; the text names the cause and the next step."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def last_line(error: BaseException) -> str:
    """The last line of the error's traceback, as Python prints it."""
    return "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]
