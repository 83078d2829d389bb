"""Reads requirements.txt: requirements, hashes, and further files of the code; every other option is refused in words.

What an option would decide is decided elsewhere, by the Workspace (where packages come from), or would bring in what no
lock can hold (a folder of the code). An option that was skipped instead would be a wrong environment.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Optional, Tuple

from smalt_trainer.lock import Entry, read_entry
from smalt_trainer.requirements import RequirementError, requirement

_INCLUDE = re.compile(r"^(?:-r|--requirement|-c|--constraint)(?:\s+|=|(?<=^-[rc]))(?P<file>\S.*)$")
_COMMENT = re.compile(r"(^|\s)#.*$")
_DEEPEST = 8


class RequirementsFileError(RequirementError):
    """The file cannot be honoured; the message names file and line."""


@dataclass
class RequirementsFile:
    """What the file and those it includes ask for."""

    entries: list[Entry] = field(default_factory=list)
    constraints: list[str] = field(default_factory=list)

    @property
    def is_lock(self) -> bool:
        """With hashes it is a lock, as pip has it: nothing is resolved, and every file must be one of those."""
        return any(each.hashes for each in self.entries)


def read_requirements(code: Path, path: str) -> RequirementsFile:
    """The file `path` of the code, or RequirementsFileError."""
    found = RequirementsFile()
    _read(code, path, found, ())
    unhashed = next((each for each in found.entries if not each.hashes), None)
    if found.is_lock and unhashed:
        raise RequirementsFileError(
            f"{path}: {unhashed.requirement!r} has no --hash, while others have: give every package one "
            "(uv pip compile --generate-hashes writes them), or none"
        )
    return found


def _read(code: Path, path: str, found: RequirementsFile, above: Tuple[str, ...], constraints: bool = False) -> None:
    if path in above or len(above) >= _DEEPEST:
        raise RequirementsFileError(f"{above[-1]}: {path} is included again and again: remove one of the -r lines")
    for number, line in _lines(_text(code, path)):
        where = f"{path}, line {number}"
        include = _INCLUDE.match(line)
        if include:
            below = _beside(path, include["file"].strip(), where)
            _read(code, below, found, (*above, path), constraints or line.startswith(("-c", "--constraint")))
        elif line.startswith("-"):
            raise RequirementsFileError(f"{where}: {_option(line)}")
        else:
            entry = _entry(line, where)
            if constraints:
                found.constraints.append(entry.requirement)
            else:
                found.entries.append(entry)


def _text(code: Path, path: str) -> str:
    pure = PurePosixPath(path)
    file = code / path
    if pure.is_absolute() or ".." in pure.parts or not file.is_file():
        raise RequirementsFileError(f"{path!r} is not a file of the code")
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise RequirementsFileError(f"{path!r} is not UTF-8 text ({error}): save it as such") from error


def _lines(text: str) -> list[Tuple[int, str]]:
    """Every logical line with the number that it begins at."""
    made: list[Tuple[int, str]] = []
    begun: Optional[int] = None
    held = ""
    for number, raw in enumerate(text.splitlines(), 1):
        begun = begun or number
        if raw.endswith("\\") and not raw.lstrip().startswith("#"):
            held += raw[:-1] + " "
            continue
        line = _COMMENT.sub("", held + raw).strip()
        if line:
            made.append((begun, line))
        begun, held = None, ""
    rest = _COMMENT.sub("", held).strip()
    return [*made, (begun, rest)] if rest and begun else made


def _beside(path: str, named: str, where: str) -> str:
    """A file that another names, by its path in the code."""
    parts: list[str] = list(PurePosixPath(path).parent.parts)
    for part in PurePosixPath(named).parts:
        if part == ".." and parts:
            parts.pop()
        elif part in ("..", "/") or "://" in named:
            raise RequirementsFileError(f"{where}: {named!r} is not a file of the code: copy it there")
        else:
            parts.append(part)
    return "/".join(parts)


def _entry(line: str, where: str) -> Entry:
    entry = read_entry(line)
    if re.search(r"\s--?[A-Za-z]", entry.requirement):
        raise RequirementsFileError(
            f"{where}: {line!r} has an option behind its requirement: only --hash may stand there"
        )
    return Entry(requirement(entry.requirement, where), entry.hashes)


def _option(line: str) -> str:
    name = re.split(r"[\s=]", line, maxsplit=1)[0]
    if name in ("-i", "--index-url", "--extra-index-url", "--no-index", "-f", "--find-links", "--trusted-host"):
        return f"{name} is not taken from a file: set the index in the Workspace's spec.packages.indexUrl, and remove the line"
    if name in ("-e", "--editable"):
        return f"{name} cannot be locked: the code's folder is importable as it is, so remove the line"
    return f"{name} is not supported: remove the line (requirements, --hash, -r and -c are understood)"
