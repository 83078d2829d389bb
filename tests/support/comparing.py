"""What differs between two servers' answers, and which differences are meant."""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from support.azure_requests import Case, Group
from support.score_servers import Answered

# Of the connection, of the clock, and the length of a body that is compared itself.
_NOT_COMPARED = {"date", "server", "connection", "content-length", "transfer-encoding", "keep-alive"}
_MADE_UP = ("x-request-id", "x-ms-request-id")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
ANY, ABSENT = "*", "absent"


@dataclass(frozen=True)
class Difference:
    """`what` is `status`, `body`, or `header <name>`; values as text."""

    case: str
    what: str
    azure: str
    ours: str


@dataclass
class Deviation:
    """A difference that is meant: in which cases (patterns), of what, from which value to which, and why."""

    name: str
    cases: Sequence[str]
    differs: Mapping[str, Sequence[str]]
    reason: str
    seen: set[str] = field(default_factory=set)

    def covers(self, difference: Difference) -> bool:
        pair = self.differs.get(difference.what)
        if pair is None or not any(fnmatch.fnmatchcase(difference.case, each) for each in self.cases):
            return False
        return all(
            fnmatch.fnmatchcase(value, each)
            for each, value in zip(pair, (difference.azure, difference.ours), strict=True)
        )


def deviations(path: Path) -> list[Deviation]:
    """All that the file names."""
    return [Deviation(**each) for each in yaml.safe_load(path.read_text())]


def differences(group: Group, case: Case, azure: Answered, ours: Answered) -> Iterator[Difference]:
    name = f"{group.name}: {case.name}"
    theirs, mine = _parts(azure), _parts(ours)
    for what in sorted(theirs.keys() | mine.keys()):
        pair = theirs.get(what, ABSENT), mine.get(what, ABSENT)
        if pair[0] != pair[1]:
            yield Difference(name, what, *pair)


def _parts(answer: Answered) -> dict[str, str]:
    parts = {"status": str(answer.status), "body": _body(answer)}
    for name in {name for name, _ in answer.headers} - _NOT_COMPARED:
        value = answer.header(name) or ""
        if name == "x-ms-run-fn-exec-ms":
            value = "<milliseconds>" if float(value) >= 0 and len(value.partition(".")[2]) == 3 else value
        elif name in _MADE_UP and _UUID.fullmatch(value):
            value = "<made up>"
        parts[f"header {name}"] = value
    return parts


def _body(answer: Answered) -> str:
    """JSON as Python prints it, so that NaN is itself; descriptions in an API's document are words, not contract."""
    if (answer.header("content-type") or "").startswith("application/json") and answer.body:
        return repr(_without_descriptions(json.loads(answer.body)))
    return repr(answer.body)


def _without_descriptions(value: Any) -> Any:
    if isinstance(value, dict):
        is_words = isinstance(value.get("description"), str)
        kept = {
            key: _without_descriptions(each) for key, each in value.items() if not (is_words and key == "description")
        }
        return dict(sorted(kept.items(), key=lambda item: str(item[0])))
    return [_without_descriptions(each) for each in value] if isinstance(value, list) else value
