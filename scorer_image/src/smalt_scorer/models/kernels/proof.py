"""Whether a formula is equal to the bit with the method that it stands for, on rows drawn at random."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy

from smalt_scorer.models.kernels.formula import Formula, Rows

TYPES = tuple(numpy.dtype(each) for each in (numpy.float64, numpy.float32, numpy.int64))
# Rows of a question, and how large their values are.
QUESTIONS = ((64, 1.0), (1, 10.0), (3, 1000.0), (2, 0.01), (8, 1.0), (17, 1e6), (33, 100.0), (5, 1e-6), (50, 1.0))
# So many of them are asked of the first type and of the others in any case, the rest while there is time.
NEEDED = (3, 2)
FEW = 3
SECONDS = 0.02


def proven_types(plain: Callable[[Any], Any], formula: Formula, width: int, names: list[str] | None) -> frozenset[Any]:
    """The types of numbers for which formula and method are equal, float64 among them or none."""
    drawn = numpy.random.default_rng(1)
    with warnings.catch_warnings(), numpy.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        found = frozenset(each for each in TYPES if _is_equal(plain, formula, _questions(drawn, width, each), names))
    return found if TYPES[0] in found else frozenset()


def _questions(drawn: Any, width: int, kind: Any) -> Iterator[Rows]:
    until = time.perf_counter() + SECONDS
    for place, (count, scale) in enumerate(QUESTIONS):
        if place >= NEEDED[kind != TYPES[0]] and time.perf_counter() > until:
            return
        yield (drawn.standard_normal((count, width)) * scale).astype(kind)


def _is_equal(
    plain: Callable[[Any], Any], formula: Formula, questions: Iterator[Rows], names: list[str] | None
) -> bool:
    try:
        return all(_agrees(plain, formula, rows, names) for rows in questions)
    except Exception:  # whatever either of them cannot do on such rows: the plain call is what is left then
        return False


def _agrees(plain: Callable[[Any], Any], formula: Formula, rows: Rows, names: list[str] | None) -> bool:
    given = _as_fitted(rows, names)
    if not same(formula.together(numpy.asarray(given)), plain(given)):
        return False
    # Against itself, row by row: the plain call is slow for the models that gain most.
    some = rows[:FEW] if formula.singly is formula.together else rows
    return same(formula.singly(some), numpy.concatenate([formula.together(some[[at]]) for at in range(len(some))]))


def _as_fitted(rows: Rows, names: list[str] | None) -> Any:
    if names is None:
        return rows
    import pandas

    return pandas.DataFrame(rows, columns=names)


def same(one: Any, other: Any) -> bool:
    """Whether two arrays are equal to the bit, in type and shape too."""
    if type(one) is not type(other) or one.dtype != other.dtype or one.shape != other.shape:
        return False
    return bool((one == other).all()) if one.dtype.hasobject else bool(one.tobytes() == other.tobytes())


@contextmanager
def sequential(model: Any) -> Iterator[None]:
    """While this holds, forests add their trees up in order: with several threads the last bits are different each time."""
    several = [each for each in _inner(model) if getattr(each, "n_jobs", None) not in (None, 1)]
    jobs = [each.n_jobs for each in several]
    try:
        for each in several:
            each.n_jobs = 1
        yield
    finally:
        for each, count in zip(several, jobs, strict=True):
            each.n_jobs = count


def _inner(model: Any) -> Iterator[Any]:
    """The model, and what it hands rows to in the end."""
    yield model
    steps = getattr(model, "steps", None)
    following = steps[-1][1] if steps else getattr(model, "best_estimator_", None)
    if following is not None:
        yield from _inner(following)
