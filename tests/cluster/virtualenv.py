"""The virtualenv of tests and checks, from the lock, by whatever Python runs this; a fresh Debian's can make none yet."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from cluster import host
from cluster.paths import REPOSITORY
from cluster.progress import ProgramFailed, SetUpFailed, step
from cluster.shell import run

LEAST_PYTHON = (3, 11)
LOCK = "requirements/dev.txt"
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
        pip: list[str | Path] = [python, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        try:
            run([*pip, "install", "--require-hashes", "-r", REPOSITORY / LOCK])
        except ProgramFailed as failure:
            raise ProgramFailed(f"{failure}\n{PIP_FAILED}") from failure
        packages = run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).strip()
        (Path(packages) / "smalt.pth").write_text("".join(f"{REPOSITORY / each}\n" for each in SOURCES))


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
