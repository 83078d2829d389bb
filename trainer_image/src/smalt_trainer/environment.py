"""Brings about the environment that was asked for: nothing when the image has it, else packages on top of the image."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Mapping, Optional, Sequence

from smalt_trainer import packages
from smalt_trainer.conda import CondaError, parse_conda, requirement
from smalt_trainer.digests import canonical_digest
from smalt_trainer.failures import ANOTHER_NAME, RunFailed
from smalt_trainer.requirements import fulfils, installed_versions, satisfied

_EXACT_PYTHON = re.compile(r"^={1,2}(\d+)(?:\.(\d+))?(?:\.\d+)?(?:\.\*)?(?:=.*)?$")


@dataclass(frozen=True)
class Wanted:
    """What the environment asks for, whichever way it was written."""

    python: Optional[str]
    requirements: Sequence[str]
    digest: str


def read_environment(spec: Mapping[str, Any], code: Path, image: str, next_step: str = ANOTHER_NAME) -> Wanted:
    """The environment of a contract: conda text, a conda file of the code, a pip list, or nothing at all."""
    if spec.get("conda") is not None or spec.get("condaFile") is not None:
        text = spec["conda"] if spec.get("conda") is not None else _conda_file(spec["condaFile"], code, next_step)
        field = "environment.conda" if spec.get("conda") is not None else f"environment.condaFile {spec['condaFile']}"
        try:
            parsed = parse_conda(text)
        except CondaError as error:
            raise RunFailed("EnvironmentFailed", f"{field}, {error}; correct it, {next_step}") from error
        return Wanted(parsed.python, parsed.requirements, canonical_digest({"conda": text, "image": image}))
    listed = spec.get("pip") or []
    try:
        asked = [requirement(item, f"environment.pip[{index}]") for index, item in enumerate(listed)]
    except CondaError as error:
        raise RunFailed("EnvironmentFailed", f"{error}; correct it, {next_step}") from error
    return Wanted(None, asked, canonical_digest({"pip": list(listed), "image": image}))


def _conda_file(path: str, code: Path, next_step: str) -> str:
    file = code / path
    if Path(path).is_absolute() or ".." in Path(path).parts or not file.is_file():
        raise RunFailed(
            "EnvironmentFailed", f"environment.condaFile {path!r} is not a file of the code; correct it, {next_step}"
        )
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise RunFailed(
            "EnvironmentFailed",
            f"environment.condaFile {path!r} is not UTF-8 text ({error}); save it as such, {next_step}",
        ) from error


def ensure(wanted: Wanted, into: Path, image: str, next_step: str = ANOTHER_NAME) -> bool:
    """Make the packages importable; True when `into` has become an environment."""
    check_python(wanted.python, image, next_step)
    installed = installed_versions()
    if all(satisfied(item, installed) for item in wanted.requirements):
        return False
    return packages.install(wanted.requirements, into, next_step)


def check_python(
    wanted: Optional[str], image: str, next_step: str, have: Sequence[int] = tuple(sys.version_info[:3])
) -> None:
    """Refuse a Python that is not the image's; of a patch release only the minor version counts."""
    if not wanted:
        return
    exact = _EXACT_PYTHON.match(wanted)
    if exact:
        agrees = int(exact[1]) == have[0] and (exact[2] is None or int(exact[2]) == have[1])
    else:
        answer = fulfils(".".join(str(part) for part in have), wanted)
        if answer is None:
            raise RunFailed(
                "EnvironmentFailed",
                f"python{wanted} is not a version this reader understands; write python=3.11 or python>=3.10, {next_step}",
            )
        agrees = answer
    if not agrees:
        version = ".".join(str(part) for part in have)
        raise RunFailed(
            "PythonMismatch",
            f"the environment asks for python{wanted}, the image {image or 'in use'} has Python {version}; "
            f"name an image with that Python in environment.image, or change python= in the conda file, {next_step}",
        )
