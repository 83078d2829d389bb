"""The API server's own audit log as the stop-watch: microseconds, and no watch of ours that would cost both sides CPU."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.rows import CannotMeasure

WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})


@dataclass(frozen=True)
class Entry:
    """One request that was answered."""

    user: str
    verb: str
    resource: str
    subresource: str
    namespace: str
    name: str
    received: float
    answered: float

    @property
    def is_write(self) -> bool:
        return self.verb in WRITES

    @property
    def makes_job(self) -> bool:
        return (self.verb, self.resource, self.subresource) == ("create", "jobs", "")


class Audit:
    """What was written since it was made, each entry given once; the lines others are interested in are not parsed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = path.stat().st_size
        self._rest = b""

    def new(self, containing: bytes = b"") -> list[Entry]:
        """Successful requests that came since the last call. CannotMeasure when the log has been rotated meanwhile."""
        if self._path.stat().st_size < self._at:
            raise CannotMeasure(
                f"{self._path} was rotated in the middle of a measurement: choose a smaller BENCH_SCALE"
            )
        with self._path.open("rb") as log:
            log.seek(self._at)
            content = log.read()
        self._at += len(content)
        *lines, self._rest = (self._rest + content).split(b"\n")
        entries = (_entry(json.loads(line)) for line in lines if containing in line)
        return [entry for entry in entries if entry is not None]


class Jobs:
    """Jobs made in one namespace by one user, by name; asked again and again until there are enough."""

    def __init__(self, path: Path, namespace: str, user: str) -> None:
        self._audit = Audit(path)
        self._namespace, self._user = namespace, user
        self.made: dict[str, Entry] = {}

    def look(self) -> list[str]:
        """The names that have come since the last look."""
        fresh = [
            entry
            for entry in self._audit.new(b'"resource":"jobs"')
            if entry.makes_job and entry.namespace == self._namespace and entry.user == self._user
        ]
        self.made |= {entry.name: entry for entry in fresh}
        return [entry.name for entry in fresh]

    def reach(self, count: int) -> Callable[[], bool]:
        def holds() -> bool:
            self.look()
            return len(self.made) >= count

        return holds

    @property
    def last(self) -> float:
        return max(entry.answered for entry in self.made.values())

    @property
    def span(self) -> float:
        """Seconds from the first request for a Job to the answer to the last."""
        return self.last - min(entry.received for entry in self.made.values())


def _entry(event: dict[str, Any]) -> Entry | None:
    if event["responseStatus"].get("code", 0) >= 300 if "responseStatus" in event else True:
        return None
    about = event.get("objectRef") or {}
    return Entry(
        user=event["user"]["username"],
        verb=event["verb"],
        resource=about.get("resource", ""),
        subresource=about.get("subresource", ""),
        namespace=about.get("namespace", ""),
        name=about.get("name", ""),
        received=_instant(event["requestReceivedTimestamp"]),
        answered=_instant(event["stageTimestamp"]),
    )


def _instant(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
