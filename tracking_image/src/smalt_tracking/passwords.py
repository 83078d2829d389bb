"""The users' passwords, as the mounted Secret has them now: a re-made Secret holds without a restart."""

from __future__ import annotations

import hmac
from pathlib import Path

# runs write their own records; scoring reads; registry owns the copies of registered models, which runs may only read.
USERS = ("admin", "runs", "scoring", "registry")
MINIMUM = 12


class SecretMissing(ValueError):
    """A file of the Secret that is absent or too short; the text names the file, never its content."""


class Passwords:
    """Says who a name and a password belong to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stamps: dict[str, tuple[int, int, int]] = {}
        self.known: dict[str, bytes] = {}
        self.refresh()

    def refresh(self) -> None:
        """Reads each file that has changed since it was last read."""
        for user in USERS:
            path = self.folder / f"{user}-password"
            stamp = stamp_of(path)
            if self.stamps.get(user) != stamp:
                self.known[user] = secret_from(path)
                self.stamps[user] = stamp

    def user_of(self, name: bytes, password: bytes) -> str | None:
        """The user, or None. Every user is compared, so that the time taken does not tell which names exist."""
        found = None
        for user, expected in self.known.items():
            same = hmac.compare_digest(password, expected)
            if hmac.compare_digest(name, user.encode()) and same:
                found = user
        return found


def stamp_of(path: Path) -> tuple[int, int, int]:
    """What differs when the kubelet has swapped the file for another."""
    try:
        state = path.stat()
    except FileNotFoundError:
        raise missing(path) from None
    return state.st_ino, state.st_mtime_ns, state.st_size


def secret_from(path: Path) -> bytes:
    """A secret's bytes; a line end that an editor added is not part of it."""
    try:
        content = path.read_bytes().rstrip(b"\r\n")
    except FileNotFoundError:
        raise missing(path) from None
    if len(content) < MINIMUM:
        raise SecretMissing(f"{path} is too short: write at least {MINIMUM} bytes to the Secret's key {path.name}")
    return content


def missing(path: Path) -> SecretMissing:
    return SecretMissing(f"{path} is missing: add the key {path.name} to the Secret mounted at {path.parent}")
