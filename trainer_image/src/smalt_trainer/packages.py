"""Drives uv: what the image has is kept whenever it fits, the rest goes into an environment on top of it."""

from __future__ import annotations

import os
import re
import shutil
import site
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Mapping, Optional, Sequence

from smalt_trainer.failures import RunFailed
from smalt_trainer.requirements import installed_versions, normalized, public

_MISSING = re.compile(r"(?:Because |and )(\S+) was not found in the (?:package registry|provided package locations)")
_NO_VERSION = re.compile(r"there (?:is|are) (?:no|only the following) versions? of (\S+)")
_NONE_FITS = re.compile(r"Because only \S+ (?:is|are) available and you require (\S+?),? we can")
_PIN = re.compile(r"^([A-Za-z0-9][\w.-]*)==(\S+)")


def install(requirements: Sequence[str], into: Path, next_step: str) -> bool:
    """Make `into` an environment with the requirements; False when the image turned out to have them all."""
    uv = find_uv()
    scratch = into / ".smalt"
    scratch.mkdir(parents=True, exist_ok=True)
    try:
        wanted = _missing_from_image(uv, requirements, scratch, next_step)
        if wanted:
            _make_environment(uv, into, scratch, next_step)
            listed = scratch / "install.txt"
            listed.write_text("\n".join(wanted) + "\n", encoding="utf-8")
            python = str(into / "bin" / "python")
            _run(
                uv,
                ["pip", "install", "--python", python, "--no-deps", "--compile-bytecode", "-r", str(listed)],
                scratch,
                next_step,
            )
        return bool(wanted)
    finally:
        # The cache lies beside the environment so that files are linked rather than copied; it has served its purpose.
        shutil.rmtree(scratch, ignore_errors=True)


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


def _missing_from_image(uv: str, requirements: Sequence[str], scratch: Path, next_step: str) -> list[str]:
    """Resolve with the image's versions preferred; what resolves to something else has to be installed."""
    have = installed_versions()
    asked, resolved = scratch / "asked.txt", scratch / "resolved.txt"
    asked.write_text("\n".join(requirements) + "\n", encoding="utf-8")
    # Versions in an existing output file are preferences to uv: kept where they fit, given up where they do not.
    resolved.write_text("\n".join(preferences(have)) + "\n", encoding="utf-8")
    options = ["--no-header", "--no-annotate", "--no-strip-extras", "--python", sys.executable]
    _run(uv, ["pip", "compile", "--quiet", *options, str(asked), "-o", str(resolved)], scratch, next_step)
    return [line for line in resolved.read_text(encoding="utf-8").splitlines() if line and not has(line, have)]


def preferences(have: Mapping[str, str]) -> list[str]:
    """The image's versions as pins; the index knows a build such as 2.5.1+cu121 by its public version only."""
    pins = [f"{name}=={public(version)}" for name, version in sorted(have.items())]
    return [pin for pin in pins if _PIN.match(pin)]


def has(line: str, have: Mapping[str, str]) -> bool:
    """Whether the image has what a line of the resolution names; without a builder's mark, any build of it will do."""
    match = _PIN.match(line.split("[")[0] + line.partition("]")[2] if "[" in line else line)
    version = have.get(normalized(match[1])) if match else None
    return version is not None and match is not None and match[2] in (version, public(version))


def _make_environment(uv: str, into: Path, scratch: Path, next_step: str) -> None:
    _run(
        uv,
        ["venv", "--quiet", "--allow-existing", "--system-site-packages", "--python", sys.executable, str(into)],
        scratch,
        next_step,
    )
    # An image's Python may itself be a virtual environment, whose packages an environment on top of it does not see.
    variables = {"base": str(into), "platbase": str(into)}
    target = Path(sysconfig.get_path("purelib", "posix_prefix", vars=variables))
    target.mkdir(parents=True, exist_ok=True)
    paths = [path for path in site.getsitepackages() if Path(path).is_dir()]
    lines = "".join(f"import site; site.addsitedir({path!r})\n" for path in paths)
    (target / "smalt-image.pth").write_text(lines, encoding="utf-8")


def _run(uv: str, arguments: Sequence[str], scratch: Path, next_step: str) -> None:
    variables = {
        **os.environ,
        "UV_CACHE_DIR": str(scratch / "cache"),
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_NO_CONFIG": "1",
        "NO_COLOR": "1",
    }
    # A run's variables must not decide where packages go.
    for name in ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "UV_PROJECT_ENVIRONMENT"):
        variables.pop(name, None)
    result = subprocess.run([uv, *arguments], env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    printed = result.stdout.decode("utf-8", "replace")
    sys.stderr.write(printed)
    sys.stderr.flush()
    if result.returncode:
        raise _failure(printed, next_step)


def _failure(printed: str, next_step: str) -> RunFailed:
    text = " ".join(printed.split())
    package = absent_package(text)
    if package:
        return RunFailed(
            "PackageNotFound",
            f"the package index has no {package}; correct the name or the version in the environment "
            f"(packages of conda are looked up in the Python package index), {next_step}",
        )
    start = text.find("error:")
    return RunFailed(
        "EnvironmentFailed", f"the packages could not be installed: {text[max(start, 0) :][:600]}; {next_step}"
    )


def absent_package(text: str) -> Optional[str]:
    """The package, or the version of one, that uv says does not exist."""
    match = _MISSING.search(text) or _NO_VERSION.search(text) or _NONE_FITS.search(text)
    return match[1].rstrip(",.;") if match else None
