"""Brings about the environment that was asked for: nothing when the image has it, else packages on top of the image."""

from __future__ import annotations

import re
import shutil
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Callable, Mapping, Optional, Sequence

from smalt_trainer import packages
from smalt_trainer.conda import parse_conda
from smalt_trainer.environment_record import WAYS
from smalt_trainer.failures import ANOTHER_NAME, RunFailed
from smalt_trainer.lock import Entry, Lock, interpreter, platform_name
from smalt_trainer.locking import Question, clashes, locked
from smalt_trainer.package_cache import PackageCache
from smalt_trainer.requirements import (
    RequirementError,
    fulfils,
    installed_versions,
    named,
    requirement,
    satisfied,
)
from smalt_trainer.requirements_file import read_requirements
from smalt_trainer.uv import Uv, find_uv, is_full

_EXACT_PYTHON = re.compile(r"^={1,2}(\d+)(?:\.(\d+))?(?:\.\d+)?(?:\.\*)?(?:=.*)?$")


@dataclass(frozen=True)
class Wanted:
    """What the environment asks for, whichever way it was written: packages to be resolved, or a lock."""

    python: Optional[str] = None
    question: Question = field(default_factory=lambda: Question(()))
    lock: Optional[Lock] = None


def read_environment(spec: Mapping[str, Any], code: Path, next_step: str = ANOTHER_NAME) -> Wanted:
    """The environment of a contract: conda text, a file of the code, a pip list, or nothing at all."""
    way = next((each for each in WAYS if spec.get(each) is not None), None)
    if way is None:
        return Wanted()
    if way == "lockFile":
        return Wanted(lock=_of_run(Path(spec[way]), next_step))
    is_file = way in ("condaFile", "requirementsFile")
    where = f"environment.{way} {spec[way]!r}" if is_file else f"environment.{way}"
    try:
        if way == "requirementsFile":
            return _of_requirements(code, str(spec[way]))
        if way == "pip":
            return Wanted(question=Question([requirement(each, f"[{at}]") for at, each in enumerate(spec["pip"])]))
        return _of_conda(_conda_file(str(spec[way]), code) if is_file else str(spec[way]))
    except RequirementError as error:
        raise RunFailed(
            "EnvironmentFailed", f"{where}{'' if way == 'pip' else ': '}{error}; correct it, {next_step}"
        ) from error


