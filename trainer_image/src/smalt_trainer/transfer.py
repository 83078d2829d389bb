"""One file from wherever it lies to the disk: streamed, taken up where it broke off, shown as it comes, given up in the end.

How a file is asked for is its source's business (download.py, s3.py, artifacts.py); this module decides what a
broken connection costs, so that it costs the same everywhere.
"""

from __future__ import annotations

import errno
import hashlib
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional, Protocol, TypeVar

from smalt_trainer.progress import Progress, amount

T = TypeVar("T")
CHUNK = 1 << 20
TRIES = 6
_LONGEST_PAUSE = 30.0


class FetchFailed(Exception):
    """The source did not yield the whole file; the message says why, and trying again changes nothing."""


class Interrupted(Exception):
    """The transfer broke off and trying again may help; `afresh` when what came so far is of no use."""

    def __init__(self, message: str, afresh: bool = False) -> None:
        super().__init__(message)
        self.afresh = afresh


@dataclass(frozen=True)
class Answer:
    """What a source sends: bytes from `start` on, which is 0 when it begins anew; `tag` names this very version."""

    read: Callable[[int], bytes]
    start: int
    length: Optional[int]
    tag: str


class Source(Protocol):
    """A file that can be asked for, from the start or from somewhere within."""

    @property
    def shown(self) -> str:
        """The file's address as people may see it."""

    def open(self, start: int, tag: str) -> AbstractContextManager[Answer]:
        """Ask for the rest of the version `tag` (the whole file when start is 0). FetchFailed or Interrupted."""


def transfer(source: Source, target: Path, progress: Progress, tries: int = TRIES, pause: float = 1.0) -> None:
    """Fetch into `target`; tries in a row that get no further than any before are counted, the others are not."""
    part = _part_of(target)
    tag, furthest, failures = "", 0, 0
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(target, error) from error
    while True:
        try:
            # Without a tag the rest could belong to another version of the file, so it is fetched from its start again.
            with source.open(_size(part) if tag else 0, tag) as answer:
                tag = answer.tag
                _write(answer, part, target, progress)
            part.replace(target)
            return
        except Interrupted as error:
            if error.afresh:
                part.unlink(missing_ok=True)
                tag = ""
            reached = _size(part)
            failures = 1 if reached > furthest else failures + 1
            furthest = max(furthest, reached)
            if failures >= tries:
                part.unlink(missing_ok=True)
                raise FetchFailed(f"{error}, {tries} times in a row") from error
            step = "going on from there" if tag and reached else "beginning again"
            progress.say(f"{source.shown}: {error} after {amount(reached)}; {step}")
            time.sleep(_pause(pause, failures))


def patiently(ask: Callable[[], T], tries: int = TRIES, pause: float = 1.0) -> T:
    """What is small enough to be asked for as a whole; FetchFailed when it is never answered."""
    failures = 0
    while True:
        try:
            return ask()
        except Interrupted as error:
            failures += 1
            if failures >= tries:
                raise FetchFailed(f"{error}, {tries} times in a row") from error
            time.sleep(_pause(pause, failures))


def _pause(pause: float, failures: int) -> float:
    return float(min(pause * 2 ** (failures - 1), _LONGEST_PAUSE))


def _write(answer: Answer, part: Path, target: Path, progress: Progress) -> None:
    """All that comes; Interrupted when it is not all that was promised."""
    progress.begins(answer.start, answer.length)
    received = 0
    try:
        stream = part.open("ab" if answer.start else "wb")
    except OSError as error:
        raise _unwritable(target, error) from error
    with stream:
        while True:
            piece = answer.read(CHUNK)
            if not piece:
                break
            try:
                stream.write(piece)
            except OSError as error:
                raise _unwritable(target, error) from error
            received += len(piece)
            progress.advance(len(piece))
    if answer.length is not None and received != answer.length:
        raise Interrupted(f"the connection ended {amount(answer.length - received)} early")


def _unwritable(target: Path, error: OSError) -> FetchFailed:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return FetchFailed("there is no space left for it in the pod")
    return FetchFailed(f"{target.name!r} cannot be written ({error.strerror or error})")


def _part_of(target: Path) -> Path:
    """Beside the target, under a name that is short however long the target's is."""
    return target.with_name(f".{hashlib.sha256(target.name.encode('utf-8', 'surrogateescape')).hexdigest()[:16]}.part")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
