"""The container `convert`: looks into the model and makes ONNX of it, in a process of its own with bounds.

Only here is a model loaded, which may run code: there are no credentials, and whatever that code does, what is left is
data that the next container trusts in nothing. This one ends well in every case and says what could not be made.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Mapping, Optional

from smalt_trainer.environment_record import EnvironmentRecord
from smalt_trainer.memory import memory_limit
from smalt_trainer.registration.converter import CONVERTER, python_of
from smalt_trainer.registration.described import LOADABLE, format_found
from smalt_trainer.registration.refused import NotRegistered
from smalt_trainer.termination import shorten

DESCRIPTION = "converted.json"
_INSPECTED, _MADE = "inspected.json", "made.json"
_MOST_BYTES = 4 << 20
_LARGEST_FILE = 4 << 30
_TAIL = 2_000
_LONGEST_MESSAGE = 550
# A thread for each core of a large node, with a stack and buffers each, would take the memory that the model is to have.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_GROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Bounds:
    """How long the model may be worked on, at each of two times, and what memory it may take."""

    seconds: float = 300.0
    memory: Optional[int] = None

    @classmethod
    def of_container(cls) -> Bounds:
        """Less than the container has: it is not to be killed as a whole."""
        limit = memory_limit(_GROUPS)
        return cls(memory=max(limit - (128 << 20), limit // 2) if limit else None)


@dataclass(frozen=True)
class _Step:
    """Where the process that loads the model finds what, and its bounds."""

    source: Path
    scratch: Path
    environment: Path
    bounds: Bounds


def run_convert(source: Path, into: Path, environment: Path, bounds: Optional[Bounds] = None) -> None:
    """converted.json, and schema.json and onnx/model.onnx where they can be made."""
    bounds = bounds or Bounds.of_container()
    into.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {"version": 1, "inspection": {}, "schema": None}
    try:
        _convert(source, into, environment, bounds, found)
    except NotRegistered as error:
        found["onnx"] = _not("Interrupted", error.message)
    except Exception as error:
        found["onnx"] = _not("NotConverted", f"{type(error).__name__}: {error}")
    if "file" not in found["onnx"]:
        _remove(into / "onnx")
        found["onnx"] = _with_cause(found["onnx"], environment)
    _remove(into / "schema.json")
    if found["schema"]:
        _write(into / "schema.json", found["schema"])
    _write(into / DESCRIPTION, found)
    told = found["onnx"]
    _say(
        f"ONNX: differs by at most {told['maxDifference']} on {told['rows']} rows"
        if "file" in told
        else told["message"]
    )


def _with_cause(told: Mapping[str, Any], environment: Path) -> Mapping[str, Any]:
    """Where the run's packages could not be had, that is why what the image has did not suffice."""
    failure = EnvironmentRecord(environment).failure()
    if not failure or told.get("reason") not in ("ModelNotLoadable", "ConverterUnavailable", "NotConverted"):
        return told
    words = shorten(str(told["message"]), _LONGEST_MESSAGE // 2)
    return _not("ConverterUnavailable", f"{words}; the run's packages and the converter cannot be had: {failure}")


def _convert(source: Path, into: Path, environment: Path, bounds: Bounds, found: dict[str, Any]) -> None:
    for each in into.iterdir():
        _remove(each)
    format_ = format_found(source)
    if format_ not in LOADABLE:
        why = "it is ONNX already" if format_ == "onnx" else f"a model of format {format_} is not converted"
        found["onnx"] = _not("NotConvertible", f"{why}: {', '.join(LOADABLE)} of scikit-learn are")
        return
    scratch = Path(tempfile.mkdtemp(prefix="convert-"))
    try:
        _in_two_steps(_Step(source, scratch, environment, bounds), into, found)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _in_two_steps(step: _Step, into: Path, found: dict[str, Any]) -> None:
    problem = _run("inspect", step)
    seen = _read(step.scratch / _INSPECTED)
    if seen is None:
        found["onnx"] = _not(
            "ModelNotLoadable", problem or "the model ended the process that loads it and left no word"
        )
        return
    found.update({key: seen.get(key) for key in ("inspection", "schema")})
    if "problem" in seen:
        found["onnx"] = _not(str(seen.get("reason")), str(seen["problem"]))
        return
    problem = _run("convert", step)
    made = _read(step.scratch / _MADE)
    if made is None:
        found["onnx"] = _not("NotConverted", problem or "the conversion ended and left no word")
        return
    found["onnx"] = made
    if made.get("file") == "onnx/model.onnx":
        (into / "onnx").mkdir()
        shutil.copyfile(step.scratch / "model.onnx", into / "onnx" / "model.onnx", follow_symlinks=False)


def _run(verb: str, step: _Step) -> str:
    """Why it did not end well; nothing when it did. What it prints is not kept beyond the end of it."""
    python, overlay, bounds = python_of(step.environment), step.environment / CONVERTER, step.bounds
    command = [str(python), "-m", "smalt_trainer.registration.loading", verb, str(step.source), str(step.scratch)]
    kept = {key: value for key, value in os.environ.items() if not key.startswith("SMALT_TRACKING_")}
    variables = {**kept, **_ONE_THREAD}
    here = str(Path(__file__).resolve().parents[2])
    known = [each for each in variables.get("PYTHONPATH", "").split(os.pathsep) if each]
    # The overlay comes last of all, by an own variable: what the user has stays what is imported.
    variables.update(PYTHONPATH=os.pathsep.join([here, *known]), SMALT_OVERLAY=str(overlay) if overlay.is_dir() else "")
    process = subprocess.Popen(
        command,
        env=variables,
        cwd=str(step.scratch),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=lambda: _bound(bounds),
    )
    tail = bytearray()
    reader = threading.Thread(target=_keep_tail, args=(process, tail), daemon=True)
    reader.start()
    code: Optional[int] = None
    try:
        code = process.wait(bounds.seconds)
    except subprocess.TimeoutExpired:
        pass
    finally:
        _end_group(process)
    reader.join(1.0)  # who has left the group may hold the pipe open: nobody waits for that
    if code is None:
        return f"it took more than {bounds.seconds:g} s"
    if code == 0:
        return ""
    lines = bytes(tail).decode("utf-8", "replace").strip().splitlines()
    last = lines[-1] if lines else "no word"
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    if "MemoryError" in last or "bad_alloc" in last:
        return f"it takes more memory than the container has for it ({last})"
    return f"the process that loads the model ended with {how}: {last}"


def _bound(bounds: Bounds) -> None:
    """Applies to what it starts, too."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_LARGEST_FILE, _LARGEST_FILE))
    if bounds.memory:
        resource.setrlimit(resource.RLIMIT_DATA, (bounds.memory, bounds.memory))


def _keep_tail(process: subprocess.Popen[bytes], tail: bytearray) -> None:
    assert process.stdout
    with process.stdout as stream:
        while True:
            piece = stream.read1(1 << 16)  # type: ignore[attr-defined]
            if not piece:
                return
            tail += piece
            del tail[:-_TAIL]


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """With all that it has started and that has not hidden; the container's end ends the others."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _read(path: Path) -> Optional[Mapping[str, Any]]:
    """What the other process has left, when it is a plain file that can be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as stream:
            content = stream.read(_MOST_BYTES + 1)
        found = json.loads(content) if len(content) <= _MOST_BYTES else None
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _write(path: Path, content: Any) -> None:
    """Whatever lies there, a link for one, is replaced and not followed."""
    draft = path.with_name(f".{path.name}.{time.monotonic_ns()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        json.dump(content, stream)
    _remove(path)
    draft.replace(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif path.is_symlink() or path.exists():
        path.unlink()


def _not(reason: str, message: str) -> dict[str, str]:
    return {"reason": reason, "message": shorten(" ".join(message.split()), _LONGEST_MESSAGE)}


def _say(text: str) -> None:
    print(f"[smalt] {text}", file=sys.stderr, flush=True)
