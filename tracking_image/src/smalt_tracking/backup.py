"""The history and artifacts of the volume as one tar stream, taken while the server works, and put back from it.

Databases come first, each as SQLite's own online backup has it at one moment, then the artifacts: what a row of the
backup names was stored before the row, so that it is among the files that follow.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

DATABASES = ("mlflow.db", "auth.db")
ARTIFACTS = "artifacts"
# The last member: a stream that broke off has none.
END = "complete"
# A restore is unpacked beside the data and becomes it at the server's next start.
UNFINISHED, STAGED, REPLACED = ".restoring", ".restored", ".replaced"


class BackupInvalid(ValueError):
    """What cannot be backed up, or put back; the text says why and what to do."""


def back_up(data: Path, into: BinaryIO) -> int:
    """Writes the tar; the number of files in it. BackupInvalid where the history is not on the volume."""
    if not (data / DATABASES[0]).exists():
        raise BackupInvalid(
            f"{data} holds no {DATABASES[0]}: with tracking.databaseSecret the history is backed up as the database is, "
            "for example by pg_dump"
        )
    count = 0
    with tarfile.open(fileobj=into, mode="w|") as tar, tempfile.TemporaryDirectory(dir=data) as scratch:
        for name in DATABASES:
            copy = Path(scratch) / name
            with closing(sqlite3.connect(data / name)) as source, closing(sqlite3.connect(copy)) as target:
                source.backup(target)
            tar.add(copy, name)
        for path in _files(data / ARTIFACTS):
            try:
                tar.add(path, str(path.relative_to(data)), recursive=False)
            except FileNotFoundError:
                continue  # deleted since it was listed, as somebody who deletes an artifact wants it
            count += 1
        end = Path(scratch) / END
        end.write_text(f"{count}\n")
        tar.add(end, END)
    return count


def _files(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(place) / name for name in sorted(names))


def restore(data: Path, source: BinaryIO, replace: bool) -> int:
    """Unpacks a backup beside the data; the number of artifacts. BackupInvalid, with everything as it was, for a stream
    that is none or broke off, and for a server that has runs unless they are to be replaced."""
    runs = count_of_runs(data / DATABASES[0])
    if runs and not replace:
        raise BackupInvalid(
            f"this server has {runs} runs already, which the backup would replace: restore into a new Workspace, or say "
            "--replace"
        )
    unfinished = data / UNFINISHED
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.rmtree(data / STAGED, ignore_errors=True)
    unfinished.mkdir()
    try:
        count = _unpack(source, unfinished)
    except (tarfile.TarError, EOFError) as error:
        raise BackupInvalid(f"this is no backup of a tracking server, or it broke off: {error}") from error
    (unfinished / END).unlink()
    (unfinished / ARTIFACTS).mkdir(exist_ok=True)
    unfinished.rename(data / STAGED)
    return count


def _unpack(source: BinaryIO, into: Path) -> int:
    found: set[str] = set()
    with tarfile.open(fileobj=source, mode="r|") as tar:
        for member in tar:
            is_ours = member.name in (*DATABASES, END) or member.name.startswith(f"{ARTIFACTS}/")
            if not (member.isfile() and is_ours):
                raise BackupInvalid(f"'{member.name}' is no part of a backup: give the file that `backup` wrote")
            # `data` lets nothing out of the folder, and no link or device in.
            tar.extract(member, into, filter="data")
            found.add(member.name)
    if END not in found or not found.issuperset(DATABASES):
        raise BackupInvalid("the backup is not complete: it broke off while it was written or read")
    return len(found) - len(DATABASES) - 1


def count_of_runs(database: Path) -> int:
    """How many runs there are to lose."""
    if not database.exists():
        return 0
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        try:
            return int(connection.execute("select count(*) from runs").fetchone()[0])
        except sqlite3.OperationalError:
            return 0  # no tables yet


def put_in_place(data: Path) -> bool:
    """At the start, before anything is opened: makes a restored folder the data. Killed in the middle, the next start goes
    on."""
    staged = data / STAGED
    if not staged.exists():
        shutil.rmtree(data / REPLACED, ignore_errors=True)
        return False
    replaced = data / REPLACED
    replaced.mkdir(exist_ok=True)
    for name in (*DATABASES, ARTIFACTS):
        if not (staged / name).exists():
            continue  # moved before the kill
        for old in (data / name, data / f"{name}-wal", data / f"{name}-shm"):
            if old.exists():
                shutil.rmtree(replaced / old.name, ignore_errors=True)
                old.rename(replaced / old.name)
        (staged / name).rename(data / name)
    staged.rmdir()
    shutil.rmtree(replaced)
    return True


def command(data: Path, name: str, replace: bool) -> int:
    """`backup` writes to standard output, `restore` reads standard input; words for people go to standard error."""
    try:
        if name == "backup":
            count = back_up(data, sys.stdout.buffer)
            print(f"{count} artifacts and the history are backed up", file=sys.stderr)
        else:
            count = restore(data, sys.stdin.buffer, replace)
            print(f"{count} artifacts and the history are put back when the server starts next", file=sys.stderr)
    except (BackupInvalid, OSError) as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0
