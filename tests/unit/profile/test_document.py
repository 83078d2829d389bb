"""The JSON profile has one form, whatever was profiled, and a bounded size."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cluster.paths import REPOSITORY
from smalt_profile.document import document, encoded
from smalt_profile.profiling import profile
from support.tables import planted, wide, write_csv

TOP = {
    "version",
    "generator",
    "source",
    "rows",
    "columns",
    "missing",
    "duplicateRows",
    "isExact",
    "stoppedBy",
    "sampleRows",
    "notes",
    "warnings",
    "target",
    "variables",
    "correlations",
}
VARIABLE = {"name", "type", "count", "missing", "distinct", "distinctError", "otherTypes", "top", "topError"}
NUMBERS = {
    *("min", "max", "mean", "standardDeviation", "variance", "skewness", "kurtosis", "zeros", "negative", "infinite"),
    *("quantiles", "rankError", "histogram"),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    made = profile(write_csv(planted(), tmp_path_factory.mktemp("document") / "planted.csv"), "churned")
    found: dict[str, Any] = json.loads(encoded(made))
    return found


def test_it_has_its_parts(written: dict[str, Any]) -> None:
    assert written["version"] == 1 and set(written) == TOP
    for each in written["variables"]:
        assert VARIABLE <= set(each) <= VARIABLE | NUMBERS | {"length"}
        assert (set(each) & NUMBERS == NUMBERS) == (each["type"] in ("number", "integer", "date"))
    assert (written["rows"], written["columns"]) == (4200, 18)
    assert written["missing"] == sum(each["missing"] for each in written["variables"])


def test_the_docs_name_every_part(written: dict[str, Any]) -> None:
    docs = (REPOSITORY / "docs/profiles.md").read_text()
    of_target = {*written["target"], *(key for each in written["target"]["associations"] for key in each)}
    kinds = {each["kind"] for each in written["warnings"]}
    for key in (*TOP, *VARIABLE, *NUMBERS, *of_target):
        assert re.search(rf"`{key}`", docs), key
    for kind in kinds:
        assert re.search(rf"\| {kind} \|", docs), kind


def test_no_number_is_one_that_json_has_no_word_for(tmp_path: Path) -> None:
    table = pd.DataFrame({"a": [math.inf, 1.0, -math.inf], "b": [1e308, -1e308, 1e308], "c": [None] * 3})
    json.loads(encoded(profile(write_csv(table, tmp_path / "odd.csv"), "b")), parse_constant=pytest.fail)


@pytest.mark.slow
def test_its_size_is_bounded_by_the_columns(tmp_path: Path) -> None:
    values = wide(1500, 50)
    values.iloc[0, 0] = 1e-300
    values.columns = ["n" * 300 + str(number) for number in range(1500)]
    made = profile(write_csv(values, tmp_path / "wide.csv"), values.columns[0])
    assert len(document(made)["variables"]) == 1000
    assert len(encoded(made)) < 6 << 20


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "smalt_profile", *map(str, arguments)]
    environment = {"PYTHONPATH": str(REPOSITORY / "trainer_image/src")}
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_the_program_writes_both_and_prints_a_summary(tmp_path: Path) -> None:
    path = write_csv(planted(500), tmp_path / "planted.csv")
    finished = run(path, "--target", "churned", "--out", tmp_path / "out", "--rows", 400)
    assert finished.returncode == 0, finished.stderr
    summary = json.loads(finished.stdout)
    assert summary == {
        "rows": 400,
        "columns": 18,
        "missing": summary["missing"],
        "warnings": summary["warnings"],
        "stoppedBy": "the limit of 400 rows",
    }
    assert json.loads((tmp_path / "out/profile.json").read_text())["rows"] == 400
    assert "Only the first 400 rows were read" in (tmp_path / "out/report.html").read_text()


def test_the_program_says_what_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"")
    finished = run(tmp_path / "a.csv", "--out", tmp_path / "out")
    assert (finished.returncode, json.loads(finished.stdout)) == (3, {"problem": "'a.csv' is empty"})
    assert not (tmp_path / "out").exists() and not finished.stderr


def test_asking_for_help_needs_no_library() -> None:
    code = "import sys, smalt_profile.__main__; assert not {'numpy', 'pyarrow'} & set(sys.modules), sorted(sys.modules)"
    subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(REPOSITORY / "trainer_image/src")}, check=True)
