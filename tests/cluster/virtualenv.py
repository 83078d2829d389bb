"""The virtualenv of tests and checks, from the lock, by whatever Python runs this; a fresh Debian's can make none yet."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from cluster import host, pip
from cluster.paths import REPOSITORY, cache
from cluster.progress import ProgramFailed, SetUpFailed, step
from cluster.shell import run

LEAST_PYTHON = (3, 11)
LOCK = "requirements/dev.txt"
INSTALLER = "requirements/uv.txt"
# The project's own packages by path, so that nothing is built or fetched without a hash.
SOURCES = ("operator/src", "trainer_image/src", "scorer_image/src", "tracking_image/src")
PIP_FAILED = (
    f"The packages of {LOCK} come from the index that pip is set to: check the network, HTTPS_PROXY and PIP_INDEX_URL "
    "(`pip config list` shows what is set)."
)


def make(folder: Path) -> None:
    """SetUpFailed with what is missing here, or what cannot be reached."""
    _require_python()
    with step(f"virtualenv from {LOCK}"):
        run([sys.executable, "-m", "venv", "--clear", folder])
        python = folder / "bin/python"
        _install(python)
        packages = run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).strip()
        (Path(packages) / "smalt.pth").write_text("".join(f"{REPOSITORY / each}\n" for each in SOURCES))


def _install(python: Path) -> None:
    """By uv, which takes a fifth of pip's time; where it cannot, by pip, whose settings and credentials it may lack."""
    _pip_install(python, INSTALLER)
    try:
        options: list[str | Path] = ["--quiet", "--compile-bytecode", "--require-hashes", "--python", python]
        variables = {"UV_CACHE_DIR": str(cache() / "uv"), **pip.for_uv(pip.settings(python))}
        run([python.parent / "uv", "pip", "install", *options, "-r", REPOSITORY / LOCK], environment=variables)
    except SetUpFailed as failure:
        print(f"    uv could not install the packages, pip may: {str(failure).splitlines()[-1]}", flush=True)
        _pip_install(python, LOCK)


def _pip_install(python: Path, lock: str) -> None:
    options: list[str | Path] = ["--quiet", "--disable-pip-version-check", "install", "--require-hashes"]
    try:
        run([python, "-m", "pip", *options, "-r", REPOSITORY / lock])
    except ProgramFailed as failure:
        raise ProgramFailed(f"{failure}\n{PIP_FAILED}") from failure


def _require_python() -> None:
    trouble = version_trouble()
    if trouble:
        raise SetUpFailed(trouble)
    if has_venv():
        return
    if not (is_debians() and host.can_install()):
        raise SetUpFailed(venv_trouble())
    host.install([venv_package()])


def version_trouble() -> str | None:
    if sys.version_info < LEAST_PYTHON:
        return f"Python {sys.version.split()[0]} is too old: install Python 3.11 or later, and say PYTHON=python3.11"
    return None


def venv_trouble() -> str:
    return (
        f"Python's venv module is missing: `apt-get install {venv_package()}` as root, "
        "or say PYTHON= of a complete Python"
    )


def has_venv() -> bool:
    """Debian keeps in a package of its own what `python3 -m venv` needs."""
    return subprocess.run([sys.executable, "-c", "import ensurepip, venv"], capture_output=True).returncode == 0


def is_debians() -> bool:
    """The distribution's own Python, which its packages complete."""
    return sys.base_prefix == "/usr"


def venv_package() -> str:
    return f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