def _of_run(file: Path, next_step: str) -> Lock:
    """The lock of the run that made the model, for this Python and platform and no other."""
    try:
        lock = Lock.read(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunFailed("InternalError", f"the lock of the model's run cannot be read: {error}") from error
    made_for, here = f"{lock.python}, {lock.platform}", f"{interpreter()}, {platform_name()}"
    if made_for != here:
        raise RunFailed(
            "PythonMismatch",
            f"the packages of the model's run are locked for {made_for}, and this image is {here}: ask for packages of its own "
            f"in spec.environment, {next_step}",
        )
    return lock


def _of_requirements(code: Path, path: str) -> Wanted:
    read = read_requirements(code, path)
    if read.is_lock:
        return Wanted(lock=Lock.of(read.entries))
    return Wanted(question=Question([each.requirement for each in read.entries], read.constraints))


def _of_conda(text: str) -> Wanted:
    read = parse_conda(text)
    return Wanted(read.python, Question(read.requirements, conda=read.conda, foreign=read.foreign))


def _conda_file(path: str, code: Path) -> str:
    file = code / path
    if Path(path).is_absolute() or ".." in Path(path).parts or not file.is_file():
        raise RequirementError("this is not a file of the code")
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise RequirementError(f"it is not UTF-8 text ({error}), save it as such") from error


@dataclass(frozen=True)
class Workshop:
    """Where an environment is made, and who is told of it."""

    into: Path
    image: str
    next_step: str
    tell: Callable[[str], None]
    cache: Optional[PackageCache] = None


def ensure(wanted: Wanted, workshop: Workshop) -> Lock:
    """Make the packages importable, and return what they are; the folder becomes an environment when the image lacks some."""
    check_python(wanted.python, workshop.image, workshop.next_step)
    have = installed_versions()
    question = wanted.question
    if wanted.lock is None and not question.foreign and all(satisfied(each, have) for each in question.requirements):
        return Lock.of(Entry(f"{name}=={have[name]}") for name in sorted(set(map(named, question.requirements))))
    if wanted.lock is not None:
        _check_images_own(wanted.lock, have, workshop.next_step)
        if not wanted.lock.lacking(have):
            return wanted.lock
    scratch = workshop.into / ".smalt"
    scratch.mkdir(parents=True, exist_ok=True)
    try:
        return _made(wanted, workshop, have, scratch)
    finally:
        # The cache lies beside the environment so that files are linked rather than copied; it has served its purpose.
        shutil.rmtree(scratch, ignore_errors=True)


def _check_images_own(lock: Lock, have: Mapping[str, str], next_step: str) -> None:
    """Refuse the lock of a run whose image had packages that no index has, where this image has them not."""
    own = [each.requirement for each in lock.entries if each.is_images and not satisfied(each.requirement, have)]
    if own:
        raise RunFailed(
            "EnvironmentFailed",
            f"{', '.join(own[:5])} came with the image of the model's run, and no package index has it: ask for packages in "
            f"spec.environment that make do without, {next_step}",
        )


def _made(wanted: Wanted, workshop: Workshop, have: Mapping[str, str], scratch: Path) -> Lock:
    uv = Uv(find_uv(), scratch / "cache", workshop.next_step, workshop.tell)
    try:
        if workshop.cache is None:
            return _locked_and_installed(wanted, workshop, have, uv, scratch)
        shared = replace(uv, cache=workshop.cache.packages, variables={**uv.variables, "UV_LINK_MODE": "copy"})
        return _locked_and_installed(wanted, workshop, have, shared, scratch)
    except RunFailed as error:
        if workshop.cache is None or not is_full(error.message):
            raise
        workshop.tell(
            "the cache of packages is full: raise the Workspace's spec.packages.cache.size. Trying without it"
        )
        return _locked_and_installed(wanted, workshop, have, uv, scratch)


def _locked_and_installed(wanted: Wanted, workshop: Workshop, have: Mapping[str, str], uv: Uv, scratch: Path) -> Lock:
    if wanted.lock is None:
        lock = locked(wanted.question, have, uv, scratch, workshop.cache)
    else:
        lock = _completed(wanted.lock, workshop, have, uv, scratch)
    lacking: Sequence[Entry] = lock.lacking(have)
    for words in clashes(lacking, have):
        workshop.tell(words)
    if lacking:
        packages.install(lacking, workshop.into, uv, scratch)
    return lock


def _completed(lock: Lock, workshop: Workshop, have: Mapping[str, str], uv: Uv, scratch: Path) -> Lock:
    """The lock of a run in another image, which that image had a part of: what is missing here gets its hashes."""
    bare = [each.requirement for each in lock.lacking(have) if not each.hashes]
    if not bare:
        return lock
    hashed = [each for each in lock.entries if each.hashes]
    found = locked(Question(bare, [each.requirement for each in hashed]), have, uv, scratch, workshop.cache)
    known = {each.pin for each in hashed}
    rest = [each for each in lock.entries if not each.hashes and each.requirement not in bare]
    return Lock.of([*hashed, *rest, *(each for each in found.entries if each.pin not in known)])


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
        such = f", such as python:{exact[1]}.{exact[2]}-slim," if exact and exact[2] else ""
        raise RunFailed(
            "PythonMismatch",
            f"the environment asks for python{wanted}, the image {image or 'in use'} has Python {version}; "
            f"name an image with that Python{such} in environment.image, or change python= in the conda file, {next_step}",
        )
