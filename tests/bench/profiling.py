"""What a profile of a table costs: against ydata-profiling and pandas.describe on the same file, one after the other.

Each runs in a process of its own, from its start to the written report; memory is the most that process ever had.
PROFILE_ROWS=… makes the file larger; ten gigabytes are some hundred million rows.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.rows import CannotMeasure, Row
from cluster.progress import step
from support.resident import measured
from support.run_pod import SOURCE
from support.virtualenvs import python_of

ROUNDS = 3
ROWS = 200_000
WRITES = """
import sys
import numpy as np, pandas as pd
path, rows, piece = sys.argv[1], int(sys.argv[2]), 200_000
random, first = np.random.default_rng(7), True
while rows > 0:
    count = min(rows, piece)
    table = {f"number_{i}": random.normal(i, i + 1, count).round(4) for i in range(10)}
    table |= {f"whole_{i}": random.integers(0, 10 ** (i + 1), count) for i in range(4)}
    table |= {f"word_{i}": random.choice([f"value {j}" for j in range(5 * 6**i)], count) for i in range(4)}
    table["day"] = np.datetime_as_string(np.datetime64("2026-01-01") + random.integers(0, 365, count), unit="D")
    table["churned"] = random.integers(0, 2, count)
    frame = pd.DataFrame(table)
    frame.loc[random.random(count) < 0.05, "number_3"] = np.nan
    frame.to_csv(path, mode="w" if first else "a", header=first, index=False)
    rows, first = rows - count, False
"""
DESCRIBES = """
import sys
import pandas as pd
frame = pd.read_csv(sys.argv[1])
print(frame.describe(include="all").shape, frame.isna().sum().sum())
"""
YDATA = """
import sys
import pandas as pd
from ydata_profiling import ProfileReport
ProfileReport(pd.read_csv(sys.argv[1]), progress_bar=False).to_file(sys.argv[2])
"""


def measure(only: Sequence[str] = ()) -> list[Row]:
    """All rows."""
    del only  # the two peers are measured on one file in one go
    rows = int(os.environ.get("PROFILE_ROWS", ROWS))
    with tempfile.TemporaryDirectory(prefix="bench-profiling-") as folder:
        place = Path(folder)
        file = place / "table.csv"
        with step("profiling: a virtualenv for the peers"):
            other = python_of("bench-profiling")
        with step(f"profiling: a file of {rows} rows"):
            _run([sys.executable, "-c", WRITES, str(file), str(rows)])
        programs: dict[str, Callable[[], tuple[float, float]]] = {
            "ours": lambda: _run([sys.executable, "-m", "smalt_profile", str(file), "--out", str(place / "out")]),
            "describe": lambda: _run([str(other), "-c", DESCRIBES, str(file)]),
            "ydata-profiling": lambda: _run([str(other), "-c", YDATA, str(file), str(place / "ydata.html")]),
        }
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in programs}
        for number in range(1, ROUNDS + 1):
            for name, program in programs.items():
                if name != "ydata-profiling" or number == 1:
                    with step(f"profiling {number}: {name}"):
                        found[name].append(program())
        size = file.stat().st_size / 1e6
    return _rows(found, f"profile of {rows} rows, {size:.0f} MB")


def _rows(found: dict[str, list[tuple[float, float]]], what: str) -> list[Row]:
    seconds = {name: [each[0] for each in rounds] for name, rounds in found.items()}
    memory = {name: [each[1] for each in rounds] for name, rounds in found.items()}
    return [
        Row(f"{what}: against ydata-profiling", "s", "<= 0.1", seconds["ours"], seconds["ydata-profiling"]),
        Row(f"{what}: against pandas.describe", "s", "<= 5", seconds["ours"], seconds["describe"]),
        Row("memory: against ydata-profiling", "MiB", "<= 1", memory["ours"], memory["ydata-profiling"]),
        Row("memory", "MiB", "<= 1024", memory["ours"], memory["describe"], is_absolute=True),
    ]


def _run(command: list[str]) -> tuple[float, float]:
    """Seconds, and the most MiB the process had at a time."""
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/tmp"), "PYTHONPATH": str(SOURCE)}
    began = time.perf_counter()
    with tempfile.TemporaryFile() as log, tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "resident"
        code = subprocess.call(measured(command, report), env=environment, stdout=log, stderr=log)
        taken = time.perf_counter() - began
        if code:
            log.seek(0)
            raise CannotMeasure(f"{command[0]} failed: {log.read()[-800:].decode(errors='replace')}")
        return taken, int(report.read_text()) / (1 << 20)
