"""A kernel answers as its estimator does, to the bit, or is not used."""

from __future__ import annotations

import copy
import pickle
import warnings
from typing import Any

import numpy
import pandas
import pytest
from sklearn.base import clone
from sklearn.datasets import make_classification, make_regression
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, PolynomialFeatures, RobustScaler, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier, ExtraTreeRegressor
from sklearn.utils import all_estimators

from smalt_scorer.models import kernels
from smalt_scorer.models.kernels import Kernel, kernels_of, linear
from smalt_scorer.models.kernels.proof import same

SIZES = (1, 2, 7, 64)
TYPES = ("float64", "float32", "int64")
OTHER_TYPES = ("int32", "bool", "float16", "object", ">f8")
WIDTH = 5
LINEAR = {name: kind for name, kind in all_estimators() if name in linear.REGRESSORS | linear.CLASSIFIERS}


def fitted(model: Any, targets: int = 1, classes: int = 3, width: int = WIDTH, named: bool = False) -> Any:
    """The model, fitted to made-up rows."""
    if hasattr(model, "predict_proba") or getattr(model, "_estimator_type", "") == "classifier" or is_classifier(model):
        rows, wanted = make_classification(
            120, width, n_informative=width, n_redundant=0, n_classes=classes, random_state=1
        )
        wanted = numpy.array(["none", "some", "many", "most"])[wanted]
    else:
        rows, wanted = make_regression(120, width, n_targets=targets, noise=3.0, random_state=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", FutureWarning)
        return model.fit(pandas.DataFrame(rows, columns=list("abcdefghij"[:width])) if named else rows, wanted)


def is_classifier(model: Any) -> bool:
    from sklearn.base import is_classifier as told

    return bool(told(model))


def rows_of(count: int, seed: int = 0, width: int = WIDTH, scale: float = 3.0) -> Any:
    return numpy.random.default_rng([seed, count]).standard_normal((count, width)) * scale


def answered(model: Any, method: str, given: Any) -> Any:
    """What the plain method does: its answer, or its error and warnings in words."""
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        try:
            return getattr(model, method)(given)
        except Exception as error:
            return f"{type(error).__name__}: {error}"


def check(model: Any, methods: set[str], named: bool = False, width: int = WIDTH) -> None:
    """Every kernel that there is, and those that there have to be, against the plain calls."""
    found = kernels_of(model)
    assert methods <= set(found), f"{model} has kernels for {sorted(found)}"
    for method, kernel in found.items():
        questions = [rows_of(size, width=width).astype(kind) for size in SIZES for kind in TYPES]
        questions += [rows_of(2, width=width).astype(kind) for kind in OTHER_TYPES]
        for given in (each for rows in questions for each in layouts(rows, named)):
            made = kernel(given)
            assert made is None or same(made, answered(model, method, given)), (model, method, given)
        rows = rows_of(33, width=width)
        assert kernel(layouts(rows, named)[0]) is not None
        alone = [getattr(model, method)(table(rows[[at]]) if named else rows[[at]]) for at in range(len(rows))]
        assert same(kernel.singly(rows), numpy.concatenate(alone)), (model, method)


def layouts(rows: Any, named: bool) -> list[Any]:
    """The same rows, as they may lie in memory."""
    if named:
        return [table(rows)]
    return [rows, numpy.asfortranarray(rows), numpy.repeat(rows, 2, axis=0)[::2], rows.tolist()]


def table(rows: Any) -> pandas.DataFrame:
    return pandas.DataFrame(rows, columns=list("abcdefghij"[: rows.shape[1]]))


@pytest.mark.parametrize("name", sorted(LINEAR))
@pytest.mark.slow
def test_a_linear_model_is_answered_to_the_bit(name: str) -> None:
    kind = LINEAR[name]
    is_multi = name.startswith("MultiTask")
    for classes in (2, 3):
        model = fitted(kind(), targets=2 if is_multi else 1, classes=classes)
        wanted = {"predict", "decision_function"} if name in linear.CLASSIFIERS else {"predict"}
        check(model, wanted | ({"predict_proba"} if hasattr(model, "predict_proba") else set()))


def test_the_lists_of_linear_models_name_what_scikit_learn_has() -> None:
    assert set(LINEAR) >= {
        "LinearRegression",
        "Ridge",
        "LogisticRegression",
        "LinearSVC",
        "SGDClassifier",
        "Perceptron",
    }


@pytest.mark.parametrize("width", [1, 2, 4, 10])
@pytest.mark.parametrize("targets", [1, 3])
def test_linear_regressions_of_any_width_and_number_of_targets(width: int, targets: int) -> None:
    check(fitted(LINEAR["LinearRegression"](), targets=targets, width=width), {"predict"}, width=width)
    check(fitted(LINEAR["Ridge"](fit_intercept=False), targets=targets, width=width), {"predict"}, width=width)


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [
        DecisionTreeClassifier(max_depth=4),
        DecisionTreeRegressor(),
        ExtraTreeClassifier(),
        ExtraTreeRegressor(),
        RandomForestClassifier(9),
        RandomForestClassifier(9, n_jobs=2),
        RandomForestRegressor(9, criterion="absolute_error"),
        ExtraTreesClassifier(9, bootstrap=True),
        ExtraTreesRegressor(1),
    ],
    ids=str,
)
@pytest.mark.parametrize("named", [False, True])
def test_trees_and_forests_are_answered_to_the_bit(model: Any, named: bool) -> None:
    wanted = {"predict", "predict_proba"} if is_classifier(model) else {"predict"}
    made = fitted(clone(model).set_params(random_state=2), named=named)
    jobs = getattr(made, "n_jobs", None)
    if jobs:
        made.n_jobs = 1  # with more, scikit-learn's own last bits differ from call to call
    check(made, wanted, named)


