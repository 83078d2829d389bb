"""`azureml.ai.monitoring`: a Collector that keeps what it is given for the Deployment's dataCollector."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from azureml.ai.monitoring.context import BasicCorrelationContext, CorrelationContext

from smalt_scorer.collected import collected, served_model

__all__ = ["Collector"]


class Collector:
    """`on_error` is called with what keeps data from being collected; without it the pod's log tells."""

    def __init__(self, *, name: str, on_error: Callable[[Exception], Any] | None = None) -> None:
        if not name:
            raise ValueError("Collector(name=...) needs the collection's name, such as model_inputs")
        self.name, self._on_error = name, on_error

    def collect(self, data: Any, correlation_context: CorrelationContext | None = None) -> CorrelationContext:
        """Rows of a pandas.DataFrame; the context ties inputs to their outputs."""
        context = correlation_context or BasicCorrelationContext()
        pandas = sys.modules.get("pandas")
        if pandas is None or not isinstance(data, pandas.DataFrame):
            self._fail(TypeError(f"Collector.collect takes a pandas.DataFrame, and was given a {type(data).__name__}"))
            return context
        rows = data.to_dict(orient="records")
        if not collected().add(self.name, context.get_id(), rows, *served_model()) and self._on_error:
            self._on_error(RuntimeError(f"data of collection '{self.name}' was not kept: see the pod's log"))
        return context

    def _fail(self, error: Exception) -> None:
        if self._on_error is None:
            raise error
        self._on_error(error)
