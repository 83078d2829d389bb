"""Profiles of the tables among a run's inputs and outputs, made by processes of their own beside the script.

A profile is information: whatever goes wrong with one is said in a sentence, and the run goes on. Nothing of the user's
is imported or executed for it, and the process that reads a table gets no variable of the recorder's.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator, Mapping, Optional, Tuple

from smalt_trainer.contract import Input
from smalt_trainer.links import is_below
from smalt_trainer.outputs import Output

INPUTS, OUTPUTS = "inputs", "outputs"
# Compressed or not; a file with another name, or none, is looked into.
TABULAR = (".csv", ".tsv", ".parquet", ".pq", ".jsonl", ".ndjson")
COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
# Of a folder, the first ones by name; among so many files at most, since nobody waits for the end of a million.
MOST_FILES = 5
MOST_LOOKED_AT = 10_000
# Once the script has ended: how long what is being read may go on, and how long all the rest may take together.
INPUT_SECONDS = 30.0
OUTPUT_SECONDS = 60.0
# A table takes less, however large it is; a file that is made to take more must not end the recorder with it.
MEMORY_MIB = 1024
# From being told to stop reading to the finished report.
CLOSING_SECONDS = 20.0
NO_TIME = "there was no time left to profile it after the script's end"
# An environment variable of the run: 0 keeps no rows of its data.
KEEP_ROWS = "SMALT_PROFILE_SAMPLE"
_MODELS = ("customModel", "mlflowModel", "tritonModel")
_PROBLEM = 3
_MOST_WORDS = 200
_GLANCE = 0.1


@dataclass(frozen=True)
class Table:
    """One file to profile: `kind` and `name` say which input or output it is, `below` where in a folder it lies."""

    kind: str
    name: str
    path: Path
    below: str = ""
    target: Optional[str] = None

    @property
    def place(self) -> str:
        """Where its profile lies among the artifacts, below `profiles/`."""
        return "/".join(filter(None, (self.kind, self.name, self.below)))


def input_tables(inputs: Mapping[str, Input], fetched: Mapping[str, Mapping[str, Any]]) -> Iterator[Table]:
    """The tables among the inputs; models are none. `fetched` are the facts of those that were brought."""
    for name, given in sorted(inputs.items()):
        place = (fetched.get(name) or {}).get("path") if given.is_fetched else given.mount
        if place and not given.path.startswith("model://"):
            yield from _tables(INPUTS, name, Path(place), _root(given, Path(place)), given.target)


def output_tables(outputs: Mapping[str, Output], declared: Mapping[str, str]) -> Iterator[Table]:
    """The tables among the outputs that the script has written."""
    for name, output in sorted(outputs.items()):
        if declared.get(name) not in _MODELS:
            yield from _tables(OUTPUTS, name, output.path, output.path.parent, None)


def _root(given: Input, place: Path) -> Path:
    """The folder that nothing of an input leads out of: a volume's own, whichever part of it the address names."""
    if given.is_fetched:
        return place if place.is_dir() else place.parent
    inside = given.path.partition("://")[2].strip("/").split("/")[1:]
    return place.parents[len(inside) - 1] if inside else place


def _tables(kind: str, name: str, path: Path, root: Path, target: Optional[str]) -> Iterator[Table]:
    if not _is_inside(path, root):
        return
    if not path.is_dir():
        if is_tabular(path.name) or looks_tabular(path):
            yield Table(kind, name, path, "", target)
        return
    found = (file for file in _files(path) if is_tabular(file.name) and file.is_file() and _is_inside(file, path))
    for file in itertools.islice(found, MOST_FILES):
        yield Table(kind, name, file, file.relative_to(path).as_posix(), target)


def _files(folder: Path) -> Iterator[Path]:
    """Those of the folder before those of its folders; without what the kubelet keeps a ConfigMap's versions in."""

    def walked() -> Iterator[Path]:
        for parent, folders, names in os.walk(folder):
            folders[:] = sorted(each for each in folders if not each.startswith(".."))
            yield from (Path(parent, each) for each in sorted(names))

    return itertools.islice(walked(), MOST_LOOKED_AT)


def is_tabular(name: str) -> bool:
    """By its ending."""
    plain = name.lower()
    for ending in COMPRESSED:
        plain = plain[: -len(ending)] if plain.endswith(ending) else plain
    return plain.endswith(TABULAR)


def looks_tabular(path: Path) -> bool:
    """A file whose name does not say what it is: Parquet, or text whose first line has columns."""
    try:
        with path.open("rb") as stream:
            head = stream.read(4096)
    except OSError:
        return False
    if head.startswith(b"PAR1"):
        return True
    first, _, rest = head.partition(b"\n")
    is_text = b"\0" not in head and bool(rest.strip())
    return is_text and not first.startswith((b"{", b"<", b"[")) and any(mark in first for mark in (b",", b"\t", b";"))


def _is_inside(file: Path, folder: Path) -> bool:
    """A link may lead to what only the recorder can see, its password for one: only what lies there is read."""
    try:
        return is_below(file, folder.resolve())
    except (OSError, RuntimeError):
        return False