@pytest.mark.parametrize(
    "scaler",
    [
        StandardScaler(),
        StandardScaler(with_mean=False),
        StandardScaler(with_std=False),
        MinMaxScaler(),
        MinMaxScaler((2, 3), clip=True),
        MaxAbsScaler(),
        RobustScaler(),
        RobustScaler(with_centering=False),
        "passthrough",
        None,
    ],
    ids=str,
)
@pytest.mark.parametrize("named", [False, True])
@pytest.mark.slow
def test_scalers_before_a_model_are_answered_to_the_bit(scaler: Any, named: bool) -> None:
    check(
        fitted(make_pipeline(MinMaxScaler(), scaler, LINEAR["LogisticRegression"]()), named=named),
        {"predict", "predict_proba"},
        named,
    )
    check(fitted(make_pipeline(MinMaxScaler(), scaler, LINEAR["Ridge"]()), named=named), {"predict"}, named)
    trees = make_pipeline(StandardScaler(), scaler, RandomForestClassifier(5, random_state=0))
    check(fitted(trees, named=named), {"predict", "predict_proba"}, named)


def test_the_best_of_a_search_is_answered_to_the_bit() -> None:
    search = GridSearchCV(
        make_pipeline(StandardScaler(), LINEAR["LogisticRegression"]()), {"logisticregression__C": [1, 2]}
    )
    check(fitted(search), {"predict", "predict_proba"})


@pytest.mark.slow
def test_every_estimator_of_scikit_learn_is_equal_or_has_no_kernel() -> None:
    looked_at = 0
    for name, kind in all_estimators(type_filter=["classifier", "regressor"]):
        try:
            model = fitted(kind(), targets=1)
        except Exception:  # meta-estimators that need another, and those for several targets only
            continue
        found = kernels_of(model)
        assert not found or name in linear.REGRESSORS | linear.CLASSIFIERS or "Tree" in name or "Forest" in name
        looked_at += 1
    assert looked_at > 60


