"""The scorer's metrics; every family is there from the start."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

CODES = ("200", "400", "401", "413", "500", "503")
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """One registry for one model."""

    def __init__(self, model: str, version: str, digest: str) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._requests = Counter(
            "smalt_scorer_requests_total", "Requests to /score by status", ["code"], registry=self.registry
        )
        self._seconds = Histogram(
            "smalt_scorer_request_duration_seconds",
            "Time from a request's headers to its answer, the arrival of its body and its wait for its turn included",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.in_flight = Gauge("smalt_scorer_in_flight", "Requests to /score being answered", registry=self.registry)
        info = Gauge(
            "smalt_scorer_model_info",
            "1 for the model that is served",
            ["model", "version", "digest"],
            registry=self.registry,
        )
        info.labels(model, version, digest).set(1)
        for code in CODES:
            self._requests.labels(code)

    def answered(self, code: int, seconds: float) -> None:
        self._requests.labels(str(code)).inc()
        self._seconds.observe(seconds)

    def text(self) -> bytes:
        return generate_latest(self.registry)
