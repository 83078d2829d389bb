"""Digests of code, data, environment, parameters and outputs: the same content gives the same digest anywhere."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterable, Optional

from smalt_trainer.links import is_below

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Entry:
    """One file of a manifest."""

    path: str
    size: int
    sha256: str


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's content, in hex, read piece by piece."""
    sha = hashlib.sha256()
    with path.open("rb") as stream:
        while True:
            try:
                piece = stream.read(_CHUNK)
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(path)) from error  # a read does not name its file
            if not piece:
                return sha.hexdigest()
            sha.update(piece)


def entry(path: Path, name: str) -> Entry:
    """The manifest's line for one file, under the name it is known by."""
    return Entry(name, path.stat().st_size, file_sha256(path))


def files_below(
    folder: Path, root: Optional[Path] = None, problems: Optional[list[OSError]] = None
) -> list[tuple[str, Path]]:
    """Every file below a folder by relative path, sorted; `..data` and its like, the kubelet's own, are left out.

    Links are followed, to files and to folders: what lies behind them is part of the content. OSError, with the path,
    for what cannot be read, for a link to a folder that it lies in itself, and for one that leads out of `root`; where
    there is a list for problems, they go there and the rest is found.
    """
    found: list[tuple[str, Path]] = []
    check_inside(folder, root)
    waiting: list[tuple[Path, tuple[tuple[int, int], ...]]] = [(folder, (_identity(folder),))]
    while waiting:
        parent, above = waiting.pop()
        with os.scandir(parent) as entries:
            for each in entries:
                path = parent / each.name
                if each.name.startswith(".."):
                    continue
                try:
                    if each.is_symlink():
                        check_inside(path, root)
                    if each.is_dir():
                        waiting.append((path, (*above, _apart(path, above))))
                    elif each.is_file():
                        found.append((path.relative_to(folder).as_posix(), path))
                except OSError as problem:
                    if problems is None:
                        raise
                    problems.append(problem)
    return sorted(found)


def _apart(folder: Path, above: tuple[tuple[int, int], ...]) -> tuple[int, int]:
    """The folder's identity, which must be none of those that it lies in."""
    here = _identity(folder)
    if here in above:
        raise OSError(errno.ELOOP, "this link leads to a folder that it lies in, remove it", str(folder))
    return here


def check_inside(path: Path, root: Optional[Path]) -> None:
    """OSError for what lies elsewhere."""
    if root is not None and not is_below(path, root.resolve()):
        raise OSError(errno.EACCES, "it is a link that leads out of the run's folders", str(path))


def _identity(folder: Path) -> tuple[int, int]:
    """What tells one folder from another, whichever way leads to it."""
    status = folder.stat()
    return status.st_dev, status.st_ino


def manifest(path: Path, root: Optional[Path] = None) -> list[Entry]:
    """The manifest of a file (one entry, its own name) or of a folder (every file below it); OSError as above."""
    check_inside(path, root)
    if path.is_dir():
        return [entry(file, name) for name, file in files_below(path, root)]
    return [entry(path, path.name)]


def manifest_text(entries: Iterable[Entry]) -> str:
    """The manifest as stored and as digested: compact JSON, sorted by path."""
    ordered = sorted(entries, key=lambda one: one.path)
    return _compact([{"path": one.path, "bytes": one.size, "sha256": one.sha256} for one in ordered])


def entries_of(text: str) -> list[Entry]:
    """The entries of a stored manifest. ValueError when it is none, or names a path outside of its folder."""
    found = json.loads(text)
    if not isinstance(found, list):
        raise ValueError("it is no list")
    made = []
    for line in found:
        if not isinstance(line, dict) or not isinstance(line.get("path"), str):
            raise ValueError("an entry has no path")
        made.append(Entry(inside(line["path"]), int(line["bytes"]), str(line["sha256"])))
    return made


def inside(path: str) -> str:
    """The path, when it lies below the folder it is relative to under that very name; else ValueError."""
    parts = path.split("/")
    if not all(parts) or "." in parts or any(part.startswith("..") for part in parts) or "\0" in path:
        raise ValueError(f"{path!r} would not lie below its folder under that very name")
    return path


def manifest_digest(entries: Iterable[Entry]) -> str:
    """The digest of an artifact: that of its manifest."""
    return text_digest(manifest_text(entries))


def text_digest(text: str) -> str:
    """`sha256:` and the hex digest of a text in UTF-8; what no UTF-8 exists for (odd file names) keeps its bytes."""
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def canonical_digest(value: Any) -> str:
    """The digest of a JSON value in which 1.0 and 1 are the same number, whatever wrote it."""
    return text_digest(_compact(_canonical(value)))


def _canonical(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {str(key): _canonical(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_canonical(item) for item in value]
    return value


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
