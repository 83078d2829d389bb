"""The pod's last words: a line of JSON in the file that Kubernetes shows in the container's status."""

from __future__ import annotations

import json
from pathlib import Path

from smalt_scorer.failures import Failure

LOG = Path("/dev/termination-log")
MOST_CHARACTERS = 1000


def text_of(failure: Failure) -> str:
    """Valid JSON of less than 4096 bytes, whatever the message is."""
    message = str(failure)
    if len(message) > MOST_CHARACTERS:
        message = message[: MOST_CHARACTERS - 1] + "…"
    made = json.dumps({"version": 1, "reason": failure.reason, "message": message}, ensure_ascii=False)
    if len(made.encode(errors="replace")) > 4096:
        return json.dumps({"version": 1, "reason": failure.reason, "message": message[:500]})
    return made


def leave(failure: Failure, log: Path = LOG) -> None:
    """Writes the last words; on a laptop there is no such file, and the log has said it already."""
    if log.exists():
        log.write_text(text_of(failure), errors="replace")
