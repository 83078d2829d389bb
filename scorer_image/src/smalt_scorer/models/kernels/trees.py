"""Decision trees and forests of them: what each tree says, added up in the order of the trees."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy

from smalt_scorer.models.kernels.formula import Formula, Rows, for_both, is_finite, name_in

_TREES = ("DecisionTree", "ExtraTree")
_FORESTS = ("RandomForest", "ExtraTrees")
REGRESSORS = frozenset(f"{each}Regressor" for each in (*_TREES, *_FORESTS))
CLASSIFIERS = frozenset(f"{each}Classifier" for each in (*_TREES, *_FORESTS))
# With more rows it pays to let as many threads work as the estimator asks for.
MOST_ROWS_ALONE = 64


def formulas(model: Any) -> Iterator[tuple[str, Formula]]:
    """By method, for models of one target."""
    name = name_in(model, "sklearn.tree") or name_in(model, "sklearn.ensemble")
    if name not in REGRESSORS | CLASSIFIERS or getattr(model, "n_outputs_", 0) != 1:
        return
    values = _of_forest(model) if name.startswith(_FORESTS) else _of_tree(model)
    if name in REGRESSORS:
        yield "predict", for_both(lambda rows: _first_column(values(rows)))
    else:
        yield "predict_proba", for_both(values)
        yield "predict", for_both(lambda rows: _labels(model, values(rows)))


def _of_tree(model: Any) -> Callable[[Rows], Any]:
    def values(rows: Rows) -> Any:
        taken = _in_single_precision(rows)
        return None if taken is None else model.tree_.predict(taken)

    return values


def _of_forest(model: Any) -> Callable[[Rows], Any]:
    def values(rows: Rows) -> Any:
        taken = _in_single_precision(rows)
        if taken is None or (model.n_jobs not in (None, 1) and len(taken) > MOST_ROWS_ALONE):
            return None
        trees = model.estimators_
        made = numpy.zeros((len(taken), getattr(model, "n_classes_", 1)))
        for tree in trees:
            made += tree.tree_.predict(taken)
        made /= len(trees)
        return made

    return values


def _in_single_precision(rows: Rows) -> Any:
    """As trees compare; None when a value is missing or too large for it."""
    taken = numpy.ascontiguousarray(rows, dtype=numpy.float32)
    return taken if is_finite(taken) else None


def _first_column(values: Any) -> Any:
    return None if values is None else values[:, 0]


def _labels(model: Any, values: Any) -> Any:
    return None if values is None else model.classes_.take(values.argmax(axis=1), axis=0)
