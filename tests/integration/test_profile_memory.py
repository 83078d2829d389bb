"""A profile's memory does not grow with its file."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cluster.paths import REPOSITORY
from support.resident import measured

MIB = 1 << 20
# What the whole program may have resident, whatever the file.
MOST = 1024 * MIB


def write(path: Path, size: int) -> Path:
    """A file of that size: numbers, a class, a text that hardly repeats."""
    random = np.random.default_rng(0)
    block = "".join(
        f"{number},{price:.2f},{score:.6f},{city},{name:x},{flag}\n"
        for number, price, score, city, name, flag in zip(
            random.integers(0, 10**9, 50_000),
            random.lognormal(3, 1, 50_000),
            random.normal(size=50_000),
            random.choice(["Oslo", "Bern", "Rome"], 50_000),
            random.integers(0, 2**50, 50_000),
            random.integers(0, 2, 50_000),
            strict=True,
        )
    )
    with path.open("w") as stream:
        stream.write("number,price,score,city,name,flag\n")
        written, round_ = 0, 0
        while written < size:
            # The digits before each line make every round's texts and numbers others.
            lines = block.replace("\n", f"{round_}\n")
            stream.write(lines)
            written, round_ = written + len(lines), round_ + 1
    return path


def resident(path: Path) -> int:
    """The most that the program had resident, in bytes."""
    command = [sys.executable, "-m", "smalt_profile", str(path), "--target", "flag", "--out", str(path.parent / "out")]
    report = path.parent / "resident"
    environment = {"PYTHONPATH": str(REPOSITORY / "trainer_image/src")}
    subprocess.run(measured(command, report), env=environment, stdout=subprocess.DEVNULL, check=True)
    return int(report.read_text())


@pytest.mark.slow
def test_five_times_the_file_takes_no_more_memory(tmp_path: Path) -> None:
    small = resident(write(tmp_path / "small.csv", 200 * MIB))
    large = resident(write(tmp_path / "large.csv", 1000 * MIB))
    assert large < MOST
    assert large < small * 1.15


def test_a_limit_on_memory_that_a_table_in_memory_breaks_is_kept(tmp_path: Path) -> None:
    path = write(tmp_path / "table.csv", 150 * MIB)
    limit = 640 * MIB

    def limited(code: list[str]) -> int:
        """The exit code when no more than the limit can be allocated."""
        environment = {
            "PYTHONPATH": str(REPOSITORY / "trainer_image/src"),
            "OPENBLAS_NUM_THREADS": "1",
            "MALLOC_ARENA_MAX": "2",
        }
        return subprocess.run(
            [sys.executable, *code],
            env=environment,
            capture_output=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)),
        ).returncode

    assert limited(["-m", "smalt_profile", str(path), "--out", str(tmp_path / "out")]) == 0
    assert limited(["-c", f"import pandas; pandas.read_csv({str(path)!r}).describe(include='all')"]) != 0
