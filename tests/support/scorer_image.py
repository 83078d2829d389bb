"""The scorer image as folders: the Python of scripts and models, and the server with its own packages beside it."""

from __future__ import annotations

from pathlib import Path

from support.virtualenvs import python_of

SOURCE = Path(__file__).resolve().parents[2] / "scorer_image/src"


def laid_out(root: Path) -> tuple[Path, Path]:
    """Its Python, and what PYTHONPATH names there."""
    (root / "smalt").mkdir(parents=True)
    (root / "smalt/smalt_scorer").symlink_to(SOURCE / "smalt_scorer")
    own = next(python_of("scorer").parents[1].glob("lib/python3*/site-packages"))
    (root / "scorer-packages").symlink_to(own)
    return python_of("scoring"), root / "smalt"
