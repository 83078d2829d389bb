"""The digest of a file or folder by the rule that runs compute it by, so that both mean the same content."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from smalt.cli.errors import CommandFailed

_CHUNK = 1 << 20
# Of a folder, what no run wants: a repository's history and what Python makes of sources.
LEFT_OUT = frozenset({".git", "__pycache__"})


@dataclass(frozen=True)
class Entry:
    """One file of a manifest, and where it lies here."""

    name: str
    size: int
    sha256: str
    file: Path


def entries(path: Path, read: Callable[[int], None]) -> list[Entry]:
    """A file under its own name, or every file below a folder, sorted; `read` hears of each piece that was read."""
    named = sorted(files(path)) if path.is_dir() else [(path.name, path)]
    return [Entry(name, *_digested(file, read), file) for name, file in named]


def files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Links to files are followed; one to a folder that it lies in would never end, so those to folders are refused."""
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(set(folders) - LEFT_OUT)
        for name in folders:
            if Path(parent, name).is_symlink():
                raise CommandFailed(f"{Path(parent, name)} is a link to a folder: put a copy of the folder there")
        for name in names:
            file = Path(parent, name)
            if name.startswith(".."):
                raise CommandFailed(f"{file} begins with two dots, a prefix that belongs to Kubernetes: rename it")
            if not file.is_file():
                raise CommandFailed(f"{file} is no file that can be read: remove it")
            yield file.relative_to(folder).as_posix(), file


def _digested(file: Path, read: Callable[[int], None]) -> tuple[int, str]:
    sha, size = hashlib.sha256(), 0
    try:
        with file.open("rb") as stream:
            while piece := stream.read(_CHUNK):
                sha.update(piece)
                size += len(piece)
                read(len(piece))
    except OSError as error:
        raise CommandFailed(f"{file} cannot be read: {error.strerror}") from error
    return size, sha.hexdigest()


def manifest(found: list[Entry]) -> bytes:
    """The text that is stored beside the files, and digested."""
    lines = [{"path": each.name, "bytes": each.size, "sha256": each.sha256} for each in found]
    lines.sort(key=lambda line: str(line["path"]))
    text = json.dumps(lines, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    return text.encode("utf-8", "surrogateescape")


def size_of(path: Path) -> int:
    """About how much there is to read."""
    found = [each for each in path.rglob("*") if each.is_file()] if path.is_dir() else [path]
    return sum(each.stat().st_size for each in found)


def digest_of(path: Path, read: Callable[[int], None]) -> str:
    """As fields named `digest` take it: of a file its content's, of a folder its manifest's."""
    found = entries(path, read)
    return f"sha256:{digest(manifest(found)) if path.is_dir() else found[0].sha256}"


def digest(text: bytes) -> str:
    """In hex, as the address has it."""
    return hashlib.sha256(text).hexdigest()
