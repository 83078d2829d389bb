"""What is known of a pod's environment once it is made: kept beside it, for the wrapper, the run's artifacts and people.

requirements.lock   what was asked for, with versions and hashes: usable as environment.requirementsFile
installed.txt       every package that the script can import
build.log           what the installer printed
versions.json       the packages among them by whose versions a model is written and read
facts.json          digest, or why there is no environment
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Mapping, Sequence

from smalt_trainer.failures import RunFailed
from smalt_trainer.lock import Lock, interpreter

# The ways to ask for packages, as the contract names them; at most one is there. By `lockFile` a Deployment asks for those
# of the run that made its model.
WAYS = ("conda", "condaFile", "pip", "requirementsFile", "lockFile")
LOCK, VERSIONS = "requirements.lock", "versions.json"
# A model that was written with one of them is read with the same minor version, or may be read as something else.
WRITTEN_WITH = ("numpy", "scikit-learn")
_FOLDER = "smalt"
_INSTALLED, _LOG, _FACTS = "installed.txt", "build.log", "facts.json"
_METADATA = re.compile(r"^(numpy|scikit_learn)-([0-9][^-]*?)(?:-py[0-9.]+)?\.(?:dist|egg)-info$")


@dataclass(frozen=True)
class EnvironmentRecord:
    """The record of the environment in a folder."""

    environment: Path

    @property
    def folder(self) -> Path:
        """Where the files lie."""
        return self.environment / _FOLDER

    @property
    def log(self) -> Path:
        """What the installer printed."""
        return self.folder / _LOG

    def write(self, lock: Lock, have: Mapping[str, str]) -> None:
        """The environment is made."""
        (self.folder / LOCK).write_text(lock.text, encoding="utf-8")
        everything = {**have, **dict(each.pin for each in lock.lacking(have) if each.pin)}
        listed = "".join(f"{name}=={version}\n" for name, version in sorted(everything.items()))
        (self.folder / _INSTALLED).write_text(listed, encoding="utf-8")
        (self.folder / VERSIONS).write_text(versions(everything), encoding="utf-8")
        self._conclude({"digest": lock.digest})

    def write_failure(self, failure: RunFailed) -> None:
        """There is none."""
        self._conclude({"failed": {"reason": failure.reason, "message": failure.message}})

    def _conclude(self, facts: Mapping[str, Any]) -> None:
        (self.folder / _FACTS).write_text(json.dumps({"version": 1, **facts}), encoding="utf-8")

    def failure(self) -> str:
        """Why there is none; empty where it was made, or where none was asked for."""
        try:
            facts = json.loads((self.folder / _FACTS).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return ""
        return str((facts.get("failed") or {}).get("message") or "")

    def copy(self, into: Path) -> None:
        """What is kept with the run, where it is stored from; of an image that nothing was added to, its versions."""
        into.mkdir(parents=True, exist_ok=True)
        for name in (LOCK, _INSTALLED, _LOG, VERSIONS):
            if (self.folder / name).is_file():
                shutil.copyfile(self.folder / name, into / name)
        if not (into / VERSIONS).exists():
            (into / VERSIONS).write_text(versions(found_beside(sys.path)), encoding="utf-8")

    def digest(self) -> str:
        """The environment's digest; RunFailed with the cause when it could not be made."""
        try:
            facts = json.loads((self.folder / _FACTS).read_text(encoding="utf-8"))
            failed = facts.get("failed")
            if failed:
                raise RunFailed(str(failed["reason"]), str(failed["message"]))
            return str(facts["digest"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunFailed(
                "InternalError",
                f"the environment was not made before its script ({type(error).__name__}: {error}); "
                "check that the operator and the image that installs the tools are of one version",
            ) from error


def versions(have: Mapping[str, str]) -> str:
    """What a model was written with, of all that is installed."""
    found = {name: have[name] for name in WRITTEN_WITH if name in have}
    return json.dumps({"version": 1, "python": interpreter(), "packages": found}, sort_keys=True)


def found_beside(folders: Sequence[str]) -> dict[str, str]:
    """The versions of WRITTEN_WITH by the names of their metadata: to read metadata takes long, before every script."""
    found: dict[str, str] = {}
    for folder in folders:
        try:
            names = os.listdir(folder or ".")  # noqa: PTH208 — hundreds of names, none of which is needed as a path
        except OSError:
            continue  # a path that leads nowhere is none of an import's either
        for match in filter(None, map(_METADATA.match, names)):
            found.setdefault(match[1].replace("_", "-"), match[2])
    return found


def environment_digest(spec: Mapping[str, Any], environment: Path) -> str:
    """Of what was made, or of an image that nothing was asked of."""
    if all(spec.get(each) is None for each in WAYS):
        return Lock().digest
    return EnvironmentRecord(environment).digest()
