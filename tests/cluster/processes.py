"""Long-lived processes by pid file: started once, recognised after a reboot, ended exactly."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cluster.paths import search_path
from cluster.progress import SetUpFailed

_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG


class Process:
    """One program with a log and a pid file in a folder."""

    def __init__(self, name: str, folder: Path, die_with_parent: bool = False) -> None:
        self.name, self.folder = name, folder
        self.die_with_parent = die_with_parent
        self.log = folder / "logs" / f"{name}.log"
        self._file = folder / "pids" / name

    def pid(self) -> int | None:
        """The process, if it is still the one that was started; a pid that has gone to another counts as gone."""
        try:
            pid, started = self._file.read_text().split()
        except (FileNotFoundError, ValueError):
            return None
        return int(pid) if _start_time(int(pid)) == started else None

    def start(self, command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> bool:
        """True when it had to be started."""
        if self.pid():
            return False
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PATH": search_path(), **(environment or {})},
                start_new_session=True,
                preexec_fn=_die_with_parent if self.die_with_parent else None,
            )
        self._file.write_text(f"{process.pid} {_start_time(process.pid)}")
        return True

    def wait(self, holds: Callable[[], bool], seconds: float) -> None:
        """Until it holds. SetUpFailed with the end of the log when the process ends, or time does."""
        deadline = time.monotonic() + seconds
        while not holds():
            if not self.pid():
                raise SetUpFailed(f"{self.name} has ended:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise SetUpFailed(f"{self.name} was not ready after {seconds:.0f} s ({self.log}):\n{self.tail()}")
            time.sleep(0.1)

    def stop(self, seconds: float = 20) -> None:
        """Asks, waits, and insists."""
        pid = self.pid()
        if pid:
            _end(pid, signal.SIGTERM)
            deadline = time.monotonic() + seconds
            while self.pid() and time.monotonic() < deadline:
                _reap(pid)
                time.sleep(0.05)
            if self.pid():
                _end(pid, signal.SIGKILL)
        self._file.unlink(missing_ok=True)

    def tail(self) -> str:
        try:
            return self.log.read_text(errors="replace")[-3000:]
        except FileNotFoundError:
            return "(no log)"


def end_all(pids: Sequence[int], seconds: float = 10) -> None:
    """Kills, and waits until they are gone: what they held, such as a cgroup, is free only then."""
    started = {pid: _start_time(pid) for pid in pids}
    for pid in pids:
        _end(pid, signal.SIGKILL)
    deadline = time.monotonic() + seconds
    while any(when and _start_time(pid) == when for pid, when in started.items()):
        if time.monotonic() > deadline:
            raise SetUpFailed(f"processes {list(pids)} do not end: look at them with `ps`, and try again")
        time.sleep(0.02)


def naming(word: str, program: str) -> list[int]:
    """Processes of a program with exactly this word in their command line: a path of ours names only what is ours."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue  # it has ended while we looked
            if program.encode() in words[0] and word.encode() in words:
                found.append(int(entry.name))
    return found


def below(pid: int) -> list[int]:
    """Children, and theirs."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue  # it has ended while we looked
            if parent == pid:
                found += [int(entry.name), *below(int(entry.name))]
    return found


def _end(pid: int, how: signal.Signals) -> None:
    try:
        os.kill(pid, how)
    except ProcessLookupError:
        return


def _reap(pid: int) -> None:
    """A child of ours stays a zombie until it is waited for; one of an earlier call is nobody's."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def _start_time(pid: int) -> str | None:
    """The kernel's start time of the process; None for none, and for one that has ended but was not waited for."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else fields[19]


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