STRANGE = {
    "NaN": numpy.array([[0.0, 1.0, numpy.nan, 2.0, 3.0]]),
    "infinite": numpy.array([[0.0, 1.0, numpy.inf, 2.0, 3.0]]),
    "too large for single precision": numpy.array([[0.0, 1.0, 1e300, 2.0, 3.0]]),
    "too large to be scaled": numpy.array([[0.0, 1.0, 1.7e308, -1.7e308, 3.0]]),
    "no rows": numpy.empty((0, WIDTH)),
    "one dimension": numpy.ones(WIDTH),
    "three dimensions": numpy.ones((1, 1, WIDTH)),
    "too wide": numpy.ones((2, WIDTH + 1)),
    "too narrow": numpy.ones((2, WIDTH - 1)),
    "text": numpy.array([["a"] * WIDTH]),
    "numbers as text": numpy.array([["1"] * WIDTH]),
    "ragged lists": [[1, 2], [3]],
    "lists with None": [[1, 2, None, 4, 5]],
    "no list in the list": [1, 2, 3, 4, 5],
    "an empty list": [],
    "integers beyond 64 bits": [[2**70, 1, 2, 3, 4]],
    "complex": numpy.ones((1, WIDTH), dtype=complex),
    "a table": pandas.DataFrame(numpy.ones((2, WIDTH)), columns=list("abcde")),
    "a masked array": numpy.ma.masked_greater(numpy.ones((1, WIDTH)), 0.5),
    "None": None,
}


@pytest.mark.slow
@pytest.mark.parametrize("given", STRANGE.values(), ids=STRANGE)
@pytest.mark.parametrize(
    "model",
    [
        LINEAR["LogisticRegression"](),
        LINEAR["Ridge"](),
        make_pipeline(MinMaxScaler(clip=True), LINEAR["Ridge"]()),
        RandomForestClassifier(5),
        DecisionTreeRegressor(),
    ],
    ids=str,
)
def test_strange_rows_go_to_the_plain_call_or_are_answered_as_by_it(model: Any, given: Any) -> None:
    made = fitted(clone(model))
    for method, kernel in kernels_of(made).items():
        answer = kernel(given)
        assert answer is None or same(answer, answered(made, method, given))


def test_a_table_in_another_order_or_of_other_types_goes_to_the_plain_call() -> None:
    model = fitted(LINEAR["Ridge"](), named=True)
    kernel = kernels_of(model)["predict"]
    right = table(rows_of(3))
    assert same(kernel(right), model.predict(right))
    mixed = right.astype({"a": "int64", "b": "float32"})
    assert same(kernel(mixed), model.predict(mixed))
    assert kernel(right[list("edcba")]) is None
    assert kernel(right.rename(columns={"a": "z"})) is None
    assert kernel(right.astype({"a": "Float64"})) is None
    assert kernel(right.astype({"a": "category"})) is None
    assert kernel(right.to_numpy()) is None, "scikit-learn warns of missing names"


def test_a_subclass_that_predicts_otherwise_has_no_kernel() -> None:
    class Doubled(LINEAR["LinearRegression"]):  # type: ignore[misc,name-defined]
        def predict(self, rows: Any) -> Any:
            return super().predict(rows) * 2

    assert not kernels_of(fitted(Doubled()))


def test_a_model_with_a_method_of_its_own_has_no_kernel() -> None:
    model = fitted(LINEAR["LinearRegression"]())
    model.predict = lambda rows: numpy.zeros(len(rows))
    assert not kernels_of(model)
    inner = fitted(make_pipeline(StandardScaler(), LINEAR["LinearRegression"]()))
    inner[0].transform = lambda rows: rows
    assert not kernels_of(inner)


def test_a_class_whose_method_was_replaced_has_no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RandomForestRegressor, "predict", lambda self, rows: numpy.ones(len(rows)))
    assert not kernels_of(fitted(RandomForestRegressor(3)))


