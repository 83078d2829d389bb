"""What a script asks of the tracking server: whatever it starts, names or ends, its records stay under its own run."""

from __future__ import annotations

import json
from typing import Any

import pytest

from smalt_trainer.rewriting import Answered, Asked, Rewriting
from smalt_trainer.spool import Point

API = "/api/2.0/mlflow/"


@pytest.fixture
def warnings() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def rewriting(warnings: list[tuple[str, str]]) -> Rewriting:
    return Rewriting("own", "7", "team-a/churn", lambda kind, text: warnings.append((kind, text)))


def sent(rewriting: Rewriting, call: str, body: dict[str, Any]) -> dict[str, Any]:
    """What the server gets to see."""
    asked = rewriting("POST", API + call, json.dumps(body).encode())
    assert isinstance(asked, Asked) and asked.path == API + call and asked.body is not None
    found = json.loads(asked.body)
    assert isinstance(found, dict)
    return found


def test_a_run_that_a_script_starts_is_a_child_of_its_own_in_the_same_experiment(rewriting: Rewriting) -> None:
    found = sent(
        rewriting, "runs/create", {"experiment_id": "0", "run_name": "fold 2", "tags": [{"key": "a", "value": "b"}]}
    )
    parent = {"key": "mlflow.parentRunId", "value": "own"}
    assert found == {"experiment_id": "7", "run_name": "fold 2", "tags": [{"key": "a", "value": "b"}, parent]}


def test_a_nested_run_stays_below_the_run_it_was_nested_in(rewriting: Rewriting) -> None:
    tags = [{"key": "mlflow.parentRunId", "value": "another"}]
    assert sent(rewriting, "runs/create", {"experiment_id": "7", "tags": tags})["tags"] == tags


@pytest.mark.parametrize("status", ["FINISHED", "FAILED", "KILLED", "RUNNING"])
def test_a_script_does_not_end_its_own_run_but_may_name_it(rewriting: Rewriting, status: str) -> None:
    found = sent(rewriting, "runs/update", {"run_id": "own", "status": status, "end_time": 5, "run_name": "mine"})
    assert found == {"run_id": "own", "status": "RUNNING", "run_name": "mine"}


def test_a_script_ends_the_runs_that_it_started(rewriting: Rewriting) -> None:
    body = {"run_id": "child", "status": "FINISHED", "end_time": 5}
    assert sent(rewriting, "runs/update", body) == body


def test_a_script_cannot_delete_its_own_run(rewriting: Rewriting) -> None:
    answer = rewriting("POST", API + "runs/delete", b'{"run_id": "own"}')
    assert isinstance(answer, Answered) and answer.status == 403
    assert "the training run's own" in answer.body["message"]
    assert sent(rewriting, "runs/delete", {"run_id": "child"}) == {"run_id": "child"}


@pytest.mark.parametrize("api", ["/api/2.0/mlflow/", "/ajax-api/2.0/mlflow/", "/api/2.0/preview/mlflow/"])
def test_another_experiment_becomes_the_runs_own_and_that_is_said_once(
    rewriting: Rewriting, warnings: list[tuple[str, str]], api: str
) -> None:
    for _ in range(2):
        asked = rewriting("GET", f"{api}experiments/get-by-name?experiment_name=My+tests", None)
        assert asked == Asked(f"{api}experiments/get-by-name?experiment_name=team-a%2Fchurn", None)
    assert rewriting("POST", f"{api}experiments/create", b'{"name": "My tests"}') == Answered(
        200, {"experiment_id": "7"}
    )
    assert [kind for kind, _ in warnings] == ["experiment"]
    for words in ("'My tests'", "'team-a/churn'", "spec.experiment"):
        assert words in warnings[0][1]


def test_its_own_experiment_is_named_without_a_word(rewriting: Rewriting, warnings: list[tuple[str, str]]) -> None:
    rewriting("GET", API + "experiments/get-by-name?experiment_name=team-a%2Fchurn", None)
    assert warnings == []


@pytest.mark.parametrize(("given", "kept"), [({}, "own"), ({"source_run_id": "child"}, "child")])
def test_a_logged_model_belongs_to_the_runs_experiment_and_to_a_run(
    rewriting: Rewriting, given: dict[str, str], kept: str
) -> None:
    body = {"experiment_id": "0", "name": "m", **given}
    assert sent(rewriting, "logged-models", body) == {"experiment_id": "7", "name": "m", "source_run_id": kept}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", API + "runs/get?run_id=own", None),
        ("POST", API + "runs/set-tag", b'{"run_id": "own", "key": "a", "value": "b"}'),
        ("POST", API + "runs/create", b"no json"),
        ("POST", API + "runs/create", b"[" * 100_000),
        ("POST", API + "runs/create", b"[1]"),
        ("PUT", "/api/2.0/mlflow-artifacts/artifacts/7/own/artifacts/runs/create", b"{}"),
        ("GET", "/health", None),
    ],
)
def test_everything_else_is_handed_on_as_it_is(
    rewriting: Rewriting, method: str, path: str, body: bytes | None
) -> None:
    assert rewriting(method, path, body) == Asked(path, body)


POINT = {"key": "auc", "value": 0.5, "timestamp": 7, "step": 3}


def points(rewriting: Rewriting, call: str, body: dict[str, Any]) -> tuple[list[Point], bool]:
    return rewriting.points(API + call, json.dumps(body).encode())


def test_values_of_the_own_run_are_read_from_either_call(rewriting: Rewriting) -> None:
    own = {"run_id": "own", "run_uuid": "own"}
    assert points(rewriting, "runs/log-metric", own | POINT) == ([Point("auc", 0.5, 3, 7)], True)
    two = [POINT, POINT | {"value": "NaN", "step": 4}]
    found, is_all = points(rewriting, "runs/log-batch", own | {"metrics": two})
    assert ([point.step for point in found], is_all) == ([3, 4], True)


@pytest.mark.parametrize(
    "more",
    [
        {"params": [{"key": "C", "value": "1"}]},
        {"tags": [{"key": "C", "value": "1"}]},
        {"metrics": [POINT, POINT | {"model_id": "m-1"}]},
        {"metrics": [POINT, {"key": "no value"}]},
        {"metrics": [POINT, POINT | {"key": "ä name that only the server can judge"}]},
    ],
)
def test_a_call_that_does_more_than_log_values_cannot_be_answered_without_the_server(
    rewriting: Rewriting, more: dict[str, Any]
) -> None:
    found, is_all = points(rewriting, "runs/log-batch", {"run_id": "own", "metrics": [POINT]} | more)
    assert found[0] == Point("auc", 0.5, 3, 7) and not is_all


def test_values_of_another_run_are_its_own_affair(rewriting: Rewriting) -> None:
    assert points(rewriting, "runs/log-metric", {"run_id": "child"} | POINT) == ([], False)
