"""Linear models: a product, an intercept, and for classifiers the class of the highest score."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy

from smalt_scorer.models.kernels.formula import Formula, Rows, is_finite, name_in

REGRESSORS = frozenset(
    (
        "ARDRegression",
        "BayesianRidge",
        "ElasticNet",
        "ElasticNetCV",
        "HuberRegressor",
        "Lars",
        "LarsCV",
        "Lasso",
        "LassoCV",
        "LassoLars",
        "LassoLarsCV",
        "LassoLarsIC",
        "LinearRegression",
        "MultiTaskElasticNet",
        "MultiTaskElasticNetCV",
        "MultiTaskLasso",
        "MultiTaskLassoCV",
        "OrthogonalMatchingPursuit",
        "OrthogonalMatchingPursuitCV",
        "PassiveAggressiveRegressor",
        "QuantileRegressor",
        "Ridge",
        "RidgeCV",
        "SGDRegressor",
        "TheilSenRegressor",
        "LinearSVR",
    )
)
CLASSIFIERS = frozenset(
    (
        "LinearDiscriminantAnalysis",
        "LinearSVC",
        "LogisticRegression",
        "LogisticRegressionCV",
        "PassiveAggressiveClassifier",
        "Perceptron",
        "RidgeClassifier",
        "RidgeClassifierCV",
        "SGDClassifier",
    )
)


def formulas(model: Any) -> Iterator[tuple[str, Formula]]:
    """By method, what may be equal; several for a method that has several forms."""
    name = next(filter(None, (name_in(model, each) for each in _PACKAGES)), "")
    if name in REGRESSORS:
        yield "predict", _of(model, _as_they_are)
    elif name in CLASSIFIERS:
        yield "predict", _of(model, _labels)
        yield "decision_function", _of(model, _as_they_are)
        if hasattr(model, "predict_proba"):
            ways = (_binary,) if len(model.classes_) == 2 else (_softmax, _one_against_rest)
            yield from (("predict_proba", _of(model, way)) for way in ways)


_PACKAGES = ("sklearn.linear_model", "sklearn.svm", "sklearn.discriminant_analysis")


def _of(model: Any, answer: Callable[[Any, Any], Any]) -> Formula:
    is_classifier = hasattr(model, "classes_")

    def answered(scores: Any) -> Any:
        if is_classifier and scores.ndim == 2 and scores.shape[1] == 1:
            scores = scores[:, 0]
        return answer(model, scores)

    def together(rows: Rows) -> Any:
        return answered(rows @ model.coef_.T + model.intercept_) if is_finite(rows) else None

    def singly(rows: Rows) -> Any:
        # A stack of products, each of the shape that a call with a single row has.
        return answered((rows[:, None, :] @ model.coef_.T)[:, 0] + model.intercept_) if is_finite(rows) else None

    return Formula(together, singly)


def _as_they_are(model: Any, scores: Any) -> Any:
    return scores


def _labels(model: Any, scores: Any) -> Any:
    chosen = (scores > 0).astype(numpy.intp) if scores.ndim == 1 else scores.argmax(axis=1)
    return model.classes_.take(chosen, axis=0)


def _binary(model: Any, scores: Any) -> Any:
    from scipy.special import expit

    likely = expit(scores)
    return numpy.stack([1 - likely, likely], axis=1)


def _softmax(model: Any, scores: Any) -> Any:
    scores -= scores.max(axis=1)[:, None]
    numpy.exp(scores, out=scores)
    scores /= scores.sum(axis=1)[:, None]
    return scores


def _one_against_rest(model: Any, scores: Any) -> Any:
    from scipy.special import expit

    likely = expit(scores)
    whole = likely.sum(axis=1)
    return likely / whole[:, None] if whole.all() else None
