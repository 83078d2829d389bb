"""Requirements -> a lock: uv resolves them, preferring the versions that the image has, and writes down every hash."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Mapping, Optional, Sequence

from smalt_trainer.lock import Entry, Lock, interpreter, platform_name, read_entries
from smalt_trainer.package_cache import PackageCache
from smalt_trainer.requirements import divided, fulfils, named, normalized, public, satisfied
from smalt_trainer.uv import Uv, failure, missing_package, not_found

# One resolution for each package that the index does not have: more than these are told when the first ones are mended.
_MOST_ABSENT = 20


@dataclass(frozen=True)
class Question:
    """What is to be resolved; `conda` says of packages that conda would install where they stand."""

    requirements: Sequence[str]
    constraints: Sequence[str] = ()
    conda: Mapping[str, str] = field(default_factory=dict)
    foreign: Sequence[str] = ()


def locked(question: Question, have: Mapping[str, str], uv: Uv, scratch: Path, cache: Optional[PackageCache]) -> Lock:
    """The lock, from the cache when the same was asked there a moment ago."""
    if question.foreign or cache is None:
        return _resolved(question, have, uv, scratch)
    asked = {
        "requirements": list(question.requirements),
        "constraints": list(question.constraints),
        "image": dict(have),
        "python": interpreter(),
        "platform": platform_name(),
        "index": uv.variables.get("UV_DEFAULT_INDEX") or uv.variables.get("UV_INDEX_URL") or "",
    }
    return cache.lock(asked, lambda: _resolved(question, have, uv, scratch))


def _resolved(question: Question, have: Mapping[str, str], uv: Uv, scratch: Path) -> Lock:
    """Resolve; what the index does not know is left out and tried without, so that all of it can be named at once."""
    absent: list[str] = []
    images: dict[str, str] = {}
    while True:
        code, printed, lock = _compiled(question, have, uv, scratch, [*images, *absent])
        name = normalized(missing_package(printed) or "") if code else ""
        if code and (not name or name in images or name in absent or len(absent) > _MOST_ABSENT):
            if absent or question.foreign:
                break
            raise failure(printed, uv.next_step)
        if not code:
            break
        if name in have and _is_answered(name, question.requirements, have):
            images[name] = have[name]
        else:
            absent.append(name)
    if absent or question.foreign:
        raise not_found([*question.foreign, *(_told(name, question.conda) for name in absent)], uv.next_step)
    own = [Entry(f"{name}=={version}", is_images=True) for name, version in images.items()]
    return Lock.of([*lock, *own])


def _told(name: str, conda: Mapping[str, str]) -> str:
    if name not in conda:
        return name
    return (
        f"{conda[name]}: if pip knows it by another name, write that one below `pip:`; else remove the line, or choose an "
        "image that has it in environment.image"
    )


def _is_answered(name: str, requirements: Sequence[str], have: Mapping[str, str]) -> bool:
    """The image's version is as good as any to those who ask for the package."""
    return all(satisfied(each, have) for each in requirements if named(each) == name)


def _compiled(
    question: Question, have: Mapping[str, str], uv: Uv, scratch: Path, without: Sequence[str]
) -> tuple[int, str, Sequence[Entry]]:
    asked, resolved = scratch / "asked.txt", scratch / "resolved.txt"
    constraints, overrides = scratch / "constraints.txt", scratch / "overrides.txt"
    _write(asked, question.requirements)
    _write(constraints, question.constraints)
    # A requirement that holds nowhere takes the package out of the resolution, whoever asks for it.
    _write(overrides, [f'{name} ; python_version < "0"' for name in without])
    # Versions in an existing output file are preferences to uv: kept where they fit, given up where they do not.
    _write(resolved, preferences(have))
    code, printed = uv.attempt(
        *("pip", "compile", "--quiet", "--generate-hashes", "--no-header", "--no-annotate", "--no-strip-extras"),
        *("--no-emit-index-url", "--no-emit-find-links", "--python", sys.executable),
        *("-c", str(constraints), "--overrides", str(overrides), str(asked), "-o", str(resolved)),
    )
    return code, printed, () if code else read_entries(resolved.read_text(encoding="utf-8"))


def _write(file: Path, lines: Sequence[str]) -> None:
    file.write_text("".join(f"{line}{os.linesep}" for line in lines), encoding="utf-8")


def preferences(have: Mapping[str, str]) -> list[str]:
    """The image's versions as pins; the index knows a build such as 2.5.1+cu121 by its public version only."""
    return [f"{name}=={public(version)}" for name, version in sorted(have.items()) if name and name[0].isalnum()]


def clashes(new: Sequence[Entry], have: Mapping[str, str]) -> list[str]:
    """Packages of the image that are made for another version than the one now standing before the image's."""
    replaced = {pin[0]: pin[1] for pin in (each.pin for each in new) if pin and pin[0] in have}
    found = []
    for distribution in metadata.distributions():
        name = normalized(distribution.metadata["Name"] or "")
        for need in (distribution.requires or []) if name not in replaced else []:
            wanted, specifiers = divided(need.replace("(", "").replace(")", ""))
            if ";" in need or wanted not in replaced or not specifiers:
                continue
            if fulfils(replaced[wanted], specifiers) is False:
                found.append(
                    f"the image's {name} {distribution.version} is made for {wanted}{specifiers}, and the environment "
                    f"brings {wanted} {replaced[wanted]}: ask for {name} too if the script uses it"
                )
    return found
