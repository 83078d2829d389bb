"""Every warning is given where it is planted, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from smalt_profile.page import page
from smalt_profile.profiling import Profile, profile
from support.tables import PLANTED, planted, write_csv


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Profile:
    return profile(write_csv(planted(), tmp_path_factory.mktemp("planted") / "planted.csv"), "churned")


@pytest.mark.parametrize("kind", PLANTED)
def test_a_planted_warning_is_given_and_named_in_the_report(found: Profile, kind: str) -> None:
    column = PLANTED[kind]
    matching = [each for each in found.findings if each.kind == kind]
    assert [each for each in matching if not column or column in each.columns]
    report = page(found)
    assert f">{kind}</span>" in report
    assert not column or f"&#x27;{column}&#x27;" in report


def test_no_other_warning_is_given(found: Profile) -> None:
    given = {(each.kind, column) for each in found.findings for column in each.columns or ("",)}
    # A date that only the leavers have is also mostly missing, and always the same.
    expected = {*PLANTED.items(), ("duplicate columns", "amount")}
    expected |= {("mostly missing", "closed_on"), ("constant", "closed_on")}
    assert given == expected


def findings_of(tmp_path: Path, table: pd.DataFrame, target: str | None = None) -> set[tuple[str, str]]:
    made = profile(write_csv(table, tmp_path / "table.csv"), target)
    return {(each.kind, column) for each in made.findings for column in each.columns or ("",)}


RANDOM = np.random.default_rng(2)
ROWS = 2000


@pytest.mark.parametrize(
    ("kind", "plain", "planted"),
    [
        ("mostly missing", pd.Series(RANDOM.normal(size=ROWS)).where(np.arange(ROWS) % 2 == 1), None),
        ("skewed", pd.Series(RANDOM.lognormal(0, 1, ROWS)), pd.Series(np.exp(RANDOM.normal(0, 4, ROWS)))),
        ("id-like", pd.Series(RANDOM.integers(0, 10**6, ROWS)), pd.Series(np.arange(ROWS))),
        ("id-like", pd.Series(RANDOM.normal(size=ROWS)), pd.Series([f"k{n:x}" for n in range(ROWS)])),
        ("high cardinality", pd.Series(RANDOM.integers(0, 99, ROWS)).map("v{}".format), None),
        ("mixed types", pd.Series([f"A{n % 20}" for n in range(ROWS)]), pd.Series(["12", "x"] * (ROWS // 2))),
        ("mixed types", pd.Series(range(ROWS)), pd.Series([*range(ROWS - 1), "?"])),
    ],
)
def test_a_warning_has_a_threshold(tmp_path: Path, kind: str, plain: pd.Series, planted: pd.Series | None) -> None:
    if planted is None:
        planted = {
            "mostly missing": plain.where(np.arange(ROWS) % 4 == 1),
            "high cardinality": pd.Series(RANDOM.integers(0, 1500, ROWS)).map("v{}".format),
        }[kind]
    noise = RANDOM.normal(size=ROWS)
    assert (kind, "x") in findings_of(tmp_path, pd.DataFrame({"x": planted, "noise": noise}))
    if kind != "mostly missing":
        assert (kind, "x") not in findings_of(tmp_path, pd.DataFrame({"x": plain, "noise": noise}))


@pytest.mark.parametrize(("share", "given"), [(0.05, True), (0.2, False)])
def test_classes_are_imbalanced_below_a_fifth_of_their_part(tmp_path: Path, share: float, given: bool) -> None:
    table = pd.DataFrame({"y": (np.arange(ROWS) < share * ROWS).astype(int), "x": RANDOM.normal(size=ROWS)})
    assert (("imbalanced classes", "y") in findings_of(tmp_path, table, "y")) == given
    assert ("imbalanced classes", "y") not in findings_of(tmp_path, table)


@pytest.mark.parametrize(
    ("leak", "given"),
    [
        (lambda goal: goal * 7.0, True),
        (lambda goal: goal + RANDOM.normal(0, 0.02, ROWS), True),
        (lambda goal: goal + RANDOM.normal(0, 0.8, ROWS), False),
    ],
)
@pytest.mark.parametrize("is_class", [True, False])
def test_what_gives_the_target_away_is_suspected(tmp_path: Path, leak: object, given: bool, is_class: bool) -> None:
    goal = (RANDOM.random(ROWS) < 0.4).astype(float) if is_class else RANDOM.normal(size=ROWS)
    table = pd.DataFrame({"y": goal.astype(int) if is_class else goal, "x": leak(goal)})  # type: ignore[operator]
    assert (("target leakage", "x") in findings_of(tmp_path, table, "y")) == given


@pytest.mark.parametrize(("copies", "given"), [(5, False), (40, True)])
def test_rows_that_repeat_are_told_from_one_in_a_hundred_on(tmp_path: Path, copies: int, given: bool) -> None:
    table = pd.DataFrame({"x": RANDOM.normal(size=ROWS), "y": RANDOM.normal(size=ROWS)})
    repeated = pd.concat([table, table.head(copies)])
    assert (("duplicate rows", "") in findings_of(tmp_path, repeated)) == given


def test_columns_that_differ_in_one_cell_are_no_duplicates(tmp_path: Path) -> None:
    values = RANDOM.normal(size=ROWS)
    other = values.copy()
    other[-1] += 1
    table = pd.DataFrame({"a": values, "b": values, "c": other, "d": values[::-1]})
    assert {each for each in findings_of(tmp_path, table) if each[0] == "duplicate columns"} == {
        ("duplicate columns", "a"),
        ("duplicate columns", "b"),
    }
