"""Runs the user's command: in a process group of its own, with the run's variables, watched by clock, signal and kernel."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Mapping, Optional

from smalt_trainer.contract import Contract, parameter_text
from smalt_trainer.diagnosis import cause
from smalt_trainer.exchange import Notes
from smalt_trainer.failures import ANOTHER_NAME, RunFailed
from smalt_trainer.memory import MemoryWatch, memory_limit, size_text
from smalt_trainer.places import Places
from smalt_trainer.say import say
from smalt_trainer.stopping import Stopping, terminated
from smalt_trainer.streams import Stream, spooler, system_logger
from smalt_trainer.usage import Usage

_GLANCE = 0.02
# Found by mlflow and by scripts that were written for another service.
_FOR_SCRIPTS = tuple(str(Path(__file__).resolve().parent / "for_scripts" / name) for name in ("mlflow", "azureml"))
_LOOK = 0.5
_GRACE = 8.0


def script_variables(
    contract: Contract,
    places: Places,
    inputs: Mapping[str, Path],
    outputs: Mapping[str, Path],
    mlflow: Mapping[str, str],
    inherited: Mapping[str, str],
) -> dict[str, str]:
    """The script's environment: the image's, the user's, and on top the run's own, which nothing may replace."""
    variables = {**inherited, "PYTHONUNBUFFERED": "1", **contract.variables}
    tools = str(Path(__file__).resolve().parent.parent)
    # Last, so that nothing of the wrapper's can stand in front of a module of the user's.
    own = (tools, *_FOR_SCRIPTS)
    paths = [path for path in variables.get("PYTHONPATH", "").split(os.pathsep) if path and path not in own]
    variables["PYTHONPATH"] = os.pathsep.join([*paths, tools, *_FOR_SCRIPTS])
    path = variables.get("PATH") or os.defpath
    if (places.environment / "bin" / "python").exists():
        path = f"{places.environment / 'bin'}{os.pathsep}{path}"
        variables["VIRTUAL_ENV"] = str(places.environment)
    elif not shutil.which("python", path=path):
        path = f"{_shim(places.shims)}{os.pathsep}{path}"
    variables["PATH"] = path
    variables.update({f"SMALT_INPUTS_{name}": str(value) for name, value in inputs.items()})
    variables.update({f"SMALT_OUTPUTS_{name}": str(value) for name, value in outputs.items()})
    variables.update({f"SMALT_PARAMETERS_{name}": parameter_text(value) for name, value in contract.parameters.items()})
    variables["SMALT_METRICS_SPOOL"] = str(places.spool)
    variables["SMALT_ARTIFACTS"] = str(places.artifacts)
    variables.update(mlflow)
    variables["SMALT_TRACKING_URI"] = mlflow.get("MLFLOW_TRACKING_URI", "")
    variables["SMALT_RUN_ID"] = mlflow.get("MLFLOW_RUN_ID", "")
    _reach_loopback(variables)
    return variables


def _reach_loopback(variables: dict[str, str]) -> None:
    """Where an image goes out by a proxy, mlflow would ask that proxy for the pod's own loopback."""
    if any(name.lower() in ("http_proxy", "all_proxy") and variables[name] for name in variables):
        direct = variables.get("no_proxy") or variables.get("NO_PROXY") or ""
        variables["no_proxy"] = variables["NO_PROXY"] = ",".join(filter(None, [direct, "127.0.0.1"]))


def _shim(folder: Path) -> Path:
    """`python` for images that only know `python3`; a script, because a link would lose a virtual environment."""
    folder.mkdir(parents=True, exist_ok=True)
    shim = folder / "python"
    shim.write_text(f"#!/bin/sh\nexec '{sys.executable}' \"$@\"\n", encoding="utf-8")
    shim.chmod(0o755)
    return folder


