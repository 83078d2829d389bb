"""The operator's metrics, under the names that dashboards for controllers already know."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from smalt.api.kinds import OURS, Kind
from smalt.api.schema import Json

QUEUE = "smalt"
RESULTS = ("success", "requeue", "requeue_after", "error")
LIVE_RESULTS = ("answered", "partial", "unusable", "unreachable")
_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


def controller(kind: Kind) -> str:
    """The name that controller-runtime would give to the kind's controller."""
    return kind.kind.lower()


class Metrics:
    """One registry with all families, each there from the start."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._reconciles = self._counter(
            "controller_runtime_reconcile_total", "Reconciles by kind and result", "controller", "result"
        )
        self._errors = self._counter(
            "controller_runtime_reconcile_errors_total", "Reconciles that failed", "controller"
        )
        self._terminal = self._counter(
            "controller_runtime_terminal_reconcile_errors_total",
            "Reconciles that failed and are not tried again: none, since every failure is",
            "controller",
        )
        self._panics = self._counter(
            "controller_runtime_reconcile_panics_total", "Reconciles that met a defect of the operator", "controller"
        )
        self._times = self._histogram("controller_runtime_reconcile_time_seconds", "Time of a reconcile", "controller")
        self._active = self._gauge("controller_runtime_active_workers", "Workers at work", "controller")
        self._most = self._gauge("controller_runtime_max_concurrent_reconciles", "Workers there are", "controller")
        self._depth = self._gauge("workqueue_depth", "Objects that wait to be looked at", "name")
        self._adds = self._counter("workqueue_adds_total", "Objects that were queued", "name")
        self._retries = self._counter(
            "workqueue_retries_total", "Objects that were queued again after a failure", "name"
        )
        self._waits = self._histogram("workqueue_queue_duration_seconds", "Time an object waits in the queue", "name")
        self._works = self._histogram("workqueue_work_duration_seconds", "Time an object is worked on", "name")
        self._unfinished = self._gauge(
            "workqueue_unfinished_work_seconds", "Time spent on what is not done yet", "name"
        )
        self._longest = self._gauge(
            "workqueue_longest_running_processor_seconds", "Time spent on the longest that is not done yet", "name"
        )
        self._requests = self._counter(
            "rest_client_requests_total", "Requests to the API server", "code", "method", "host"
        )
        self._leading = self._gauge("leader_election_master_status", "1 while this replica leads", "name")
        for kind in OURS:
            for family in (self._errors, self._terminal, self._panics, self._times, self._active):
                family.labels(controller(kind))
            for result in RESULTS:
                self._reconciles.labels(controller(kind), result)
        self._asked = self._counter(
            "smalt_live_status_requests_total",
            "Questions to the recorders of running pods, by how they ended",
            "result",
        )
        for result in LIVE_RESULTS:
            self._asked.labels(result)
        for queued in (self._depth, self._adds, self._retries, self._waits, self._works):
            queued.labels(QUEUE)

    def _counter(self, name: str, words: str, *labels: str) -> Counter:
        return Counter(name, words, labels, registry=self.registry)

    def _gauge(self, name: str, words: str, *labels: str) -> Gauge:
        return Gauge(name, words, labels, registry=self.registry)

    def _histogram(self, name: str, words: str, *labels: str) -> Histogram:
        return Histogram(name, words, labels, buckets=_SECONDS, registry=self.registry)

    # --- reconciles ---

    def workers(self, count: int) -> None:
        for kind in OURS:
            self._most.labels(controller(kind)).set(count)

    def began(self, kind: Kind) -> float:
        self._active.labels(controller(kind)).inc()
        return time.perf_counter()

    def ended(self, kind: Kind, began: float, result: str) -> None:
        """`result` is one of RESULTS."""
        seconds = time.perf_counter() - began
        self._active.labels(controller(kind)).dec()
        self._times.labels(controller(kind)).observe(seconds)
        self._works.labels(QUEUE).observe(seconds)
        self._reconciles.labels(controller(kind), result).inc()
        if result == "error":
            self._errors.labels(controller(kind)).inc()

    def panicked(self, kind: Kind) -> None:
        self._panics.labels(controller(kind)).inc()

    # --- the queue (engine.queue.QueueObserver) ---

    def added(self, depth: int) -> None:
        self._adds.labels(QUEUE).inc()
        self._depth.labels(QUEUE).set(depth)

    def taken(self, depth: int, waited_seconds: float) -> None:
        self._depth.labels(QUEUE).set(depth)
        self._waits.labels(QUEUE).observe(waited_seconds)

    def retried(self) -> None:
        self._retries.labels(QUEUE).inc()

    def watch_queue(self, working: Callable[[], list[float]]) -> None:
        """Asked at every scrape: the seconds spent on each object that is being worked on."""
        self._unfinished.labels(QUEUE).set_function(lambda: sum(working()))
        self._longest.labels(QUEUE).set_function(lambda: max(working(), default=0.0))

    # --- requests (cluster.RequestObserver) and the Lease ---

    def requested(self, method: str, host: str, code: str) -> None:
        self._requests.labels(code, method, host).inc()

    def leads(self, lease: str, leading: bool) -> None:
        self._leading.labels(lease).set(1 if leading else 0)

    # --- live status (live.LiveObserver) ---

    def asked(self, result: str) -> None:
        self._asked.labels(result).inc()

    # --- conditions ---

    def show_conditions(self, objects: Callable[[Kind], list[Json]], leading: Callable[[], bool]) -> None:
        """From now on every scrape of the leader shows the conditions of all objects, read from the cache."""
        self.registry.register(ConditionCollector(objects, leading))


class ConditionCollector(Collector):
    """smalt_resource_condition, made from the cache at every scrape, so that no series outlives its object."""

    def __init__(self, objects: Callable[[Kind], list[Json]], leading: Callable[[], bool]) -> None:
        self._objects, self._leading = objects, leading

    def describe(self) -> Iterable[Metric]:
        return [self._family()]

    def collect(self) -> Iterator[Metric]:
        family = self._family()
        if self._leading():
            for kind in OURS:
                for resource in self._objects(kind):
                    _add(family, kind, resource)
        yield family

    def _family(self) -> GaugeMetricFamily:
        labels = ["kind", "namespace", "name", "type", "status"]
        words = "1 for the status that a condition of an object has, 0 for the others; from the leader only"
        return GaugeMetricFamily("smalt_resource_condition", words, labels=labels)


def _add(family: GaugeMetricFamily, kind: Kind, resource: Json) -> None:
    metadata = resource["metadata"]
    for condition in (resource.get("status") or {}).get("conditions") or []:
        for status in ("True", "False", "Unknown"):
            labels = [kind.kind, metadata["namespace"], metadata["name"], condition["type"], status]
            family.add_metric(labels, 1.0 if condition["status"] == status else 0.0)
