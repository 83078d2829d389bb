"""The model card, made by a process of its own (smalt_card): what it shows was written by anybody who ran something."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Mapping, Optional

from smalt_trainer.registration.source import say
from smalt_trainer.termination import encode

_SECONDS = 60.0


def made_card(known: Mapping[str, Any], into: Path) -> Optional[Path]:
    """The folder with card.md and card.html; None when there is no card, and the log says why: a model is one without it."""
    into.mkdir(parents=True)
    here = str(Path(__file__).resolve().parents[2])
    command = [sys.executable, "-s", "-m", "smalt_card", "--into", str(into)]
    variables = {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": here, "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        subprocess.run(
            command, input=encode(known), env=variables, cwd="/", check=True, capture_output=True, timeout=_SECONDS
        )
    except subprocess.TimeoutExpired:
        say(f"there is no model card: it was not made within {_SECONDS:.0f} s")
        return None
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode("utf-8", "replace").strip().splitlines() or ["no word"]
        say(f"there is no model card: {said[-1][:300]}")
        return None
    return into
