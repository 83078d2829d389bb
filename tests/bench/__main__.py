"""`python -m bench [suite[:experiment]]...`: measures, prints a table, and writes build/bench/<suite>.json.

A missed goal is told and is no failure; the exit code is for what could not be measured.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from bench.rows import CannotMeasure, Row, table, write
from cluster.progress import fail, step
from support.controlplane import CommandFailed

SUITES = {
    "operator": "bench.operator.suite",
    "recording": "bench.recording",
    "profiling": "bench.profiling",
    "scoring": "bench.scoring.suite",
}
RESULTS = Path(__file__).resolve().parents[2] / "build/bench"


def main(arguments: Sequence[str]) -> int:
    chosen: dict[str, list[str]] = {}
    for argument in arguments or list(SUITES):
        suite, _, experiment = argument.partition(":")
        if suite not in SUITES:
            return fail(f"there is no suite '{suite}', only {', '.join(SUITES)}")
        chosen.setdefault(suite, []).extend([experiment] if experiment else [])
    for suite, only in chosen.items():
        # Imported when wanted: a suite may need packages that another one does not.
        measure: Callable[[Sequence[str]], list[Row]] = import_module(SUITES[suite]).measure
        try:
            with step(suite):
                rows = measure(only)
        except (CannotMeasure, CommandFailed) as error:
            return fail(f"{suite} could not be measured: {error}")
        print(table(rows), flush=True)
        if not only:
            # A part is for looking at; what is compared later is always the whole.
            write(rows, RESULTS / f"{suite}.json")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