@dataclass
class Profiler:
    """Makes profiles into a folder; what it found stands in `found`, by kind and name."""

    folder: Path
    say: Callable[[str], None]
    keeps_rows: bool = True
    found: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._deadline: Optional[float] = None
        self._thread: Optional[threading.Thread] = None
        self._is_over = False

    def start(self, tables: Iterable[Table]) -> None:
        """Begin with these in a side thread, while the script works; they are looked for there, too."""
        self._thread = threading.Thread(target=self._all, args=(tables,), name="profiles", daemon=True)
        self._thread.start()

    def finish(self, tables: Iterable[Table], is_over: Callable[[], bool]) -> None:
        """The script has ended: what is begun may go on for a while, then come these. `is_over` ends it all at once."""
        self._wait_for_thread(INPUT_SECONDS, is_over)
        if not self._is_over:
            self.start(tables)
            self._wait_for_thread(OUTPUT_SECONDS, is_over)

    def _wait_for_thread(self, seconds: float, is_over: Callable[[], bool]) -> None:
        self._deadline = time.monotonic() + seconds
        self._is_over = is_over()
        while self._thread is not None and self._thread.is_alive():
            self._is_over = self._is_over or is_over()
            self._thread.join(_GLANCE)

    def _all(self, tables: Iterable[Table]) -> None:
        try:
            for table in tables:
                if self._is_over:
                    return
                self._note(table, self._one(table) if self._left() > 0 else {"message": NO_TIME})
        except Exception as error:
            # Nothing that is wrong with a profile, or with looking for tables, may cost the run its results.
            self.say(f"profiles: {type(error).__name__}: {error}; what is left is not profiled")

    def _left(self) -> float:
        return float("inf") if self._deadline is None else self._deadline - time.monotonic()

    def _one(self, table: Table) -> dict[str, Any]:
        """The summary of its profile, or a message."""
        into = self.folder / table.place
        command = [sys.executable, "-s", "-m", "smalt_profile", str(table.path), "--out", str(into)]
        command += ["--memory", str(MEMORY_MIB), *(["--target", table.target] if table.target else [])]
        # What a model is trained on is kept in samples, to try it with; of what a run makes, only what is told of it.
        command += ["--sample"] if self.keeps_rows and table.kind == INPUTS else []
        process = subprocess.Popen(
            command,
            env=_variables(),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        said: list[Tuple[bytes, bytes]] = []
        reader = threading.Thread(target=lambda: said.append(process.communicate()), daemon=True)
        reader.start()
        is_cut = self._wait(process, reader)
        return {"message": NO_TIME} if is_cut else summary(process.returncode, *(said[0] if said else (b"", b"")))

    def _wait(self, process: subprocess.Popen[bytes], reader: threading.Thread) -> bool:
        """Until it has ended: told to stop reading when its time is up. True when it was ended, since it came to no end."""
        told: Optional[float] = None
        is_cut = False
        while reader.is_alive():
            reader.join(_GLANCE)
            now = time.monotonic()
            if self._is_over or (told is not None and now > told + CLOSING_SECONDS):
                process.kill()
                is_cut = True
            elif told is None and self._left() <= 0:
                process.terminate()
                told = now
        return is_cut

    def _note(self, table: Table, made: dict[str, Any]) -> None:
        if "message" in made:
            self.say(f"profile of {table.place}: {made['message']}")
        known = self.found.setdefault(table.kind, {})
        known[table.name] = added(known[table.name], made) if table.name in known else made


def summary(code: Optional[int], out: bytes, err: bytes) -> dict[str, Any]:
    """What the process said: the counts, or why there is no profile."""
    try:
        said = json.loads(out)
    except ValueError:
        said = None
    if code == 0 and isinstance(said, dict):
        made = {key: said[key] for key in ("rows", "columns", "missing", "warnings") if isinstance(said.get(key), int)}
        if said.get("stoppedBy"):
            made["message"] = f"not all of it was read: {said['stoppedBy']}"[:_MOST_WORDS]
        return made
    if code == _PROBLEM and isinstance(said, dict) and isinstance(said.get("problem"), str):
        return {"message": said["problem"][:_MOST_WORDS]}
    if code is not None and code < 0:
        return {"message": f"its profile was ended by signal {-code}"}
    last = (err.decode("utf-8", "replace").strip().splitlines() or ["no word"])[-1]
    return {"message": f"it could not be profiled: {last}"[:_MOST_WORDS]}


def added(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Two files of one folder: rows and missing values together, the wider one's columns, the first message."""
    made = dict(one)
    for key in ("rows", "missing", "warnings"):
        if key in one or key in other:
            made[key] = one.get(key, 0) + other.get(key, 0)
    if "columns" in one or "columns" in other:
        made["columns"] = max(one.get("columns", 0), other.get("columns", 0))
    return {**other, **made}


def _variables() -> dict[str, str]:
    """No password and no address; the programs beside this one."""
    here = str(Path(__file__).resolve().parents[1])
    return {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": here, "PYTHONDONTWRITEBYTECODE": "1"}
