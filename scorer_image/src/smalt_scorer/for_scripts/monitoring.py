"""`azureml.monitoring`: the first SDK's collector, kept with what the second one's collects."""

from __future__ import annotations

import datetime
import sys
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from smalt_scorer.collected import collected, served_model

__all__ = ["ModelDataCollector"]

_CORRELATION = "$aml_dc_correlation_id"
_DESIGNATIONS = ("default", "inputs", "predictions", "labels", "signals", "general")


class ModelDataCollector:
    """Rows as lists, numpy arrays or pandas tables; `feature_names` are the columns of what has none."""

    def __init__(
        self,
        model_name: str,
        designation: str = "default",
        feature_names: Sequence[str] | None = None,
        workspace: str = "default/default/default",
        webservice_name: str = "default",
        model_version: str = "default",
        collection_name: str = "default",
    ) -> None:
        if designation not in _DESIGNATIONS:
            raise ValueError(f"designation is '{designation}', and must be one of {', '.join(_DESIGNATIONS)}")
        self.model_name = model_name
        self.model_version = served_model()[1] if model_version == "default" else model_version
        is_named = designation in ("default", "signals", "general") and collection_name != "default"
        self._collection = collection_name if is_named else "general" if designation == "default" else designation
        self._is_inputs = designation == "inputs"
        self._names = list(feature_names or [])

    def collect(self, input_data: Any, user_correlation_id: str = "") -> dict[str, str] | None:
        """What ties predictions to these inputs (None for other designations). TypeError for what is no table."""
        rows = [self._row(each) for each in _rows(input_data)]
        correlation = user_correlation_id or _carried(rows) or str(uuid.uuid4())
        collected().add(self._collection, correlation, rows, self.model_name, str(self.model_version))
        if not self._is_inputs:
            return None
        now = datetime.datetime.now(datetime.UTC).isoformat()
        return {_CORRELATION: correlation, "$aml_dc_scoring_timestamp": now}

    def add_correlations(self, input_data: Any, correlations: Mapping[str, str] | None) -> Any:
        """The same data with the correlation in every row."""
        if not correlations:
            return input_data
        if _is_of(input_data, "pandas", "DataFrame"):
            return input_data.assign(**correlations)
        return [[*row.values(), *correlations.values()] for row in map(self._row, _rows(input_data))]

    def _row(self, row: Any) -> dict[str, Any]:
        if isinstance(row, Mapping):
            return {str(name): value for name, value in row.items()}
        values = list(row) if isinstance(row, list | tuple) else [row]
        names = [*self._names, *(f"column{number}" for number in range(len(self._names), len(values)))]
        return dict(zip(names, values, strict=False))


def _rows(given: Any) -> list[Any]:
    if _is_of(given, "pandas", "DataFrame"):
        return list(given.to_dict(orient="records"))
    if _is_of(given, "numpy", "ndarray"):
        given = given.tolist()
    if not isinstance(given, list):
        raise TypeError(f"collect takes a list, numpy array or pandas table, and was given a {type(given).__name__}")
    # A flat list is one row.
    return given if any(isinstance(each, list | tuple | dict) for each in given) else [given]


def _is_of(value: Any, module: str, name: str) -> bool:
    """Without importing what the script has not imported."""
    known = getattr(sys.modules.get(module), name, None)
    return known is not None and isinstance(value, known)


def _carried(rows: Sequence[Mapping[str, Any]]) -> str:
    """The correlation that add_correlations has put into a table."""
    return str(rows[0].get(_CORRELATION, "")) if rows else ""
