"""What every format is turned into, and what it is asked with."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from smalt_scorer.models.schema import Output, Schema

PREDICTIONS, PROBABILITIES = "predictions", "probabilities"


class Refused(ValueError):
    """The model refuses these values; the text is its own, and the caller can act on it."""


@dataclass(frozen=True)
class Batch:
    """Checked rows: an array for each input, or a single array with a column for each.

    Rows are the first dimension of every array, so that batches of the same `form` can be joined and their
    predictions taken apart again.
    """

    arrays: tuple[Any, ...]
    rows: int

    @property
    def form(self) -> tuple[Any, ...]:
        """Equal for batches that can be joined without changing any of their values."""
        return tuple((each.dtype, each.shape[1:]) for each in self.arrays)


def join(batches: Sequence[Batch]) -> Batch:
    """All rows in one, in order. The batches are of one form."""
    if len(batches) == 1:
        return batches[0]
    import numpy

    columns = zip(*(each.arrays for each in batches), strict=True)
    return Batch(tuple(numpy.concatenate(each) for each in columns), sum(each.rows for each in batches))


def part(outputs: Mapping[str, Any], start: int, stop: int) -> dict[str, Any]:
    """The rows from start to stop of every output."""
    return {name: each[start:stop] for name, each in outputs.items()}


class LoadedModel(Protocol):
    """A model that is ready to be asked."""

    platform: str
    """What it is, as the Open Inference Protocol names it, such as sklearn_joblib."""
    schema: Schema
    outputs: tuple[Output, ...]
    """All that can be asked for."""
    usual: tuple[str, ...]
    """The names of what is given when nothing is asked for by name."""
    is_joinable: bool
    """Whether each row's outputs depend on that row alone, to the bit, and any number of rows is taken."""
    takes_singles: bool
    """Whether `predict_singly` answers for the rows that usually come."""

    def predict(self, batch: Batch, wanted: Collection[str]) -> dict[str, Any]:
        """An array for each wanted output, a row for each row. Refused for values that the model does not take."""

    def predict_singly(self, batch: Batch, wanted: Collection[str]) -> dict[str, Any] | None:
        """The same as if each row had been asked for alone, to the bit; None where that cannot be had together."""
