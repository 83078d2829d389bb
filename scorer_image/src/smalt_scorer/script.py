"""The user's score script: found, imported and begun with `init()`, in the process's main thread."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from smalt_scorer import azure_logging, azure_modules
from smalt_scorer.azure_settings import AzureSettings
from smalt_scorer.failures import Failure, last_line
from smalt_scorer.script_run import ScriptRun, adapted, schemas_of
from smalt_scorer.swagger import Swagger, swagger

# Without a name for it, as on Azure.
DEFAULT_SCRIPT = "main.py"


@dataclass(frozen=True)
class Script:
    """One that has begun."""

    run: ScriptRun
    swagger: Swagger
    modules: tuple[ModuleType, ...] = ()
    """Where its names are."""


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


def enter(code: Path, models: Path) -> None:
    """Makes the code what scripts expect to start in: with the models beside it, as `azureml-models/<name>/<version>`."""
    link = code / models.name
    if not link.exists():
        link.symlink_to(models)
    os.environ["AML_APP_ROOT"] = str(code)
    os.chdir(code)


def load(settings: AzureSettings) -> Script:
    """Imports the script and calls its init(). Failure with the last line of what it raised."""
    script = settings.entry_script or DEFAULT_SCRIPT
    path = settings.root / script
    _require(path, script, settings.root)
    _find_modules(settings, path)
    azure_modules.install()
    azure_logging.configure(settings.root, path.parent)
    module = _import(path, script)
    modules = (module, *_driven(module))
    run = getattr(modules[-1], "run", None)
    if not callable(run):
        raise Failure("ScriptInvalid", f"score script '{script}' has no function run(raw_data): add it and apply again")
    takes = adapted(run, script)
    init = getattr(module, "init", None)
    if callable(init):
        _init(init, script)
    # After init(), which may have written one of its own.
    return Script(takes, swagger(settings, *schemas_of(run)), modules)


def _require(path: Path, script: str, root: Path) -> None:
    if path.is_file():
        return
    if Path(script).is_absolute():
        raise Failure("ScriptInvalid", f"score script '{script}' does not exist: name one that does")
    has = ", ".join(sorted(each.name for each in root.iterdir() if not each.name.startswith(".."))) or "nothing"
    raise Failure(
        "ScriptInvalid",
        f"codeConfiguration.scoringScript is '{script}', and the code has {has}: correct one of them",
    )


def _find_modules(settings: AzureSettings, path: Path) -> None:
    places = [settings.root, path.parent]
    if settings.source_directory:
        places.append(settings.root / settings.source_directory)
    for entry in map(str, places):
        if entry not in sys.path:
            sys.path.insert(0, entry)


def _import(path: Path, script: str) -> ModuleType:
    # A pickle that names classes of the script finds them by this name.
    specification = importlib.util.spec_from_file_location("smalt_score_script", path)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    try:
        specification.loader.exec_module(module)
    except BaseException as error:
        raise _told("ScriptInvalid", f"score script '{script}' cannot be imported", error) from error
    return module


def _driven(module: ModuleType) -> tuple[ModuleType, ...]:
    """A script that Azure's tools have generated around the user's names that one `driver_module`: its run() is called."""
    driven = getattr(module, "driver_module", None)
    return (driven,) if isinstance(driven, ModuleType) and hasattr(driven, "run") else ()


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