def test_a_formula_that_is_not_equal_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    right = kernels.formulas

    def slightly_off(model: Any) -> Any:
        return [
            (method, formula._replace(together=lambda rows, formula=formula: formula.together(rows) * (1 + 2e-16)))
            for method, formula in right(model)
        ]

    model = fitted(LINEAR["LinearRegression"]())
    assert kernels_of(model)
    monkeypatch.setattr(kernels, "formulas", slightly_off)
    assert not kernels_of(model)


def test_rows_that_are_joined_have_to_be_equal_too(monkeypatch: pytest.MonkeyPatch) -> None:
    right = kernels.formulas
    monkeypatch.setattr(
        kernels, "formulas", lambda model: [(at, each._replace(singly=each.together)) for at, each in right(model)]
    )
    assert not kernels_of(fitted(LINEAR["LinearRegression"]())), "BLAS rounds products of many rows another way"
    assert kernels_of(fitted(DecisionTreeRegressor()))


def test_what_is_changed_in_a_model_later_holds() -> None:
    regression, forest = fitted(LINEAR["LinearRegression"]()), fitted(RandomForestRegressor(5))
    pipeline = fitted(make_pipeline(StandardScaler(), LINEAR["LinearRegression"]()))
    search = fitted(GridSearchCV(LINEAR["Ridge"](), {"alpha": [1, 2]}))
    kept = {id(each): kernels_of(each)["predict"] for each in (regression, forest, pipeline, search)}
    regression.coef_ = regression.coef_ + 1
    regression.intercept_ = 7.0
    forest.estimators_ = forest.estimators_[:2]
    pipeline[0].with_mean = False
    pipeline[0].mean_ = None
    search.best_estimator_ = fitted(DecisionTreeRegressor())
    rows = rows_of(4)
    for model in (regression, forest, pipeline, search):
        answer = kept[id(model)](rows)
        assert answer is None or same(answer, model.predict(rows))
    pipeline.steps[0] = ("other", fitted(MinMaxScaler()))
    assert kept[id(pipeline)](rows) is None


def test_finding_kernels_leaves_the_model_as_it_was() -> None:
    model = fitted(make_pipeline(StandardScaler(), RandomForestClassifier(5, n_jobs=2, random_state=0)))
    before = pickle.dumps(model)
    assert set(kernels_of(model)) == {"predict", "predict_proba"}
    assert pickle.dumps(model) == before


def test_many_rows_of_a_forest_with_threads_are_left_to_its_threads() -> None:
    model = fitted(RandomForestRegressor(3, n_jobs=2))
    kernel = kernels_of(model)["predict"]
    assert kernel(rows_of(64)) is not None
    assert kernel(rows_of(65)) is None
    model.n_jobs = None
    assert kernel(rows_of(65)) is not None


def test_several_targets_of_a_forest_have_no_kernel() -> None:
    assert not kernels_of(fitted(RandomForestRegressor(3), targets=2))


def test_steps_that_are_no_scalers_have_no_kernel() -> None:
    assert not kernels_of(fitted(make_pipeline(PolynomialFeatures(2), LINEAR["Ridge"]())))
    named = make_pipeline(StandardScaler(), LINEAR["Ridge"]()).set_output(transform="pandas")
    assert not kernels_of(fitted(named, named=True))


def test_a_scaler_that_works_in_place_goes_on_doing_so() -> None:
    model = fitted(make_pipeline(StandardScaler(), LINEAR["Ridge"]()))
    kernel = kernels_of(model)["predict"]
    model[0].copy = False
    assert kernel(rows_of(1)) is None


def test_rows_are_not_written_to() -> None:
    model = fitted(make_pipeline(StandardScaler(), LINEAR["LogisticRegression"]()))
    rows = rows_of(3)
    before = copy.deepcopy(rows)
    for kernel in kernels_of(model).values():
        assert isinstance(kernel, Kernel)
        kernel(rows)
        kernel.singly(rows)
        assert (rows == before).all()


def test_what_is_no_estimator_has_no_kernel() -> None:
    assert not kernels_of(object())
    assert not kernels_of(LINEAR["Ridge"]())
