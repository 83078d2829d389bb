"""The user's score script: `init()` once, `run(raw_data)` per request, in the process's main thread."""

from __future__ import annotations

import importlib.util
import inspect
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from smalt_scorer.failures import Failure, last_line

Run = Callable[[str, Mapping[str, str]], Any]


def lay_out(inline: Mapping[str, str], into: Path) -> Path:
    """Writes the files of a contract into a folder. Failure for a path that leaves it."""
    for name, text in inline.items():
        target = into / name
        if ".." in Path(name).parts or Path(name).is_absolute():
            raise Failure(
                "ScriptInvalid", f"file '{name}' of codeConfiguration.code lies outside of it: use a relative path"
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return into


def lay_out_folder(folder: Path, into: Path) -> Path:
    """Copies a mounted folder's files to where the script may write; the kubelet's `..` entries are left out.

    Links to files are followed, because that is what a mounted ConfigMap consists of.
    """
    into.mkdir(parents=True, exist_ok=True)
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith("..")]
        for file in (Path(parent, name) for name in names if not name.startswith("..")):
            target = into / file.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
            target.chmod(target.stat().st_mode | 0o200)  # what is mounted may be read-only, file by file
    return into


def load(folder: Path, script: str) -> Run:
    """Imports the script and calls its init(). Failure with the last line of what it raised."""
    path = folder / script
    if not path.is_file():
        has = ", ".join(sorted(each.name for each in folder.iterdir() if not each.name.startswith(".."))) or "nothing"
        raise Failure(
            "ScriptInvalid",
            f"codeConfiguration.scoringScript is '{script}', and the code has {has}: correct one of them",
        )
    for entry in (str(folder), str(path.parent)):
        if entry not in sys.path:
            sys.path.insert(0, entry)
    os.chdir(folder)
    module = _import(path, script)
    run = getattr(module, "run", None)
    if not callable(run):
        raise Failure("ScriptInvalid", f"score script '{script}' has no function run(raw_data): add it and apply again")
    init = getattr(module, "init", None)
    if callable(init):
        _init(init, script)
    return _adapted(run)


def _import(path: Path, script: str) -> ModuleType:
    specification = importlib.util.spec_from_file_location("smalt_score_script", path)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    try:
        specification.loader.exec_module(module)
    except BaseException as error:
        raise _told("ScriptInvalid", f"score script '{script}' cannot be imported", error) from error
    return module


def _init(init: Callable[[], object], script: str) -> None:
    try:
        init()
    except BaseException as error:
        raise _told("InitFailed", f"init() of score script '{script}' raised", error) from error


def _told(reason: str, words: str, error: BaseException) -> Failure:
    if isinstance(error, KeyboardInterrupt):
        raise error
    return Failure(
        reason,
        f"{words} {last_line(error)}: correct the script and apply again; the whole traceback is in the pod's log",
    )


def _adapted(run: Callable[..., Any]) -> Run:
    """Scripts take the body, and the headers too when they name `request_headers`."""
    parameters = inspect.signature(run).parameters
    if "request_headers" in parameters:
        return lambda raw, headers: run(raw, request_headers=dict(headers))
    return lambda raw, headers: run(raw)
