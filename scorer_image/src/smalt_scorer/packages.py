"""Which packages the model and the script have, held against those that it was written with and the server needs.

The server's own packages lie apart, after all others: of what a Deployment's environment brings, that version counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from smalt_scorer.contract import Contract
from smalt_scorer.failures import Failure

# What this server is known to work with. Flask and numpy are in the image's environment, where scripts have them from.
NEEDED = {
    "flask": ">=2.2",
    "greenlet": ">=3.0",
    "httptools": ">=0.6",
    "numpy": ">=1.22",
    "orjson": ">=3.9",
    "prometheus-client": ">=0.15",
    "pyyaml": ">=5.4",
    "uvicorn": ">=0.23",
    "uvloop": ">=0.17",
}


def check_clashes(environment: Path) -> None:
    """Failure for packages of a Deployment's environment with which this server does not work."""
    found = {}
    for folder in environment.glob("lib/python*/site-packages"):
        for each in metadata.distributions(path=[str(folder)]):
            found[(each.metadata["Name"] or "").lower().replace("_", "-")] = each.version
    clashes = clashing(found)
    if clashes:
        raise Failure(
            "EnvironmentClash",
            f"the environment brings {', '.join(clashes)}: name such a version in spec.environment, or leave the package out and "
            "ask for a newer version of what needs it, then apply the Deployment again",
        )


def clashing(found: Mapping[str, str]) -> list[str]:
    """What there is and what is needed, in words."""
    from packaging.specifiers import SpecifierSet

    return [
        f"{name} {found[name]}, and the scoring server needs {name}{wanted}"
        for name, wanted in NEEDED.items()
        if name in found and not SpecifierSet(wanted).contains(found[name], prereleases=True)
    ]


def check_skew(contract: Contract) -> None:
    """Failure when what is here differs in a minor version from what the model was written with."""
    if contract.allows_skew:
        return
    different = skewed(contract.written_with, {name: _installed(name) for name in contract.written_with})
    if different:
        raise Failure(
            "VersionSkew",
            f"Model '{contract.model.object_name}' was written with {' and '.join(different)}, where it may be read as something "
            "else: ask for the version of its training in spec.environment (or leave spec.environment out, and it is there), or "
            "accept it with environment: {allowSkew: true}",
        )


def skewed(written_with: Mapping[str, str], here: Mapping[str, str]) -> list[str]:
    """What differs, in words; a package that is not here is missed by whoever needs it."""
    return [
        f"{name} {wanted} and the environment has {here[name]}"
        for name, wanted in written_with.items()
        if here.get(name) and _minor(wanted) != _minor(here[name])
    ]


def _minor(version: str) -> list[str]:
    return version.split(".")[:2]


def _installed(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
