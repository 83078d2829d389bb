"""The pod's last words: a line of JSON in the file that Kubernetes shows in the container's status."""

from __future__ import annotations

import json
from pathlib import Path

from smalt_scorer.failures import Failure

LOG = Path("/dev/termination-log")
MOST_BYTES = 4096  # what the kubelet keeps
MOST_MESSAGE_BYTES = 1000


def text_of(failure: Failure) -> str:
    """Valid JSON of at most 4096 bytes, whatever the message is; control characters take six bytes each in JSON."""
    most = MOST_MESSAGE_BYTES
    while True:
        message = shorten(str(failure), most)
        made = json.dumps({"version": 1, "reason": failure.reason, "message": message}, ensure_ascii=False)
        if len(made.encode()) <= MOST_BYTES:
            return made
        most //= 2


def shorten(text: str, most: int) -> str:
    """At most so many bytes of UTF-8: the beginning and the end, because the cause is first and the next step last."""
    raw = text.encode("utf-8", "replace")
    if len(raw) <= most:
        return raw.decode()
    mark = "…"
    tail = (most - len(mark.encode())) // 3
    head = most - len(mark.encode()) - tail
    return raw[:head].decode("utf-8", "ignore") + mark + raw[len(raw) - tail :].decode("utf-8", "ignore")


def leave(failure: Failure, log: Path = LOG) -> None:
    """Writes the last words; on a laptop there is no such file, and the log has said it already."""
    if log.exists():
        log.write_text(text_of(failure), encoding="utf-8")


def has_words(log: Path = LOG) -> bool:
    """Whether some process of the container has left its last words already."""
    return log.exists() and log.stat().st_size > 0
