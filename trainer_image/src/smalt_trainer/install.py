"""Copies this package and uv into a folder shared with a container of any image, which then needs nothing but Python."""

from __future__ import annotations

import shutil
from pathlib import Path

from smalt_trainer.uv import find_uv


def install_tools(into: Path) -> None:
    """Fill the folder; the package first, so that a folder with uv is a complete one."""
    package = Path(__file__).resolve().parent
    into.mkdir(parents=True, exist_ok=True)
    # With what is compiled: an image with the same Python starts the sooner, and any other takes the source.
    shutil.copytree(package, into / package.name, dirs_exist_ok=True)
    shutil.copyfile(package.parent / "__main__.py", into / "__main__.py")
    shutil.copyfile(find_uv(), into / "uv")
    (into / "uv").chmod(0o755)
