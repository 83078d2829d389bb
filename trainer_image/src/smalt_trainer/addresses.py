"""Addresses of what is fetched: which are accepted, and what of them people may see. Without what fetches it, which takes a
script's container long to load."""

from __future__ import annotations

import os
import urllib.parse
from typing import Optional

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_LONGEST_NAME = 200


def address_problem(url: str) -> Optional[str]:
    """Why an address is refused, or None; http is accepted for this very machine only."""
    parts = urllib.parse.urlsplit(url)
    if not parts.hostname:
        return "names no host"
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK):
        return None
    return f"uses {parts.scheme or 'no scheme'}, only https is accepted"


def shown(url: str) -> str:
    """An address as people may see it: without its query and without a user, which is where signatures and keys stand."""
    parts = urllib.parse.urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def file_name(url: str) -> str:
    """The name under which a fetched file is kept: the last part of the address's path."""
    name = urllib.parse.unquote(urllib.parse.urlsplit(url).path).rsplit("/", 1)[-1]
    return name if is_file_name(name) else "data"


def is_file_name(name: str) -> bool:
    """A name that a file can have, and that a manifest keeps: what begins with two dots is the kubelet's own."""
    fits = len(os.fsencode(name)) <= _LONGEST_NAME
    return bool(name.strip(". ")) and fits and "\0" not in name and "/" not in name and not name.startswith("..")
