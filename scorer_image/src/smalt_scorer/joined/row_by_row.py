"""Models that take each row by itself, called as they are: with the rows of several in one array, or one table."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy

from smalt_scorer.models.kernels import parts


class RowByRow:
    """A method of such a model, as watched.Joinable."""

    def __init__(self, plain: Callable[[Any], Any]) -> None:
        self._plain = plain

    def rows_of(self, given: Any) -> Any:
        """Arrays of numbers with two dimensions and tables; what is in them the method judges."""
        if type(given) is list:
            try:
                given = numpy.asarray(given)
            except (ValueError, TypeError, OverflowError):  # the plain call says it in its own words
                return None
        if type(given) is numpy.ndarray:
            return given if given.ndim == 2 and len(given) and given.dtype.kind in "fiu" else None
        return given if _is_table(given) and len(given) else None

    def form_of(self, rows: Any) -> Any:
        if isinstance(rows, numpy.ndarray):
            return rows.dtype, rows.shape[1]
        return tuple(rows.columns), tuple(rows.dtypes)

    def alone(self, rows: Any) -> Any:
        """Nothing but the plain call knows what it is."""
        return None

    def joined(self, questions: Sequence[Any]) -> list[Any] | None:
        counts = [len(each) for each in questions]
        if isinstance(questions[0], numpy.ndarray):
            return parts(self._plain(numpy.concatenate(questions)), counts)
        import pandas

        return parts(self._plain(pandas.concat(questions, ignore_index=True)), counts)


def _is_table(given: Any) -> bool:
    pandas = sys.modules.get("pandas")
    return pandas is not None and type(given) is pandas.DataFrame
