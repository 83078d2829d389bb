"""What the pod leaves behind for the operator: one JSON object that always parses and always fits in 4,096 bytes."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Mapping, Optional

from smalt_trainer.failures import REASONS, RunFailed

LIMIT = 4096
MESSAGE_LIMIT = 1000
METRICS_LIMIT = 32


@dataclass
class Outcome:
    """How the run went, filled in as it goes."""

    reason: str = ""
    message: str = ""
    exit_code: Optional[int] = None
    metrics: dict[str, float] = field(default_factory=dict)
    non_finite: list[str] = field(default_factory=list)
    digests: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    tracking: dict[str, str] = field(default_factory=dict)
    # How large each input is.
    inputs: dict[str, dict[str, int]] = field(default_factory=dict)
    # Which code was fetched: the commit, say.
    code: dict[str, str] = field(default_factory=dict)
    # Of the tables among inputs and outputs: rows, columns, missing values and warnings, or what was wrong with them.
    profiles: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)

    def fail(self, failure: RunFailed) -> None:
        """Take over why it failed, and the exit code when there is one."""
        self.reason, self.message = failure.reason, failure.message
        self.exit_code = failure.exit_code if failure.exit_code is not None else self.exit_code

    @property
    def succeeded(self) -> bool:
        """A run without a reason to have failed has succeeded."""
        return not self.reason

    def as_json(self) -> dict[str, Any]:
        """The whole outcome, nothing shortened: summary.json."""
        return {
            "version": 1,
            "outcome": "succeeded" if self.succeeded else "failed",
            "reason": self.reason,
            "message": self.message,
            "exitCode": self.exit_code,
            "metrics": {name: value for name, value in self.metrics.items() if math.isfinite(value)},
            "nonFinite": sorted(self.non_finite),
            "digests": self.digests,
            "outputs": self.outputs,
            "tracking": self.tracking,
            "inputs": dict(self.inputs),
            "code": self.code,
            "profiles": {kind: dict(found) for kind, found in self.profiles.items()},
        }


def outcome_of(words: Mapping[str, Any]) -> Outcome:
    """What the wrapper left, as far as it has the form; anybody in the pod can write it."""
    reason, code = words.get("reason"), words.get("exitCode")
    if reason != "" and reason not in REASONS:
        reason = "InternalError"
    is_code = isinstance(code, int) and not isinstance(code, bool) and 0 <= code <= 255
    return Outcome(
        reason=reason,
        message=str(
            words.get("message") or ("the container 'training' left no words that can be read" if reason else "")
        ),
        exit_code=code if is_code else None,
        digests=known_digests(words.get("digests")),
    )


def known_digests(found: Any) -> dict[str, Any]:
    """The digests among it: texts by name, and of the data a text for each input."""
    made: dict[str, Any] = dict(known_texts(found))
    if isinstance(found, dict) and isinstance(found.get("data"), dict):
        made["data"] = known_texts(found["data"])
    return made


def known_sizes(found: Any) -> dict[str, dict[str, int]]:
    """The numbers of bytes and files of each input among it."""
    if not isinstance(found, dict):
        return {}
    sizes = {str(name): each for name, each in found.items() if isinstance(each, dict)}
    return {
        name: {key: each[key] for key in ("bytes", "files")}
        for name, each in sizes.items()
        if all(type(each.get(key)) is int and each[key] >= 0 for key in ("bytes", "files"))
    }


def known_texts(found: Any) -> dict[str, str]:
    """The texts among it, by name."""
    if not isinstance(found, dict):
        return {}
    return {str(name): value for name, value in found.items() if isinstance(value, str)}


def encode(value: Mapping[str, Any]) -> bytes:
    """Compact JSON in UTF-8; half a surrogate, which UTF-8 has no bytes for, becomes a question mark."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")


def shorten(text: str, limit: int) -> str:
    """A text of at most `limit` bytes: its beginning and its end, because the cause is first and the advice last."""
    raw = text.encode("utf-8", "replace")
    if len(raw) <= limit:
        return raw.decode("utf-8")
    mark = "…".encode()
    tail = (limit - len(mark)) // 3
    head = limit - len(mark) - tail
    return raw[:head].decode("utf-8", "ignore") + "…" + raw[len(raw) - tail :].decode("utf-8", "ignore")


def termination_message(outcome: Outcome, provisional: bool = False) -> bytes:
    """The outcome within the limit: what weighs least goes first, and what went missing is in summary.json.

    A provisional one stands in case nothing more can be said: what the node knows of the pod's end weighs more.
    """
    body = outcome.as_json()
    if provisional:
        body["provisional"] = True
    body["message"] = shorten(outcome.message, MESSAGE_LIMIT)
    body["metrics"] = dict(list(body["metrics"].items())[:METRICS_LIMIT])
    body["nonFinite"] = body["nonFinite"][:METRICS_LIMIT]
    while len(encode(body)) > LIMIT and _drop_one(body):
        pass
    return encode(body)


def _drop_one(body: dict[str, Any]) -> bool:
    """Leave out one thing more; False when nothing is left that can be."""
    data = body["digests"].get("data")
    profiles = [found for found in body["profiles"].values() if found]
    if body["inputs"]:
        body["inputs"].popitem()
    elif profiles:
        profiles[-1].popitem()
    elif body["metrics"]:
        body["metrics"].popitem()
    elif body["nonFinite"]:
        body["nonFinite"].pop()
    elif len(encode({"": body["message"]})) > 300:
        body["message"] = shorten(body["message"], len(body["message"].encode()) * 3 // 4)
    elif data:
        body["digests"] = {**body["digests"], "data": dict(list(data.items())[:-1])}
    elif body["outputs"]:
        body["outputs"] = dict(list(body["outputs"].items())[:-1])
    elif body["digests"] or body["tracking"]:
        body["digests"], body["tracking"] = {}, {}
    else:
        return False
    return True


def write_termination(path: Path, content: bytes) -> None:
    """Write in place: the kubelet mounts this very file, so it cannot be replaced by a rename."""
    path.write_bytes(content)
