"""Whose the machine's bridges, tables and cgroups are: their names are the same for every cache folder.

The record lies where a reboot clears it, as a reboot clears what it speaks of.
"""

from __future__ import annotations

from pathlib import Path

from cluster.processes import Process
from cluster.progress import SetUpFailed

RECORD = Path("/run/smalt-cluster")


def owner(record: Path = RECORD) -> Path | None:
    """The state folder of the cluster that has the machine; none when there is none, or its folder is gone."""
    try:
        found = Path(record.read_text())
    except FileNotFoundError:
        return None
    return found if found.exists() else None


def trouble(folder: Path, record: Path = RECORD) -> str | None:
    """What keeps a cluster of this folder from having the machine."""
    found = owner(record)
    if found is None or found == folder or not lives(found):
        return None
    return f"another cluster has this machine, that of {found}: `SMALT_CACHE={found.parent} make down` ends it"


def lives(folder: Path) -> bool:
    """Whether any process of the cluster in this folder still runs."""
    return any(Process(each.name, folder).pid() for each in (folder / "pids").glob("*"))


def left_behind(folder: Path, record: Path = RECORD) -> Path | None:
    """The folder of another cluster that had the machine and is dead: what it has left is in our way."""
    found = owner(record)
    return found if found is not None and found != folder and not lives(found) else None


def claim(folder: Path, record: Path = RECORD) -> None:
    """SetUpFailed when another cluster has the machine."""
    problem = trouble(folder, record)
    if problem:
        raise SetUpFailed(problem)
    folder.mkdir(parents=True, exist_ok=True)
    record.write_text(str(folder))


def release(record: Path = RECORD) -> None:
    record.unlink(missing_ok=True)
