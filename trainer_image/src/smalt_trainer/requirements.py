"""Whether the image already has what is asked for, decided without an installer and without the network.

Only what can be decided with certainty counts as satisfied; everything else is left to the installer.
"""

from __future__ import annotations

import re
from typing import Callable, Mapping, Optional, Tuple

_REQUIREMENT = re.compile(r"^(?P<name>[A-Za-z0-9][\w.-]*)\s*(?P<specifiers>[=<>!~].*)?$")
_SPECIFIER = re.compile(r"^(?P<operator>==|>=|<=|!=|~=|<|>)\s*(?P<version>\d+(?:\.\d+)*)(?P<star>\.\*)?$")
_NAME = re.compile(r"^[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?")
_RELEASE = re.compile(r"^\d+(?:\.\d+)*$")
_PASSWORD = re.compile(r"[A-Za-z+]+://[^/@\s]*:[^/@\s]*@|https?://[^/@\s]+@")


class RequirementError(ValueError):
    """What is asked for cannot be honoured; the message says where it stands and what to write instead."""


def requirement(item: str, where: str) -> str:
    """One pip requirement; what no lock can hold, or would give away, is refused."""
    text = item.strip()
    if not text or text.startswith("-") or "\n" in text:
        raise RequirementError(
            f"{where}: {item!r} is not a package requirement; write packages one by one, "
            "and set the index in the Workspace's spec.packages.indexUrl"
        )
    address = text.partition(" @ ")[2] or (text if "://" in text else "")
    if _PASSWORD.search(address):
        raise RequirementError(
            f"{where}: an address with a user or password in it would be kept with the run; put them into a Secret and "
            "name it in the Workspace's spec.packages.credentialsSecret"
        )
    if "${" in text:
        raise RequirementError(f"{where}: {item!r} has a variable in it, and none is filled in: write the value")
    if address.startswith(("git+", "hg+", "svn+", "bzr+")):
        raise RequirementError(
            f"{where}: {item!r} has no file whose hash could be checked; name an archive of that commit, such as "
            "package @ https://github.com/team/package/archive/<commit>.tar.gz"
        )
    if text.startswith((".", "/", "file:")) or address.startswith((".", "/", "file:")):
        raise RequirementError(
            f"{where}: {item!r} is a folder or file, which no lock can hold: what lies in the code is importable as it "
            "is, so remove it, or put it into your package index"
        )
    return text


def normalized(name: str) -> str:
    """A distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def named(requirement: str) -> str:
    """The normalized name of the package that a requirement asks for."""
    return divided(requirement)[0]


def divided(requirement: str) -> Tuple[str, str]:
    """The normalized name, and what is said of it."""
    match = _NAME.match(requirement.strip())
    return (normalized(match[0]), requirement.strip()[match.end() :].strip()) if match else ("", "")


def public(version: str) -> str:
    """A version without its builder's mark (2.5.1+cu121): specifiers without one ask for the public version only."""
    return version.partition("+")[0]


def installed_versions() -> dict[str, str]:
    """Every distribution this Python can import, by normalized name; the first on the path wins, as in an import."""
    from importlib import metadata  # slow to import, and the wrapper has no need of it

    found: dict[str, str] = {}
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]
        if name:
            found.setdefault(normalized(name), distribution.version)
    return found


def satisfied(requirement: str, installed: Mapping[str, str]) -> bool:
    """True only when the requirement certainly holds; extras, markers, addresses and pre-releases are not certain."""
    match = _REQUIREMENT.match(requirement.strip())
    if not match:
        return False
    version = installed.get(normalized(match["name"]))
    if version is None:
        return False
    if not match["specifiers"]:
        return True
    return fulfils(version, match["specifiers"]) is True


def fulfils(version: str, specifiers: str) -> Optional[bool]:
    """Whether a release fulfils `>=1,<2`-like specifiers; None when one of them is beyond this comparison."""
    if specifiers.replace(" ", "") == f"=={version}":
        return True
    version = public(version)
    if not _RELEASE.match(version):
        return None
    answer = True
    for part in specifiers.split(","):
        match = _SPECIFIER.match(part.strip())
        if not match or (match["star"] and match["operator"] not in ("==", "!=")):
            return None
        answer = answer and _compare(_numbers(version), match["operator"], match["version"], bool(match["star"]))
    return answer


_COMPARISONS: Mapping[str, Callable[[tuple[int, ...], tuple[int, ...]], bool]] = {
    "==": lambda have, want: have == want,
    "!=": lambda have, want: have != want,
    ">=": lambda have, want: have >= want,
    "<=": lambda have, want: have <= want,
    ">": lambda have, want: have > want,
    "<": lambda have, want: have < want,
}


def _compare(have: tuple[int, ...], operator: str, wanted: str, star: bool) -> bool:
    want = _numbers(wanted)
    if operator == "~=":
        return _padded(have, want, _COMPARISONS[">="]) and _prefix(have, want[:-1])
    if star:
        return _prefix(have, want) == (operator == "==")
    return _padded(have, want, _COMPARISONS[operator])


def _prefix(have: tuple[int, ...], want: tuple[int, ...]) -> bool:
    return (have + (0,) * len(want))[: len(want)] == want


def _padded(
    have: tuple[int, ...], want: tuple[int, ...], comparison: Callable[[tuple[int, ...], tuple[int, ...]], bool]
) -> bool:
    length = max(len(have), len(want))
    return comparison(have + (0,) * (length - len(have)), want + (0,) * (length - len(want)))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
