"""Which rows a kernel may have: those that scikit-learn would compute with as they are."""

from __future__ import annotations

import sys
from typing import Any

import numpy


def admitted(given: Any, width: int, names: list[str] | None) -> Any:
    """The array of these rows; None when their kind, shape or columns are for the plain call to judge."""
    if type(given) is numpy.ndarray:
        rows = given if names is None else None
    elif type(given) is list:
        rows = _of_lists(given) if names is None else None
    else:
        rows = _of_table(given, names) if names is not None else None
    return rows if rows is not None and rows.ndim == 2 and rows.shape[1] == width and len(rows) else None


def _of_lists(given: list[Any]) -> Any:
    try:
        return numpy.asarray(given)
    except (ValueError, TypeError, OverflowError):  # the plain call says it in its own words
        return None


def _of_table(given: Any, names: list[str]) -> Any:
    pandas = sys.modules.get("pandas")
    if pandas is None or type(given) is not pandas.DataFrame or given.columns.tolist() != names:
        return None
    # Types of pandas' own, as those of text and categories, have a way of their own into scikit-learn.
    return numpy.asarray(given) if all(isinstance(each, numpy.dtype) for each in given.dtypes) else None
