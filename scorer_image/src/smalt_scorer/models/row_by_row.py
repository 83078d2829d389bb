"""Which models give each row the same answer, to the bit, whatever rows are asked with it.

Trees do, and what looks up, counts or compares. What multiplies matrices does not: BLAS rounds a product of many rows
in another way than that of one, so that the last bit of a score differs. The lists hold what a test finds equal.
"""

from __future__ import annotations

from typing import Any

_TREES = frozenset(
    f"{name}{kind}"
    for kind in ("Classifier", "Regressor")
    for name in ("DecisionTree", "ExtraTree", "RandomForest", "ExtraTrees", "GradientBoosting", "HistGradientBoosting")
)
# Of other models, which decide.
_ENSEMBLES = frozenset(("AdaBoostClassifier", "AdaBoostRegressor", "BaggingClassifier", "BaggingRegressor"))
_OTHERS = frozenset(("DummyClassifier", "DummyRegressor", "GaussianNB"))
_NEIGHBORS = frozenset(("KNeighborsClassifier", "KNeighborsRegressor"))
_SEARCHES = frozenset(("GridSearchCV", "RandomizedSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV"))
# Each value by itself.
_STEPS = frozenset(
    (
        "Binarizer",
        "KBinsDiscretizer",
        "MaxAbsScaler",
        "MinMaxScaler",
        "MissingIndicator",
        "OneHotEncoder",
        "OrdinalEncoder",
        "RobustScaler",
        "SimpleImputer",
        "StandardScaler",
    )
)


def is_row_by_row(model: Any) -> bool:
    """Whether its rows can be joined with any others; False for whatever is not known."""
    name = _name(model)
    if name == "Pipeline":
        *before, last = [step for _, step in model.steps]
        return all(_is_step(each) for each in before) and is_row_by_row(last)
    if name in _SEARCHES:
        return is_row_by_row(getattr(model, "best_estimator_", None))
    if name in _ENSEMBLES:
        return all(is_row_by_row(each) for each in getattr(model, "estimators_", [None]))
    if name in _NEIGHBORS:
        return getattr(model, "_fit_method", "brute") in ("kd_tree", "ball_tree")
    if name in _TREES:
        # Threads add a forest's trees up in the order in which they come.
        return getattr(model, "n_jobs", None) in (None, 1) and _begins_simply(model)
    return name in _OTHERS


def _is_step(step: Any) -> bool:
    if step is None or (isinstance(step, str) and step in ("passthrough", "drop")):
        return True
    name = _name(step)
    if name == "Pipeline":
        return all(_is_step(each) for _, each in step.steps)
    if name == "ColumnTransformer":
        return all(_is_step(each) for _, each, _ in getattr(step, "transformers_", [("", None, ())]))
    # Which columns an indicator gives is settled when it is fitted; texts are cut by no encoder.
    return name in _STEPS


def _begins_simply(model: Any) -> bool:
    """Boosting begins with a model of its own, which the user may choose."""
    first = getattr(model, "init_", None)
    return first is None or isinstance(first, str) or is_row_by_row(first)


def _name(model: Any) -> str:
    """The name of its class, if it is scikit-learn's own."""
    kind = type(model)
    return str(kind.__name__) if kind.__module__.startswith("sklearn.") else ""
