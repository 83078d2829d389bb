"""The digest of an artifact, taken from what lies on the disk; the trainer took it in the same way."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Entry:
    """One file of a manifest."""

    path: str
    size: int
    sha256: str


def file_sha256(path: Path) -> str:
    """Hexadecimal, read piece by piece."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def manifest(place: Path) -> list[Entry]:
    """Every file below a folder; of a single file, itself under its own name."""
    if place.is_file():
        return [_entry(place, place.name)]
    return [_entry(path, path.relative_to(place).as_posix()) for path in place.rglob("*") if path.is_file()]


def _entry(path: Path, name: str) -> Entry:
    return Entry(name, path.stat().st_size, file_sha256(path))


def manifest_text(entries: Iterable[Entry]) -> str:
    """Compact JSON, sorted by path: this text is what is digested."""
    lines = [{"path": each.path, "bytes": each.size, "sha256": each.sha256} for each in entries]
    lines.sort(key=lambda line: str(line["path"]))
    return json.dumps(lines, separators=(",", ":"), sort_keys=True, ensure_ascii=False)


def text_digest(text: str) -> str:
    """`sha256:` and the hex digest of a text; file names that are no UTF-8 keep their bytes."""
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def manifest_digest(entries: Iterable[Entry]) -> str:
    """The digest of the whole artifact."""
    return text_digest(manifest_text(entries))


def entries_of(text: str) -> list[Entry]:
    """A stored manifest. ValueError when it is none, or names a path outside its folder."""
    found = json.loads(text)
    if not isinstance(found, list):
        raise ValueError("the manifest is no list")
    made = []
    for line in found:
        path = line["path"]
        parts = Path(path).parts
        if not parts or Path(path).is_absolute() or ".." in parts or "\0" in path:
            raise ValueError(f"the manifest names {path!r}, which lies outside of the artifact")
        made.append(Entry(path, int(line["bytes"]), str(line["sha256"])))
    return made
