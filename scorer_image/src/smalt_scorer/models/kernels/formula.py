"""What a kernel computes with, and when it gives up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy

Rows = Any
"""An array of numbers, two-dimensional, with a row at least and as many columns as the model was fitted with."""


class Formula(NamedTuple):
    """A method of a model, for rows. Both give None for values that only the plain call can judge."""

    together: Callable[[Rows], Any]
    """As the method computes them when it is asked for all at once."""
    singly: Callable[[Rows], Any]
    """As it computes them when it is asked for one after the other: BLAS rounds a product of many rows another way."""


def for_both(compute: Callable[[Rows], Any]) -> Formula:
    """Of a method that computes each row by itself however many there are."""
    return Formula(compute, compute)


def is_finite(rows: Rows) -> bool:
    """Whether scikit-learn takes all of these values."""
    return bool(numpy.isfinite(rows).all())


def is_plain(model: Any) -> bool:
    """Whether the methods of this object are those of its class: nobody has put others in their place."""
    return not {"predict", "predict_proba", "transform", "decision_function"} & vars(model).keys()


def name_in(model: Any, package: str) -> str:
    """The name of the model's class, if it is one of this package of scikit-learn; subclasses are something else."""
    kind = type(model)
    return str(kind.__name__) if f"{kind.__module__}.".startswith(f"{package}.") and is_plain(model) else ""
