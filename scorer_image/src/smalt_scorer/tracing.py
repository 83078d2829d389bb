"""Traces of requests, where OpenTelemetry's own variables say where they go; without them nothing of it is even imported.

A caller's W3C traceparent is carried on: the span of the request is a child of the caller's, and a score script finds the
request's own traceparent among the headers, for those that it asks in turn. No body, key or query is in a span.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from smalt_scorer.failures import Failure, last_line
from smalt_scorer.raw_request import RawRequest

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROPAGATED = (b"traceparent", b"tracestate")
_SERVER_ERROR = 500


@dataclass
class Timing:
    """When a request came to the queue, when the model began with it, and for how long it was at it; time.monotonic()."""

    arrived: float | None = None
    started: float | None = None
    seconds: float = 0.0


class Trace:
    """The span of one request."""

    def __init__(self, tracer: Tracer, span: Span) -> None:
        self._tracer, self._span = tracer, span
        self.timing = Timing()

    def carried(self, request: RawRequest) -> RawRequest:
        """The request with this span in the caller's place."""
        headers = [each for each in request.headers if each[0] not in PROPAGATED]
        return replace(request, headers=[*headers, *self._tracer.headers_of(self._span)])

    def end(self, status: int) -> None:
        """What is known by now: the wait and the model's time are spans of their own."""
        self._tracer.add_parts(self._span, self.timing)
        self._span.set_attribute("http.response.status_code", status)
        if status >= _SERVER_ERROR:
            self._tracer.mark_error(self._span)
        self._span.end()


class Tracer:
    """OpenTelemetry, set up for one model."""

    def __init__(self, provider: TracerProvider, attributes: Mapping[str, str]) -> None:
        from opentelemetry import trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._api, self._attributes = trace, dict(attributes)
        self._tracer = provider.get_tracer("smalt_scorer")
        self._propagator = TraceContextTextMapPropagator()

    def begin(self, request: RawRequest) -> Trace:
        """A span for a request that has come."""
        carrier = {name.decode(): request.raw(name).decode("latin-1") for name in PROPAGATED if request.raw(name)}
        span = self._tracer.start_span(
            f"{request.method} {request.path}",
            context=self._propagator.extract(carrier),
            kind=self._api.SpanKind.SERVER,
            attributes={**self._attributes, "http.request.method": request.method, "url.path": request.path},
        )
        return Trace(self, span)

    def headers_of(self, span: Span) -> list[tuple[bytes, bytes]]:
        """By which those who are asked next know the span."""
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier, self._api.set_span_in_context(span))
        return [(name.encode(), value.encode("latin-1")) for name, value in carrier.items()]

    def add_parts(self, span: Span, timing: Timing) -> None:
        """`queue` and `model`, as children. Times are the wall clock's to OpenTelemetry."""
        if timing.arrived is None:
            return
        around = self._api.set_span_in_context(span)
        ahead = time.time() - time.monotonic()
        began = timing.started if timing.started is not None else time.monotonic()
        parts: Sequence[tuple[str, float, float]] = [("queue", timing.arrived, began)]
        if timing.started is not None:
            parts = [*parts, ("model", began, began + timing.seconds)]
        for name, start, end in parts:
            part = self._tracer.start_span(name, context=around, start_time=_nanoseconds(start + ahead))
            part.end(_nanoseconds(end + ahead))

    def mark_error(self, span: Span) -> None:
        """What went wrong is in the log."""
        span.set_status(self._api.StatusCode.ERROR)


def tracer(variables: Mapping[str, str], attributes: Mapping[str, str]) -> Tracer | None:
    """None where OpenTelemetry is not configured. Failure when it is, and the environment's version of it does not fit."""
    if not is_asked_for(variables):
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise Failure(
            "EnvironmentClash",
            f"OTEL_EXPORTER_OTLP_ENDPOINT is set, and the environment's OpenTelemetry does not fit the server's ({last_line(error)}): "
            "leave it out of spec.environment, or name a newer opentelemetry-sdk there",
        ) from error
    named: dict[str, Any] = {} if variables.get("OTEL_SERVICE_NAME") else {"service.name": "smalt-scorer"}
    provider = TracerProvider(resource=Resource.create(named))
    # In a thread of its own; what the collector does not take in time is dropped, and nobody's request waits for it.
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracer(provider, attributes)


def is_asked_for(variables: Mapping[str, str]) -> bool:
    """By the variables that every SDK of OpenTelemetry knows."""
    is_off = variables.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    is_off = is_off or variables.get("OTEL_TRACES_EXPORTER", "otlp").strip().lower() not in ("", "otlp")
    return not is_off and any(variables.get(each) for each in ENDPOINTS)


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
