"""Whether the image already has what is asked for, decided without an installer and without the network.

Only what can be decided with certainty counts as satisfied; everything else is left to the installer.
"""

from __future__ import annotations

import re
from importlib import metadata
from typing import Callable, Mapping, Optional

_REQUIREMENT = re.compile(r"^(?P<name>[A-Za-z0-9][\w.-]*)\s*(?P<specifiers>[=<>!~].*)?$")
_SPECIFIER = re.compile(r"^(?P<operator>==|>=|<=|!=|~=|<|>)\s*(?P<version>\d+(?:\.\d+)*)(?P<star>\.\*)?$")
_RELEASE = re.compile(r"^\d+(?:\.\d+)*$")


def normalized(name: str) -> str:
    """A distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def public(version: str) -> str:
    """A version without its builder's mark (2.5.1+cu121): specifiers without one ask for the public version only."""
    return version.partition("+")[0]


def installed_versions() -> dict[str, str]:
    """Every distribution this Python can import, by normalized name; the first on the path wins, as in an import."""
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
