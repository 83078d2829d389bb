"""What a training script imports to log a metric or its progress: one appended line, no network, nothing to start or to end.

A line is handed to the kernel by a single write, so a script that is killed has lost nothing it logged.
Outside a run (on a laptop) the same call prints the line, so that one script works in both places.
"""

from __future__ import annotations

import os
import sys
import time

# For those who check types: importing this must cost a script nothing.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./ :")
_NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
_known: dict[str, str] = {}
_spool: int | None = None
_spool_process = -1


def name_problem(name: object) -> str | None:
    """Why the tracking server would refuse a metric of this name, or None when it takes it."""
    if not isinstance(name, str) or not name:
        return "is not a non-empty string"
    if len(name) > 250:
        return f"has {len(name)} characters, at most 250 are allowed"
    if not _NAME_CHARACTERS.issuperset(name):
        return "may only hold letters, digits, spaces and _ - . / :"
    if name.startswith(("/", "..")) or os.path.normpath(name) != name or name == ".":
        return "must not look like a path that is absolute, empty in a part, or leads upwards"
    return None


def log(name: str, value: float, step: int | None = None) -> None:
    """Record one value of a metric; without `step`, the values of a name are counted 0, 1, 2, …"""
    key = _known.get(name) or _learn(name)
    number = float(value)
    text = repr(number) if number - number == 0.0 else _NOT_FINITE[repr(number)]
    line = f'{{"metric":"{key}","value":{text},"step":{"null" if step is None else int(step)}'
    target = _spool if _spool_process == os.getpid() else _open()
    if target is None:
        sys.stdout.write(line + "}\n")
        return
    os.write(target, f'{line},"time":{time.time_ns() // 1000000}}}\n'.encode())


def progress(percent: float) -> None:
    """Say how much of the work is done, from 0 to 100; the run's status shows it with the time that is left."""
    number = float(percent)
    if not 0.0 <= number <= 100.0:
        raise ValueError(f"progress {percent!r} is not from 0 to 100; pass percent to run.progress")
    line = f'{{"progress":{number!r}}}\n'
    target = _spool if _spool_process == os.getpid() else _open()
    if target is None:
        sys.stdout.write(line)
    else:
        os.write(target, line.encode())


def tag(name: str, value: str) -> None:
    """Attach a text to the run."""
    import json

    line = json.dumps({"tag": _known.get(name) or _learn(name), "value": str(value)[:5000]}) + "\n"
    target = _spool if _spool_process == os.getpid() else _open()
    if target is None:
        sys.stdout.write(line)
    else:
        os.write(target, line.encode())


def artifact(name: str) -> str | None:
    """Where a file is to be written that is kept with the run under this name; None outside of a run."""
    folder = os.environ.get("SMALT_ARTIFACTS")
    if not folder:
        return None
    problem = name_problem(name)
    if problem:
        raise ValueError(f"artifact name {name!r} {problem}; choose another one")
    path = os.path.join(folder, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    return path


def put(path: str, write: Callable[[str], object]) -> None:
    """Have a file written beside its place and then put there, so that nobody sees half of it."""
    draft = os.path.join(os.path.dirname(path), f"..{os.path.basename(path)}")
    write(draft)
    os.replace(draft, path)


def _learn(name: str) -> str:
    problem = name_problem(name)
    if problem:
        raise ValueError(f"metric name {name!r} {problem}; rename it in the call of run.log")
    _known[name] = name
    return name


def _open() -> int | None:
    """The spool of this process, opened on first use; None when the script does not run inside a run."""
    global _spool, _spool_process
    path = os.environ.get("SMALT_METRICS_SPOOL")
    _spool = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644) if path else None
    _spool_process = os.getpid()
    return _spool
