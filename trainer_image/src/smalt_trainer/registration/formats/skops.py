"""skops: a zip archive of arrays and a schema.json that names the types; none of them is imported."""

from __future__ import annotations

import json
import zipfile
import zlib
from pathlib import Path
from typing import Any, Tuple

from smalt_trainer.registration.formats.found import SKOPS, Found
from smalt_trainer.registration.formats.packed import most_bytes
from smalt_trainer.registration.formats.places import leaves
from smalt_trainer.registration.refused import NotRegistered, damaged, refused, shown

_SCHEMA = "schema.json"
_LARGEST_SCHEMA = 64 << 20
_MOST_MEMBERS = 100_000
_PIECE = 1 << 20
_DAMAGED = (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, NotImplementedError, RuntimeError)


def looks_like(path: Path) -> bool:
    """A zip archive with the description in it."""
    try:
        with zipfile.ZipFile(path) as archive:
            return _SCHEMA in archive.namelist()
    except _DAMAGED:
        return False


def check(path: Path) -> Found:
    """An archive whose members are whole, within it and not too many, and the types that its schema names."""
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(path, archive.infolist())
            schema = json.loads(archive.read(_SCHEMA).decode("utf-8"))
            types, files = _named(path, schema)
            missing = files - set(archive.namelist())
            if missing:
                raise damaged(path.name, f"'{shown(min(missing))}', which its schema names, is not in it")
            _read_through(path, archive)
    except NotRegistered:
        raise
    except (*_DAMAGED, RecursionError, KeyError) as error:
        raise damaged(path.name, str(error)[:200] or type(error).__name__) from error
    return Found(SKOPS, types=types)


def _check_members(path: Path, members: list[zipfile.ZipInfo]) -> None:
    if len(members) > _MOST_MEMBERS:
        raise refused(path.name, f"has more than {_MOST_MEMBERS} members: this is no model")
    most, size = most_bytes(path), 0
    names = set()
    for member in members:
        name = member.filename
        if leaves(name):
            raise refused(
                path.name,
                f"has a member '{shown(name)}', which lies outside of it: this is no model that can be trusted",
            )
        if name in names:
            raise refused(path.name, f"has two members '{shown(name)}': this is no model that can be trusted")
        if (member.external_attr >> 16) & 0o170000 == 0o120000:
            raise refused(path.name, f"has a member '{shown(name)}', which is a link: skops writes none")
        names.add(name)
        size += member.file_size
        if size > most or (name == _SCHEMA and member.file_size > _LARGEST_SCHEMA):
            raise refused(path.name, "would unpack to far more than a model of its size: it is not unpacked")


def _named(path: Path, schema: Any) -> Tuple[Tuple[str, ...], set[str]]:
    """The types and the members that the schema names."""
    if not isinstance(schema, dict) or "__loader__" not in schema or "protocol" not in schema:
        raise damaged(path.name, f"its {_SCHEMA} is not what skops writes")
    types: set[str] = set()
    files: set[str] = set()
    waiting: list[Any] = [schema]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting.extend(node)
            continue
        if not isinstance(node, dict):
            continue
        waiting.extend(value for value in node.values() if isinstance(value, (dict, list)))
        if "__loader__" in node:
            types.add(f"{node.get('__module__')}.{node.get('__class__')}"[:300])
            if isinstance(node.get("file"), str):
                files.add(node["file"])
    return tuple(sorted(types)), files


def _read_through(path: Path, archive: zipfile.ZipFile) -> None:
    """Every member to its end, where its sum is compared; what a header says of its size need not be true."""
    most, size = most_bytes(path), 0
    for member in archive.infolist():
        with archive.open(member) as stream:
            while piece := stream.read(_PIECE):
                size += len(piece)
                if size > most:
                    raise refused(path.name, "would unpack to far more than a model of its size: it is not unpacked")
