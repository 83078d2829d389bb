"""Associations are those of scipy and scikit-learn, and chance alone has next to none."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy import stats
from sklearn import metrics

from smalt_profile import associations as of
from smalt_profile.variables import Variable

RANDOM = np.random.default_rng(11)
SIZE = 5000


def numbers(name: str, values: np.ndarray) -> of.SampleColumn:
    distinct = len(np.unique(values[~np.isnan(values)]))
    variable = Variable(name, "number", len(values), int(np.isnan(values).sum()), distinct, 0.0)
    return of.SampleColumn(variable, numbers=values.astype(float))


def classes(name: str, values: list[str | None]) -> of.SampleColumn:
    distinct = len(set(values) - {None})
    variable = Variable(name, "category", len(values), values.count(None), distinct, 0.0)
    return of.sample_column(variable, pa.array(values, pa.string()), False)


def test_correlations_are_pandas_with_gaps_and_offsets() -> None:
    table = pd.DataFrame(RANDOM.normal(size=(300, 5)) @ RANDOM.normal(size=(5, 5)), columns=list("abcde"))
    table["b"] = table["b"] * 1e-3 + 1e4
    table["c"] *= 1e200
    for name in "abd":
        table.loc[RANDOM.random(300) < 0.3, name] = np.nan
    table["f"] = 7.0
    found = of.pearson_matrix(table.to_numpy())
    expected = table.assign(c=table["c"] / 1e200).corr().to_numpy()
    np.testing.assert_allclose(found[:5, :5], expected[:5, :5], atol=1e-9)
    # A column without spread is correlated with nothing, itself included.
    assert np.isnan(found[5]).all()


def test_columns_without_two_common_rows_have_no_correlation() -> None:
    apart = np.array([[1.0, np.nan], [2.0, np.nan], [np.nan, 1.0], [np.nan, 2.0]])
    assert np.isnan(of.pearson_matrix(apart)[0, 1])


def test_a_number_against_a_number() -> None:
    goal = RANDOM.normal(size=SIZE)
    monotone = numbers("monotone", np.exp(3 * goal))
    noise = numbers("noise", RANDOM.normal(size=SIZE))
    some = numbers("some", goal + RANDOM.normal(size=SIZE))
    found = {each.name: each for each in of.associations([monotone, noise, some], numbers("goal", goal))}
    assert list(found) == ["monotone", "some", "noise"]
    assert found["monotone"].spearman == pytest.approx(1.0) and (found["monotone"].pearson or 0) < 0.7
    assert found["some"].pearson == pytest.approx(stats.pearsonr(some.numbers, goal)[0])
    assert found["some"].spearman == pytest.approx(stats.spearmanr(some.numbers, goal)[0])
    assert found["noise"].strength < 0.06
    assert (found["noise"].mutual_information or 0) < 0.01


def test_a_number_against_two_classes() -> None:
    goal = RANDOM.random(SIZE) < 0.3
    values = goal * 1.2 + RANDOM.normal(size=SIZE)
    target = classes("goal", ["yes" if each else "no" for each in goal])
    (found,) = of.associations([numbers("x", values)], target)
    assert found.area_under_curve == pytest.approx(metrics.roc_auc_score(goal, values))
    between = stats.f_oneway(values[goal], values[~goal])
    eta = between.statistic / (between.statistic + SIZE - 2)
    assert found.correlation_ratio == pytest.approx(np.sqrt(eta), abs=0.002)


def test_classes_against_classes() -> None:
    goal = RANDOM.integers(0, 3, SIZE)
    same = np.where(RANDOM.random(SIZE) < 0.5, goal, RANDOM.integers(0, 3, SIZE))
    target = classes("goal", [str(each) for each in goal])
    columns = [
        classes("half", [str(each) for each in same]),
        classes("renamed", [f"class {each}" for each in goal]),
        classes("noise", [str(each) for each in RANDOM.integers(0, 9, SIZE)]),
        classes("absent", [None if each == 0 else "x" for each in goal]),
    ]
    found = {each.name: each for each in of.associations(columns, target)}
    table = pd.crosstab(same, goal)
    assert found["half"].cramers_v == pytest.approx(stats.contingency.association(table), abs=0.002)
    shared = metrics.mutual_info_score(same, goal) / np.log(2)
    assert found["half"].mutual_information == pytest.approx(shared, abs=0.001)
    assert found["renamed"].strength == pytest.approx(1.0)
    assert found["noise"].strength < 0.05
    # That a value is missing tells of the target as any value does.
    assert (found["absent"].cramers_v or 0) > 0.9


def test_texts_that_hardly_repeat_tell_only_whether_they_are_there() -> None:
    goal = RANDOM.random(SIZE) < 0.5
    target = classes("goal", [str(each) for each in goal])
    everywhere = classes("id", [f"{number}" for number in range(SIZE)])
    where_true = classes("receipt", [f"{number}" if each else None for number, each in enumerate(goal)])
    found = {each.name: each for each in of.associations([everywhere, where_true], target)}
    assert found["id"].strength == 0
    assert found["receipt"].strength == pytest.approx(1.0, abs=0.001)


def test_classes_against_a_number() -> None:
    goal = RANDOM.normal(size=SIZE)
    column = classes("sign", ["up" if each > 0 else "down" for each in goal])
    (found,) = of.associations([column], numbers("goal", goal))
    assert found.correlation_ratio == pytest.approx(np.sqrt(2 / np.pi), abs=0.02)


@pytest.mark.parametrize("goal", [[None] * 30, ["x"] * 30, ["x"] * 5])
def test_a_target_that_tells_nothing_is_no_error(goal: list[str | None]) -> None:
    columns = [
        numbers("x", np.arange(float(len(goal)))),
        classes("c", ["a", "b"] * (len(goal) // 2) + ["a"] * (len(goal) % 2)),
    ]
    for found in of.associations(columns, classes("goal", goal)):
        assert found.strength == 0


def test_infinite_values_are_left_out_of_measures() -> None:
    goal = np.arange(100.0)
    values = goal.copy()
    values[50] = np.inf
    (found,) = of.associations([numbers("x", values)], numbers("goal", goal))
    assert found.pearson == pytest.approx(1.0) and found.spearman == pytest.approx(1.0)
