"""Models around models: scalers before one, and a search's best."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy

from smalt_scorer.models.kernels import linear, trees
from smalt_scorer.models.kernels.formula import Formula, Rows, is_finite, name_in

Step = Callable[[Any], Any]


def formulas(model: Any) -> list[tuple[str, Formula]]:
    """All that may be equal to a method of this model, by the method's name; nothing for a model of another kind."""
    if not hasattr(model, "n_features_in_"):
        return []
    if name_in(model, "sklearn.pipeline") == "Pipeline":
        return list(_of_pipeline(model))
    if name_in(model, "sklearn.model_selection") in SEARCHES and hasattr(model, "best_estimator_"):
        return list(_of_search(model))
    return [*linear.formulas(model), *trees.formulas(model)]


SEARCHES = frozenset(("GridSearchCV", "RandomizedSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV"))


def _of_search(model: Any) -> Iterator[tuple[str, Formula]]:
    best = model.best_estimator_
    for method, inner in formulas(best):
        yield method, _while(lambda: model.best_estimator_ is best, inner)


def _of_pipeline(model: Any) -> Iterator[tuple[str, Formula]]:
    steps = list(model.steps)
    *scalers, last = [step for _, step in steps if step is not None and step != "passthrough"]
    # Between steps there are arrays: a later step that remembers names was given tables.
    later = [*scalers[1:], last] if scalers else []
    if any(name_in(each, "sklearn.preprocessing") not in SCALERS for each in scalers):
        return
    if any(hasattr(each, "feature_names_in_") for each in later) or model.steps[-1][1] is not last:
        return
    for method, inner in formulas(last):
        yield method, _while(lambda: model.steps == steps, _after(scalers, inner) if scalers else inner)


def _while(holds: Callable[[], bool], inner: Formula) -> Formula:
    """Only as long as the model consists of what it did."""
    return Formula(
        lambda rows: inner.together(rows) if holds() else None,
        lambda rows: inner.singly(rows) if holds() else None,
    )


def _after(scalers: list[Any], inner: Formula) -> Formula:
    steps = [(each, SCALERS[type(each).__name__]) for each in scalers]

    def scaled(rows: Rows) -> Any:
        for scaler, act in steps:
            if not scaler.copy or not is_finite(rows):
                return None
            rows = rows.astype(rows.dtype if rows.dtype.kind == "f" else numpy.float64)
            act(scaler, rows)
        return rows

    def with_rows(compute: Callable[[Rows], Any], rows: Rows) -> Any:
        rows = scaled(rows)
        return None if rows is None else compute(rows)

    return Formula(lambda rows: with_rows(inner.together, rows), lambda rows: with_rows(inner.singly, rows))


def _standard(scaler: Any, rows: Rows) -> None:
    if scaler.with_mean:
        rows -= scaler.mean_.astype(rows.dtype, copy=False)
    if scaler.with_std:
        rows /= scaler.scale_.astype(rows.dtype, copy=False)


def _min_max(scaler: Any, rows: Rows) -> None:
    rows *= scaler.scale_
    rows += scaler.min_
    if scaler.clip:
        numpy.clip(rows, *scaler.feature_range, out=rows)


def _max_abs(scaler: Any, rows: Rows) -> None:
    rows /= scaler.scale_
    if getattr(scaler, "clip", False):
        numpy.clip(rows, -1.0, 1.0, out=rows)


def _robust(scaler: Any, rows: Rows) -> None:
    if scaler.with_centering:
        rows -= scaler.center_
    if scaler.with_scaling:
        rows /= scaler.scale_


SCALERS: dict[str, Callable[[Any, Any], None]] = {
    "StandardScaler": _standard,
    "MinMaxScaler": _min_max,
    "MaxAbsScaler": _max_abs,
    "RobustScaler": _robust,
}
