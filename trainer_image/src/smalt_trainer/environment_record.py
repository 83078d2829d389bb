"""What is known of a pod's environment once it is made: kept beside it, for the wrapper, the run's artifacts and people.

requirements.lock   what was asked for, with versions and hashes: usable as environment.requirementsFile
installed.txt       every package that the script can import
build.log           what the installer printed
facts.json          digest, or why there is no environment
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Mapping

from smalt_trainer.failures import RunFailed
from smalt_trainer.lock import Lock

# The ways to ask for packages, as the contract names them; at most one is there.
WAYS = ("conda", "condaFile", "pip", "requirementsFile")
_FOLDER = "smalt"
_LOCK, _INSTALLED, _LOG, _FACTS = "requirements.lock", "installed.txt", "build.log", "facts.json"


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
        (self.folder / _LOCK).write_text(lock.text, encoding="utf-8")
        everything = {**have, **dict(each.pin for each in lock.lacking(have) if each.pin)}
        listed = "".join(f"{name}=={version}\n" for name, version in sorted(everything.items()))
        (self.folder / _INSTALLED).write_text(listed, encoding="utf-8")
        self._conclude({"digest": lock.digest})

    def write_failure(self, failure: RunFailed) -> None:
        """There is none."""
        self._conclude({"failed": {"reason": failure.reason, "message": failure.message}})

    def _conclude(self, facts: Mapping[str, Any]) -> None:
        (self.folder / _FACTS).write_text(json.dumps({"version": 1, **facts}), encoding="utf-8")

    def copy(self, into: Path) -> None:
        """The files for people, where they are stored from."""
        for name in (_LOCK, _INSTALLED, _LOG):
            if (self.folder / name).is_file():
                into.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(self.folder / name, into / name)

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


def environment_digest(spec: Mapping[str, Any], environment: Path) -> str:
    """Of what was made, or of an image that nothing was asked of."""
    if all(spec.get(each) is None for each in WAYS):
        return Lock().digest
    return EnvironmentRecord(environment).digest()
