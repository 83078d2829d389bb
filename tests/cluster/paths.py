"""Where things lie: everything outside the checkout, so that a second clone finds what the first has built."""

from __future__ import annotations

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent


def cache() -> Path:
    """The cache folder: $SMALT_CACHE, else smalt in the user's cache folder."""
    given = os.environ.get("SMALT_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "smalt"


def state() -> Path:
    """The state of the one local cluster of this machine and user."""
    return cache() / "cluster"


def search_path() -> str:
    """PATH with the folders of administrators' programs, which `su` without a dash leaves out."""
    given = os.environ.get("PATH", "")
    missing = [folder for folder in ("/usr/sbin", "/sbin") if folder not in given.split(":")]
    return ":".join([given, *missing])
