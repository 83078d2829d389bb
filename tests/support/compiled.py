"""Where a Python that a test starts keeps what it compiles; to compile everything anew takes longer than most tests."""

from __future__ import annotations

import os

_PREFIX = "PYTHONPYCACHEPREFIX"


def compiled() -> dict[str, str]:
    """Its variables: the folder that `make` names, or nowhere. Never beside the sources, which images copy."""
    folder = os.environ.get(_PREFIX)
    return {_PREFIX: folder} if folder else {"PYTHONDONTWRITEBYTECODE": "1"}
