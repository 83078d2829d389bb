"""A whole profile says of every column what pandas says of it, and approximates only where it says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from smalt_profile.limits import Limits
from smalt_profile.profiling import profile
from smalt_profile.variables import SHARES, Variable
from support.tables import clean, planted, write_csv


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return planted()


@pytest.fixture(scope="module")
def variables(table: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Variable]:
    path = write_csv(table, tmp_path_factory.mktemp("profile") / "planted.csv")
    return {each.name: each for each in profile(path).variables}


@pytest.mark.parametrize("name", ["amount", "balance", "payout", "visits", "score", "fax"])
def test_numbers_have_the_statistics_of_pandas(table: pd.DataFrame, variables: dict[str, Variable], name: str) -> None:
    found, column = variables[name], table[name].astype("float64")
    assert found.is_exact
    assert (found.count, found.missing, found.distinct) == (column.count(), column.isna().sum(), column.nunique())
    assert (found.lowest, found.highest) == (column.min(), column.max())
    assert found.mean == pytest.approx(column.mean())
    assert found.standard_deviation == pytest.approx(column.std())
    assert found.variance == pytest.approx(column.var())
    assert found.skewness == pytest.approx(column.skew())
    assert found.kurtosis == pytest.approx(column.kurt())
    assert found.quantiles == pytest.approx(column.quantile(list(SHARES)).to_dict())
    assert sum(found.counts) == column.count()
    assert (found.zeros, found.negative) == ((column == 0).sum(), (column < 0).sum())


def test_infinite_values_are_counted_apart(table: pd.DataFrame, variables: dict[str, Variable]) -> None:
    found, infinite = variables["ratio"], np.isinf(table["ratio"].astype(float))
    assert found.infinite == infinite.sum() > 0
    assert found.mean == pytest.approx(table["ratio"][~infinite].mean())
    assert found.count == len(table)


@pytest.mark.parametrize("name", ["city", "newsletter", "churned"])
def test_texts_have_their_values_counted(table: pd.DataFrame, variables: dict[str, Variable], name: str) -> None:
    counts = table[name].value_counts()
    assert dict(variables[name].top) == counts.to_dict()
    assert variables[name].distinct == len(counts)


def test_the_kind_of_a_column_is_that_of_most_cells(variables: dict[str, Variable]) -> None:
    kinds = {name: each.kind for name, each in variables.items()}
    assert kinds["age"] == "integer" and variables["age"].other_kinds == {"text": 3}
    assert (kinds["joined"], kinds["churned"], kinds["city"], kinds["street"]) == (
        "date",
        "boolean",
        "category",
        "text",
    )


@pytest.mark.slow
def test_the_same_table_has_the_same_statistics_in_every_form(table: pd.DataFrame, tmp_path: Path) -> None:
    plain = table.drop(columns=["age"])
    plain.to_csv(tmp_path / "a.csv", index=False)
    plain.to_csv(tmp_path / "a.tsv", index=False, sep="\t")
    plain.to_parquet(tmp_path / "a.parquet", index=False)
    finite = plain.assign(joined=plain["joined"].dt.strftime("%Y-%m-%d"), ratio=plain["ratio"].astype(str))
    finite.to_json(tmp_path / "a.jsonl", orient="records", lines=True, double_precision=15)
    profiles = [profile(tmp_path / f"a.{form}", "churned") for form in ("csv", "tsv", "parquet", "jsonl")]
    for other in profiles[1:]:
        for mine, theirs in zip(profiles[0].variables, other.variables, strict=True):
            # Dates without a time are dates in Parquet too; a text of a date in Parquet stays a text.
            if mine.name != "closed_on":
                assert (mine.kind, mine.missing, mine.distinct) == (theirs.kind, theirs.missing, theirs.distinct), (
                    mine.name
                )
                assert mine.mean == pytest.approx(theirs.mean)
        assert other.duplicate_rows == profiles[0].duplicate_rows
        assert {each.kind for each in other.findings} >= {"duplicate rows", "duplicate columns", "target leakage"}


@pytest.mark.slow
def test_how_blocks_are_cut_changes_nothing(tmp_path: Path) -> None:
    table = pd.concat([planted()] * 10, ignore_index=True)
    table.to_parquet(tmp_path / "one.parquet", index=False) if "age" not in table else None
    plain = table.drop(columns=["age"])
    plain.to_parquet(tmp_path / "one.parquet", index=False, row_group_size=len(plain))
    plain.to_parquet(tmp_path / "many.parquet", index=False, row_group_size=777)
    one, many = (profile(tmp_path / f"{name}.parquet", "churned") for name in ("one", "many"))
    assert [each.message for each in one.findings] == [each.message for each in many.findings]
    assert [each.distinct for each in one.variables] == [each.distinct for each in many.variables]
    assert one.duplicate_rows == many.duplicate_rows == len(plain) - 4000


def test_a_large_column_says_what_of_it_is_approximate(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=300_000)
    path = tmp_path / "large.parquet"
    pd.DataFrame({"x": values, "y": values > 0}).to_parquet(path)
    found = profile(path)
    x, y = found.variables
    assert not x.is_exact and y.is_exact and not found.is_exact
    assert x.distinct == pytest.approx(300_000, rel=4 * x.distinct_error)
    assert x.mean == pytest.approx(values.mean()) and x.highest == values.max()
    assert abs(float((values <= x.quantiles[0.5]).mean()) - 0.5) < 2 * x.rank_error
    assert found.sample_rows == Limits().sample_rows(2) < found.rows
    assert found.duplicate_rows <= 4 * found.duplicate_rows_error * found.rows


def test_whole_numbers_beyond_doubles_are_told_apart(tmp_path: Path) -> None:
    first = 2**60
    path = tmp_path / "large.csv"
    path.write_text("id\n" + "".join(f"{first + number}\n" for number in range(1000)))
    assert profile(path).variables[0].distinct == 1000


@pytest.mark.parametrize("name", list(clean()))
def test_a_clean_table_has_no_warning(tmp_path: Path, name: str) -> None:
    found = profile(write_csv(clean()[name], tmp_path / f"{name}.csv"), "target")
    assert found.target is not None
    assert [each.message for each in found.findings] == []
