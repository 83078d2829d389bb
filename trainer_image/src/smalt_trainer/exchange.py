"""What the two containers of a run's pod tell each other, by files in a folder that both see.

A lock says that its holder lives: the kernel releases it however the holder ends, also by a kill. The script can write
here as well, so what is read is bounded, is a plain file, and is checked by whoever uses it.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO, Mapping, Optional

_MOST_BYTES = 4 << 20


def hold(lock: Path) -> int:
    """Take a lock for as long as this process lives; nobody can see the file before it is taken."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    draft = lock.with_name(f".{lock.name}.new")
    descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    draft.replace(lock)
    return descriptor


def is_held(lock: Path) -> Optional[bool]:
    """Whether the holder lives; None before it has come."""
    stream = open_plain(lock)
    if stream is None:
        return None
    with stream:
        try:
            fcntl.flock(stream.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def leave(file: Path, value: Mapping[str, Any]) -> None:
    """Write an object for the other container, which sees all of it or nothing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.new")
    draft.write_bytes(json.dumps(value).encode())
    draft.replace(file)


def find(file: Path) -> Optional[dict[str, Any]]:
    """The object that was left there; None when there is none, or something else."""
    stream = open_plain(file)
    if stream is None:
        return None
    with stream:
        content = stream.read(_MOST_BYTES)
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def note(file: Path, text: str) -> None:
    """Add a line for the other container's log."""
    with file.open("a", encoding="utf-8") as stream:
        stream.write(" ".join(text.split()) + "\n")


class Notes:
    """Reads the lines that have been added since the last time."""

    def __init__(self, file: Path) -> None:
        self._file, self._offset = file, 0

    def new(self) -> list[str]:
        """Whole lines only."""
        stream = open_plain(self._file)
        if stream is None:
            return []
        with stream:
            stream.seek(self._offset)
            content = stream.read(_MOST_BYTES)
        whole = content[: content.rfind(b"\n") + 1]
        self._offset += len(whole)
        return whole.decode("utf-8", "replace").splitlines()


def open_plain(file: Path) -> Optional[BinaryIO]:
    """A file to read; None when there is none, and for anything that leads elsewhere or could make the reader wait."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return None
    return os.fdopen(descriptor, "rb")
