"""The most memory that a program had resident."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

_MEASURE = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[2:])
with open(sys.argv[1], "w") as report:
    report.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024))
sys.exit(code if code >= 0 else 128 - code)
"""


def measured(command: Sequence[str], report: Path) -> list[str]:
    """The command that runs this one and writes the number of bytes, in decimal, into the file.

    Linux counts to a process what the one that starts it has had resident by then. The one in between has next to nothing.
    """
    return [sys.executable, "-c", _MEASURE, str(report), *command]
