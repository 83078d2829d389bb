"""What the metrics say: each result counted once, a queue's state asked at the scrape, and conditions that name no reason."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import generate_latest

from smalt.api.kinds import MODEL, OURS, TRAINING_RUN, WORKSPACE, Kind
from smalt.metrics import RESULTS, Metrics
from support.resources import finished_run, run, workspace

Json = dict[str, Any]


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def value(metrics: Metrics, series: str, /, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(series, labels)


@pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.plural)
def test_every_kind_and_result_begins_at_zero(metrics: Metrics, kind: Kind) -> None:
    for result in RESULTS:
        assert value(metrics, "controller_runtime_reconcile_total", controller=kind.kind.lower(), result=result) == 0
    assert value(metrics, "controller_runtime_reconcile_errors_total", controller=kind.kind.lower()) == 0
    assert value(metrics, "controller_runtime_active_workers", controller=kind.kind.lower()) == 0
    for family in ("reconcile_panics", "terminal_reconcile_errors"):
        assert value(metrics, f"controller_runtime_{family}_total", controller=kind.kind.lower()) == 0


@pytest.mark.parametrize(("result", "errors"), [("success", 0), ("requeue", 0), ("requeue_after", 0), ("error", 1)])
def test_a_reconcile_is_counted_once_under_its_result(metrics: Metrics, result: str, errors: int) -> None:
    began = metrics.began(MODEL)
    assert value(metrics, "controller_runtime_active_workers", controller="model") == 1
    metrics.ended(MODEL, began, result)
    assert value(metrics, "controller_runtime_active_workers", controller="model") == 0
    counted = {
        each: value(metrics, "controller_runtime_reconcile_total", controller="model", result=each) for each in RESULTS
    }
    assert counted == {each: float(each == result) for each in RESULTS}
    assert value(metrics, "controller_runtime_reconcile_errors_total", controller="model") == errors
    assert value(metrics, "controller_runtime_reconcile_time_seconds_count", controller="model") == 1
    assert value(metrics, "workqueue_work_duration_seconds_count", name="smalt") == 1


def test_the_queue_is_told_as_it_grows_and_shrinks(metrics: Metrics) -> None:
    metrics.added(1)
    metrics.added(2)
    assert value(metrics, "workqueue_depth", name="smalt") == 2
    metrics.taken(1, waited_seconds=0.3)
    metrics.retried()
    assert value(metrics, "workqueue_depth", name="smalt") == 1
    assert value(metrics, "workqueue_adds_total", name="smalt") == 2
    assert value(metrics, "workqueue_retries_total", name="smalt") == 1
    assert value(metrics, "workqueue_queue_duration_seconds_sum", name="smalt") == 0.3


def test_what_is_not_done_yet_is_asked_at_every_scrape(metrics: Metrics) -> None:
    working: list[float] = []
    metrics.watch_queue(lambda: working)
    names = ("workqueue_unfinished_work_seconds", "workqueue_longest_running_processor_seconds")
    assert [value(metrics, name, name="smalt") for name in names] == [0, 0]
    working += [1.5, 4.0]
    assert [value(metrics, name, name="smalt") for name in names] == [5.5, 4.0]


def test_requests_and_the_lease_are_told(metrics: Metrics) -> None:
    for code in ("200", "200", "503"):
        metrics.requested("GET", "api:443", code)
    assert value(metrics, "rest_client_requests_total", code="200", method="GET", host="api:443") == 2
    metrics.leads("smalt-operator", False)
    assert value(metrics, "leader_election_master_status", name="smalt-operator") == 0
    metrics.leads("smalt-operator", True)
    assert value(metrics, "leader_election_master_status", name="smalt-operator") == 1


def conditions(metrics: Metrics) -> list[str]:
    text = generate_latest(metrics.registry).decode()
    return [line for line in text.splitlines() if line.startswith("smalt_resource_condition{")]


def test_a_condition_has_a_series_for_each_status_and_goes_with_its_object_and_with_the_lead(metrics: Metrics) -> None:
    objects: dict[Kind, list[Json]] = {WORKSPACE: [workspace()], TRAINING_RUN: [finished_run(), run("new")]}
    leading = [True]
    metrics.show_conditions(lambda kind: objects.get(kind, []), lambda: leading[0])
    labels = {"kind": "Workspace", "namespace": "team-a", "name": "lab", "type": "Ready"}
    found = {
        each: value(metrics, "smalt_resource_condition", **labels, status=each) for each in ("True", "False", "Unknown")
    }
    assert found == {"True": 1, "False": 0, "Unknown": 0}
    assert len(conditions(metrics)) == 6, "the run that nobody has looked at has none"
    del objects[TRAINING_RUN]
    assert len(conditions(metrics)) == 3
    leading[0] = False
    assert conditions(metrics) == []


def test_no_series_carries_what_users_and_scripts_may_write(metrics: Metrics) -> None:
    failed = run(status={"conditions": [{"type": "Ready", "status": "False", "reason": "Odd", "message": "words"}]})
    metrics.show_conditions(lambda kind: [failed] if kind is TRAINING_RUN else [], lambda: True)
    assert conditions(metrics) and not any("Odd" in line or "words" in line for line in conditions(metrics))
