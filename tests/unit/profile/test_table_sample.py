"""The rows that are kept of a table: as they are, typed, chosen by chance, and bounded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from smalt_profile.limits import Limits
from smalt_profile.profiling import profile
from smalt_profile.table_sample import LONGEST_TEXT, MOST_BYTES, MOST_ROWS


def sample(path: Path) -> dict[str, Any]:
    content = profile(path, limits=Limits(keeps_rows=True)).sample
    assert len(content.encode()) <= MOST_BYTES
    found: dict[str, Any] = json.loads(content)
    return found


def columns(found: dict[str, Any]) -> dict[str, tuple[str, list[Any]]]:
    return {each["name"]: (each["type"], each["values"]) for each in found["columns"]}


def test_nothing_is_kept_unless_it_is_wanted(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x\n1\n2\n")
    assert profile(tmp_path / "a.csv").sample == ""


def test_the_rows_of_a_small_table_are_kept_as_they_are_with_types(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "age,pay,plan,churned,since,mixed\n31,1.5,gold,True,2024-01-02,1\n42,,silver,False,2024-01-03,x\n"
    )
    found = sample(tmp_path / "a.csv")
    assert (found["rows"], found["of"]) == (2, 2)
    assert columns(found) == {
        "age": ("integer", [31, 42]),
        "pay": ("number", [1.5, None]),
        "plan": ("string", ["gold", "silver"]),
        "churned": ("boolean", [True, False]),
        "since": ("string", ["2024-01-02", "2024-01-03"]),
        "mixed": ("string", ["1", "x"]),
    }


def test_a_parquet_file_brings_its_own_types(tmp_path: Path) -> None:
    table = pa.table({"n": [1, 2], "b": [True, None], "t": ["a", None]})
    pq.write_table(table, tmp_path / "a.parquet")
    assert columns(sample(tmp_path / "a.parquet")) == {
        "n": ("integer", [1, 2]),
        "b": ("boolean", [True, None]),
        "t": ("string", ["a", None]),
    }


def test_of_a_long_table_every_part_has_its_share(tmp_path: Path) -> None:
    rows = 200_000
    (tmp_path / "a.csv").write_text("x,twice\n" + "".join(f"{each},{2 * each}\n" for each in range(rows)))
    found = sample(tmp_path / "a.csv")
    assert (found["rows"], found["of"]) == (MOST_ROWS, rows)
    values = columns(found)["x"][1]
    assert columns(found)["twice"][1] == [2 * each for each in values]
    assert len(set(values)) == MOST_ROWS
    tenths = [sum(each * rows // 10 <= value < (each + 1) * rows // 10 for value in values) for each in range(10)]
    # Chi-square of ten equal shares: 27.9 is passed by chance once in a thousand tables, and the draw is a fixed one.
    assert sum((each - 100) ** 2 / 100 for each in tenths) < 27.9


def test_a_row_with_a_long_text_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"x,t\n1,a\n2,{'b' * (LONGEST_TEXT + 1)}\n3,c\n")
    assert columns(sample(tmp_path / "a.csv"))["x"][1] == [1, 3]


def test_of_wide_rows_there_are_fewer(tmp_path: Path) -> None:
    cells = ",".join(["ä" * 150] * 60)
    header = ",".join(f"c{each}" for each in range(60))
    (tmp_path / "a.csv").write_text(header + "\n" + f"{cells}\n" * 1_000)
    assert 0 < sample(tmp_path / "a.csv")["rows"] < MOST_ROWS
