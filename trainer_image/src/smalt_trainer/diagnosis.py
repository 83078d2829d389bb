"""The one line of a long log that says why the script failed."""

from __future__ import annotations

import re
from typing import Optional

_RAISED = re.compile(r"^[A-Za-z_][\w.]*(?:: .*)?$")


# A group of exceptions draws its outermost traceback behind this margin, and those it holds further to the right.
_GROUP = "  + Exception Group Traceback (most recent call last)"
_MARGIN = "  | "


def cause(stderr_tail: str) -> Optional[str]:
    """The last exception of the last traceback (`ValueError: …`), else the last line printed, else None."""
    lines = [line.rstrip() for line in stderr_tail.splitlines()]
    raised: Optional[str] = None
    inside = grouped = False
    for line in lines:
        if line.startswith(("Traceback (most recent call last)", _GROUP)):
            inside, grouped = True, line.startswith(_GROUP)
            continue
        text = line[len(_MARGIN) :] if grouped and line.startswith(_MARGIN) else line
        if inside and _RAISED.match(text):
            raised, inside = text, False
        elif line.startswith(("SyntaxError: ", "IndentationError: ", "TabError: ")):
            raised = line
    if raised:
        return raised
    printed = [line.strip() for line in lines if line.strip()]
    return printed[-1] if printed else None
