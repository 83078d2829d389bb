"""The scorer's metrics; every family is there from the start.

They are counted by the event loop alone, so that no lock is taken for a request.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, Gauge, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

CODES = (200, 400, 401, 413, 500, 503)
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_MODEL_SECONDS = (0.0001, 0.00025, 0.0005, *_SECONDS)
_REQUESTS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)


State = list[Any]


class Distribution:
    """How often values were at most each of the bounds, and their sum."""

    def __init__(self, name: str, help_: str, bounds: Sequence[float]) -> None:
        self._name, self._help, self._bounds = name, help_, bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    @property
    def state(self) -> State:
        """All of it, as numbers."""
        return [list(self._counts), self._sum]

    def add(self, state: State) -> None:
        """What another has counted."""
        counts, total = state
        self._counts = [mine + its for mine, its in zip(self._counts, counts, strict=True)]
        self._sum += total

    def like(self) -> Distribution:
        """An empty one of the same name and bounds."""
        return Distribution(self._name, self._help, self._bounds)

    def family(self) -> HistogramMetricFamily:
        so_far, buckets = 0, []
        for bound, count in zip((*map(str, self._bounds), "+Inf"), self._counts, strict=True):
            so_far += count
            buckets.append((bound, float(so_far)))
        return HistogramMetricFamily(self._name, self._help, buckets=buckets, sum_value=self._sum)


class Peers(Protocol):
    """What the other workers of this server have counted."""

    def own(self) -> dict[str, Any] | None:
        """What the last one in this place had counted."""

    def others(self) -> list[dict[str, Any]]:
        """What each of the others has counted."""

    def write(self, state: Mapping[str, Any]) -> None:
        """Lets the others know of this one's."""

    def restarts(self) -> int:
        """How many were replaced."""


class Metrics(Collector):
    """One registry for one model."""

    def __init__(self, model: str, version: str, digest: str) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.in_flight = 0
        self.peers: Peers | None = None
        self._codes = dict.fromkeys(CODES, 0)
        self._duration = Distribution(
            "smalt_scorer_request_duration_seconds",
            "Time from a request's headers to its answer, the arrival of its body and its wait for its turn included",
            _SECONDS,
        )
        self._waited = Distribution(
            "smalt_scorer_queue_seconds", "Time that a request waited for the model to be free", _SECONDS
        )
        self._model = Distribution(
            "smalt_scorer_model_seconds", "Time that the model, or run(), took for a batch", _MODEL_SECONDS
        )
        self._batch = Distribution(
            "smalt_scorer_batch_requests", "Requests that went through the model together", _REQUESTS
        )
        info = Gauge(
            "smalt_scorer_model_info",
            "1 for the model that is served",
            ["model", "version", "digest"],
            registry=self.registry,
        )
        info.labels(model, version, digest).set(1)
        self.registry.register(self)

    def answered(self, code: int, seconds: float) -> None:
        """A request was answered so many seconds after it came."""
        self._codes[code] = self._codes.get(code, 0) + 1
        self._duration.observe(seconds)

    def asked(self, waited: Sequence[float], seconds: float) -> None:
        """As `scoring.Observer`."""
        for each in waited:
            self._waited.observe(each)
        self._batch.observe(len(waited))
        self._model.observe(seconds)

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily]:
        """For the registry."""
        others = self._others()
        requests = CounterMetricFamily("smalt_scorer_requests", "Requests to /score by status", labels=["code"])
        codes = Counter(self._codes)
        for other in others:
            codes.update({int(code): count for code, count in other["codes"].items()})
        for code, count in codes.items():
            requests.add_metric([str(code)], count)
        yield requests
        in_flight = self.in_flight + sum(other["inFlight"] for other in others)
        yield GaugeMetricFamily("smalt_scorer_in_flight", "Requests to /score being answered", value=in_flight)
        yield CounterMetricFamily(
            "smalt_scorer_worker_restarts",
            "Workers that were replaced",
            value=0 if self.peers is None else self.peers.restarts(),
        )
        for name, own in self._distributions.items():
            whole = own.like()
            whole.add(own.state)
            for other in others:
                whole.add(other["distributions"][name])
            yield whole.family()

    @property
    def _distributions(self) -> Mapping[str, Distribution]:
        return {"duration": self._duration, "waited": self._waited, "model": self._model, "batch": self._batch}

    @property
    def state(self) -> dict[str, Any]:
        """All that is counted here, as JSON has it."""
        distributions = {name: each.state for name, each in self._distributions.items()}
        return {"codes": self._codes, "inFlight": self.in_flight, "distributions": distributions}

    def join(self, peers: Peers) -> None:
        """Counts on from where the last one in this place was, and tells of all together."""
        self.peers = peers
        before = peers.own()
        if before is not None:
            for code, count in before["codes"].items():
                self._codes[int(code)] = self._codes.get(int(code), 0) + count
            for name, each in self._distributions.items():
                each.add(before["distributions"][name])

    def publish(self) -> None:
        """Lets the others know."""
        if self.peers is not None:
            self.peers.write(self.state)

    def _others(self) -> list[dict[str, Any]]:
        return [] if self.peers is None else self.peers.others()

    def text(self) -> bytes:
        return generate_latest(self.registry)
