"""What every run waits for is little: a script's own client, and the wrapper around the script."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from support.run_pod import SOURCE

HEAVY = {
    "smalt_trainer.run": ["json", "urllib", "http", "logging", "argparse", "dataclasses", "typing"],
    # It talks to no server; the recorder beside it does.
    "smalt_trainer.training": ["ssl", "socket", "http", "urllib.request", "email"],
}


@pytest.mark.parametrize("module", HEAVY)
def test_importing_it_brings_in_nothing_heavy(module: str) -> None:
    script = f"import sys, {module}; print([each for each in sys.modules if each in sys.argv[1:]])"
    # Without site: an installed package may load anything as Python starts.
    command = [sys.executable, "-S", "-c", script, *HEAVY[module]]
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    assert subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout == "[]\n"