def run_script(contract: Contract, places: Places, variables: Mapping[str, str], stopping: Stopping) -> None:
    """Run the command to its end; returns when it succeeded, else RunFailed says how it ended."""
    places.logs.mkdir(parents=True, exist_ok=True)
    memory = MemoryWatch.start(places.control_groups)
    try:
        process = subprocess.Popen(
            ["/bin/sh", "-c", contract.command],
            cwd=places.code,
            env=dict(variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise RunFailed(
            "ScriptFailed",
            f"the command could not be started ({error}); shorten or correct command and parameters, {ANOTHER_NAME}",
        ) from error
    _prefer_for_memory_kill(process.pid)
    assert process.stdout and process.stderr
    sys.stdout.flush()
    out = Stream(process.stdout, 1, places.logs / "stdout.txt", spooler(places.spool))
    err = Stream(process.stderr, 2, places.logs / "stderr.txt")
    usage = Usage(places.control_groups, system_logger(places.spool))
    usage.start()
    notes = Notes(places.notes)
    ended_by = _wait(process, contract.timeout, stopping, notes)
    _say_all(notes)
    usage.stop()
    # What the command left running in its group is part of it, and would hold the log open.
    _end_group(process, gently=ended_by is not None)
    out.finish(5.0)
    err.finish(5.0)
    for problem in [*out.problems, *err.problems]:
        print(f"[smalt] output was lost, {problem}", file=sys.stderr, flush=True)
    code = process.returncode
    _judge(contract, places, memory, code if code >= 0 else 128 - code, ended_by, err.tail)


def _wait(process: subprocess.Popen[bytes], timeout: float, stopping: Stopping, notes: Notes) -> Optional[str]:
    """Wait for the command's end, saying notes meanwhile; else the reason to end it: TimedOut or Terminated."""
    deadline = time.monotonic() + timeout
    next_look = 0.0
    while process.poll() is None:
        if time.monotonic() >= next_look:
            next_look = time.monotonic() + _LOOK
            _say_all(notes)
        if stopping.wait(_GLANCE):
            return "Terminated"
        if time.monotonic() >= deadline:
            return "TimedOut"
    return None


def _say_all(notes: Notes) -> None:
    for text in notes.new():
        say(text)


def _end_group(process: subprocess.Popen[bytes], gently: bool) -> None:
    """End every process of the command's group; gently means a moment to write a checkpoint first."""
    if gently and _signal_group(process.pid, signal.SIGTERM):
        deadline = time.monotonic() + _GRACE
        while time.monotonic() < deadline and process.poll() is None:
            time.sleep(_GLANCE)
    _signal_group(process.pid, signal.SIGKILL)
    process.wait()


def _signal_group(group: int, number: int) -> bool:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


def _prefer_for_memory_kill(pid: int) -> None:
    """When memory runs out, the kernel is to take the script and not its wrapper, which has the cause to report."""
    try:
        Path(f"/proc/{pid}/oom_score_adj").write_text("1000")
    except OSError as error:
        # The script may be over already; a kernel that forbids it leaves the default, which also works.
        print(
            f"[smalt] the script's share in a shortage of memory is the default ({error})", file=sys.stderr, flush=True
        )


def _judge(
    contract: Contract, places: Places, memory: MemoryWatch, code: int, ended_by: Optional[str], stderr_tail: str
) -> None:
    if ended_by == "Terminated":
        failure = terminated("while the script ran")
        failure.exit_code = code
        raise failure
    if ended_by == "TimedOut":
        raise RunFailed(
            "TimedOut",
            f"the script was ended after limits.timeout, {contract.timeout:g}s; give it more time or less to do, {ANOTHER_NAME}",
            code,
        )
    if code == 0:
        return
    if memory.killed(code):
        limit = memory_limit(places.control_groups)
        amount = f"its limit of {size_text(limit)}" if limit else "the memory it may have"
        raise RunFailed(
            "OutOfMemory",
            f"the script was killed because it needed more than {amount}; use an instanceType with more memory, {ANOTHER_NAME}",
            code,
        )
    told = cause(stderr_tail)
    raise RunFailed(
        "ScriptFailed",
        f"the script ended with exit code {code}{f': {_brief(told)}' if told else ' and printed no error'}; {contract.log_hint}",
        code,
    )


def _brief(text: str) -> str:
    return text if len(text) <= 600 else text[:599] + "…"
