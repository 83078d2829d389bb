"""Credentials as the kubelet mounts them: one file for each key of a Secret, read where they are used and nowhere else.

They reach git by a helper that git itself asks over a pipe: never an argument, an address, a variable or a file of ours.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Mapping, Optional, TextIO

from smalt_trainer.failures import RunFailed

# What hosts of git take as the name of somebody who has a token only.
TOKEN_USER = "x-access-token"  # noqa: S105 — a name
_MEND = "mend the Secret, then apply the run under another name (a run is a record)"


@dataclass(frozen=True)
class Login:
    """A name and what proves it."""

    username: str
    password: str


def mounted(folder: Path) -> Mapping[str, str]:
    """The Secret's values by key; the kubelet's own entries are left out."""
    if not folder.is_dir():
        return {}
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith("..")]
    return {path.name: path.read_text(encoding="utf-8", errors="replace").rstrip("\r\n") for path in files}


def login(folder: Path, field: str, name: Optional[str]) -> Optional[Login]:
    """From the keys `username` and `password`, or `token`; None where no Secret is named. RunFailed as to what it lacks."""
    if name is None:
        return None
    values = mounted(folder)
    password = values.get("password") or values.get("token")
    username = values.get("username") or (TOKEN_USER if values.get("token") else None)
    if not password or not username:
        has = ", ".join(values) or "nothing"
        ssh = "; keys for ssh are not used, since git is fetched over https" if "ssh-privatekey" in values else ""
        raise RunFailed(
            "CodeUnavailable",
            f"Secret '{name}', named in {field}, has {has}, and username and password, or token, are wanted{ssh}: {_MEND}",
        )
    if any(character in username + password for character in "\r\n\0"):
        raise RunFailed(
            "CodeUnavailable",
            f"Secret '{name}', named in {field}, has a line break in its username, password or token: {_MEND}",
        )
    return Login(username, password)


def answer_git(folder: Path, operation: str, out: TextIO = sys.stdout) -> int:
    """The command `git-credential`: what git asks its helper for. Nothing is ever stored or erased."""
    if operation == "get":
        found = login(folder, "credentialsSecret", folder.name)
        if found:
            out.write(f"username={found.username}\npassword={found.password}\n")
    return 0


def scrubbed(text: str, found: Optional[Login]) -> str:
    """A text of somebody else's, such as a server's, without the password in it."""
    return text.replace(found.password, "***") if found else text
