"""Exact kernels: what a fitted estimator computes, without the checks that scikit-learn makes of every call.

One row costs a linear model 100 microseconds and a forest of 100 trees 3,700, of which 1 and 200 are the model.
A kernel computes the same from the fitted attributes that scikit-learn documents, and reads them anew with every call.
It is used for a method only if its answers were equal to the plain ones to the bit when the model was loaded, and for rows
that the plain call would take as they are; whatever else comes, NaN, another width, text, goes to the plain call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy

from smalt_scorer.models.kernels.admission import admitted
from smalt_scorer.models.kernels.composed import formulas
from smalt_scorer.models.kernels.formula import Formula
from smalt_scorer.models.kernels.proof import proven_types, sequential


@dataclass(frozen=True)
class Kernel:
    """One method of one fitted model."""

    formula: Formula
    width: int
    names: list[str] | None
    """Of the columns that the model was fitted with."""
    types: frozenset[Any]
    """The types of numbers for which it was found equal."""

    def rows_of(self, given: Any) -> Any:
        """What is given as an array; None when it is for the plain call."""
        rows = admitted(given, self.width, self.names)
        return rows if rows is not None and rows.dtype in self.types else None

    def __call__(self, given: Any) -> Any:
        """What the method gives for these rows; None when they are for the plain call."""
        rows = self.rows_of(given)
        return None if rows is None else self.alone(rows)

    def alone(self, rows: Any) -> Any:
        """The same for an array of `rows_of`."""
        return self.formula.together(rows)

    def form_of(self, rows: Any) -> Any:
        """Equal for arrays of `rows_of` that can be joined."""
        return rows.dtype

    def singly(self, rows: Any) -> Any:
        """As if each row of this array had been asked for alone, to the bit; None when they are for the plain call.

        It takes arrays for named columns too: whoever calls has looked at the names.
        """
        rows = admitted(rows, self.width, None)
        return None if rows is None or rows.dtype not in self.types else self.formula.singly(rows)

    def joined(self, questions: Sequence[Any]) -> list[Any] | None:
        """An answer for each of these arrays of `rows_of`, all of one type, as if each had been asked for alone.

        None when that cannot be had at once.
        """
        counts = [len(each) for each in questions]
        if self.formula.singly is not self.formula.together and max(counts) > 1:
            return None
        return parts(self.formula.singly(numpy.concatenate(questions)), counts)


def parts(answer: Any, counts: Sequence[int]) -> list[Any] | None:
    """An array taken apart into so many rows each; None for what has not that many."""
    stops = numpy.cumsum(counts).tolist()
    if not isinstance(answer, numpy.ndarray) or len(answer) != stops[-1]:
        return None
    return [answer[stop - count : stop].copy() for stop, count in zip(stops, counts, strict=True)]


def kernels_of(model: Any) -> Mapping[str, Kernel]:
    """Kernels by the method that they stand for: those that have proved equal. None are there for most kinds of models."""
    found: dict[str, Kernel] = {}
    candidates = formulas(model)
    if not candidates:
        return found
    width = int(model.n_features_in_)
    given = getattr(model, "feature_names_in_", None)
    names = None if given is None else [str(each) for each in given]
    with sequential(model):
        for method, formula in candidates:
            types = proven_types(getattr(model, method), formula, width, names) if method not in found else frozenset()
            if types:
                found[method] = Kernel(formula, width, names, types)
    return found
