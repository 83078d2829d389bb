"""Virtualenvs of what is tested against and lies outside of the tests' own packages, made once for each content of its lock."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements"


def python_of(name: str) -> Path:
    """The Python of requirements/<name>.txt, kept in the cache folder."""
    lock_file = REQUIREMENTS / f"{name}.txt"
    cache = Path(os.environ.get("SMALT_CACHE") or Path.home() / ".cache/smalt") / "venvs"
    cache.mkdir(parents=True, exist_ok=True)
    target = cache / f"{name}-{hashlib.sha256(lock_file.read_bytes()).hexdigest()[:16]}"
    with (cache / f"{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (target / ".ready").exists():
            shutil.rmtree(target, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", str(target)], check=True)
            install = [
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--require-hashes",
                "--no-deps",
            ]
            subprocess.run([str(target / "bin/python"), *install, "-r", str(lock_file)], check=True)
            (target / ".ready").touch()
    return target / "bin/python"
