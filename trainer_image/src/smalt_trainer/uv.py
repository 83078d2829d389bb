"""Runs uv, and says in words what it could not do.

The binary is a static one, which runs in images of any C library; it asks the image's own Python what it needs to know.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, MutableMapping, Optional, Sequence

from smalt_trainer.failures import RunFailed
from smalt_trainer.termination import shorten

_MISSING = re.compile(r"(?:Because |and )(\S+) was not found in the (?:package registry|provided package locations)")
_NO_VERSION = re.compile(r"there (?:is|are) (?:no|only the following) versions? of (\S+)")
_NONE_FITS = re.compile(r"Because only \S+ (?:is|are) available and you require (\S+?),? we can")
_REFUSED = re.compile(
    r"An index URL \((\S+)\) could not be queried due to a lack of valid authentication|(40[13]) (?:Unauthorized|Forbidden)"
)
_HASH = re.compile(r"Hash mismatch for `([^`]+)`")
_UNTRUSTED = re.compile(r"invalid peer certificate|UnknownIssuer|self.signed certificate", re.IGNORECASE)
_FULL = re.compile(r"No space left on device|os error 28")
# A run's variables must not decide where packages go.
_UNWANTED = ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "UV_PROJECT_ENVIRONMENT")
_MESSAGE_LIMIT = 700


@dataclass
class Uv:
    """The program with the folders it may use; `tell` gets every line that it prints."""

    program: str
    cache: Path
    next_step: str
    tell: Callable[[str], None]
    variables: MutableMapping[str, str] = field(default_factory=lambda: dict(os.environ))

    def run(self, *arguments: str, offline: bool = False) -> str:
        """What it printed; RunFailed in words when it failed."""
        code, printed = self.attempt(*arguments, offline=offline)
        if code:
            raise failure(printed, self.next_step)
        return printed

    def attempt(self, *arguments: str, offline: bool = False) -> tuple[int, str]:
        """Exit code and what it printed."""
        variables = {
            **self.variables,
            "UV_CACHE_DIR": str(self.cache),
            "UV_PYTHON_DOWNLOADS": "never",
            "UV_NO_CONFIG": "1",
            "NO_COLOR": "1",
            **({"UV_OFFLINE": "1"} if offline else {}),
        }
        for name in _UNWANTED:
            variables.pop(name, None)
        secret = variables.get("UV_INDEX_SMALT_PASSWORD") or ""
        try:
            process = subprocess.Popen(
                [self.program, *arguments], env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
        except OSError as error:
            raise RunFailed(
                "EnvironmentFailed",
                f"the installer {self.program} cannot run in this image ({error.strerror or error}); use an image for the "
                f"node's own processor, or one that has the packages, {self.next_step}",
            ) from error
        assert process.stdout
        printed = []
        with process.stdout as stream:
            for raw in stream:
                line = raw.decode("utf-8", "replace").rstrip()
                # Not printed by uv, but what a package's own build prints is nobody's to foresee.
                line = line.replace(secret, "****") if len(secret) > 3 else line
                printed.append(line)
                self.tell(line)
        return process.wait(), "\n".join(printed)


def find_uv() -> str:
    """The installer: beside this package, as `install` puts it, or on PATH."""
    beside = Path(__file__).resolve().parent.parent / "uv"
    found = str(beside) if beside.is_file() else shutil.which("uv")
    if not found:
        raise RunFailed(
            "EnvironmentFailed",
            f"the environment lacks packages and there is no uv to install them ({beside} and PATH were searched); "
            "use an image that has the packages",
        )
    return found


def failure(printed: str, next_step: str) -> RunFailed:
    """The cause first, then what uv says itself, the beginning and the end of it."""
    text = " ".join(printed.split())
    said = shorten(text[max(text.find("error:"), 0) :], _MESSAGE_LIMIT)
    refused, mismatch = _REFUSED.search(text), _HASH.search(text)
    if refused:
        return RunFailed(
            "EnvironmentFailed",
            f"the package index {refused[1] or ''} refuses the credentials it was asked with, or wants some: put username "
            f"and password into a Secret and name it in the Workspace's spec.packages.credentialsSecret, {next_step}. {said}",
        )
    if _UNTRUSTED.search(text):
        return RunFailed(
            "EnvironmentFailed",
            f"the package index shows a certificate that nobody here vouches for: put the authority's certificate into a "
            f"ConfigMap and name it in the Workspace's spec.trustBundle, {next_step}. {said}",
        )
    if mismatch:
        return RunFailed(
            "EnvironmentFailed",
            f"the package index has another file for {mismatch[1]} than the lock: find out who changed it, or lock the "
            f"packages again, {next_step}. {said}",
        )
    package = absent_package(text)
    if package:
        return not_found([package], next_step)
    if "No solution found" in text:
        return RunFailed(
            "EnvironmentFailed",
            f"the packages exclude each other: {said.partition('cause: ')[2] or said}; change one of these versions, {next_step}",
        )
    if _FULL.search(text):
        return RunFailed(
            "EnvironmentFailed",
            f"there is no room for the packages: {said}; ask for fewer, or choose an image that has them, {next_step}",
        )
    return RunFailed("EnvironmentFailed", f"the packages could not be installed: {said}; {next_step}")


def not_found(packages: Sequence[str], next_step: str) -> RunFailed:
    """Packages that the index does not have, each with its own words where there are some."""
    named = "; ".join(packages)
    return RunFailed(
        "PackageNotFound",
        f"the package index has no {named}; correct the name or the version in the environment "
        f"(packages of conda are looked up in the Python package index), {next_step}",
    )


def missing_package(text: str) -> Optional[str]:
    """The package that the index does not know at all."""
    match = _MISSING.search(" ".join(text.split()))
    return match[1].rstrip(",.;") if match and not _REFUSED.search(text) else None


def absent_package(text: str) -> Optional[str]:
    """The package, or the version of one, that uv says does not exist."""
    match = _MISSING.search(text) or _NO_VERSION.search(text) or _NONE_FITS.search(text)
    return match[1].rstrip(",.;") if match else None


def is_full(printed: str) -> bool:
    """Whether it failed because a volume is full."""
    return bool(_FULL.search(printed))
