"""Scripts written for MLflow anywhere: whatever they start, set and end, the real server has all of it under one run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from smalt_trainer.digests import manifest, manifest_digest, text_digest
from smalt_trainer.tracking import Tracking
from support.run_pod import RunPod, mlflow_variables, wait_until
from support.tracking import TrackingServer


@pytest.fixture(scope="module")
def server() -> Iterator[TrackingServer]:
    with TrackingServer() as started:
        yield started


@pytest.fixture(scope="module")
def client(server: TrackingServer) -> Tracking:
    return Tracking(server.url, "runs", server.passwords["runs"])


@pytest.fixture
def pod(server: TrackingServer, tmp_path: Path) -> Iterator[RunPod]:
    made = RunPod(tmp_path, mlflow_variables(server.url, "runs", server.passwords["runs"]), "")
    yield made
    made.kill()


def run_with(pod: RunPod, script: str) -> dict[str, Any]:
    pod.contract["code"] = {"inline": {"train.py": "import mlflow\n" + script}}
    message = pod.run(120)
    assert message["outcome"] == "succeeded", pod.err
    return message


def shown(client: Tracking, run: str) -> dict[str, Any]:
    found = client.call("GET", "runs/get", run_id=run)["run"]
    values = {
        part: {each["key"]: each["value"] for each in found["data"].get(part) or ()} for part in ("params", "tags")
    }
    metrics = {each["key"]: each["value"] for each in found["data"].get("metrics") or ()}
    model = {name: value for name, value in metrics.items() if not name.startswith("system/")}
    return {"info": found["info"], "metrics": model, **values}


def children(client: Tracking, message: dict[str, Any], run: str = "") -> list[dict[str, Any]]:
    experiment, parent = message["tracking"]["experimentId"], run or message["tracking"]["runId"]
    found = client.find_runs(experiment, {"mlflow.parentRunId": parent})
    return [shown(client, each["info"]["run_id"]) for each in found]


def test_a_script_that_starts_a_run_logs_into_its_own(client: Tracking, pod: RunPod) -> None:
    script = (
        "with mlflow.start_run(run_name='mine', tags={'who': 'me'}) as run:\n"
        "    mlflow.log_param('C', 1); mlflow.log_metric('auc', 0.9, step=2)\n"
        "    mlflow.log_dict({'a': 1}, 'notes/a.json'); mlflow.log_text('hi', 'hi.txt')\n"
    )
    message = run_with(pod, script)
    found = shown(client, message["tracking"]["runId"])
    assert (found["metrics"], found["params"]["C"], found["tags"]["who"]) == ({"auc": 0.9}, "1", "me")
    assert (found["info"]["status"], found["info"]["run_name"]) == ("FINISHED", "mine")
    assert message["metrics"] == {"auc": 0.9}
    assert children(client, message) == []
    listed = client.call("GET", "artifacts/list", run_id=message["tracking"]["runId"])["files"]
    assert {each["path"] for each in listed} >= {"notes", "hi.txt", "code", "logs"}


def test_the_end_of_a_script_own_run_does_not_end_it_before_all_is_stored(client: Tracking, pod: RunPod) -> None:
    script = (
        "import os, pathlib, time\n"
        "with mlflow.start_run(): mlflow.log_metric('auc', 0.9)\n"
        "pathlib.Path('ended').touch()\n"
        "while not os.path.exists('go'): time.sleep(0.02)\n"
    )
    pod.contract["code"] = {"inline": {"train.py": "import mlflow\n" + script}}
    pod.start()
    wait_until((pod.folder / "work/code/ended").exists, "the end of the script's run")
    run = client.find_runs(client.experiment_id("team-a/churn"), {"smalt.run.uid": pod.contract["run"]["uid"]})[0]
    assert run["info"]["status"] == "RUNNING"
    (pod.folder / "work/code/go").touch()
    assert pod.finish()["outcome"] == "succeeded"
    assert shown(client, run["info"]["run_id"])["info"]["status"] == "FINISHED"


def test_a_second_and_a_nested_run_are_children(client: Tracking, pod: RunPod) -> None:
    script = (
        "with mlflow.start_run():\n"
        "    mlflow.log_metric('first', 1)\n"
        "    with mlflow.start_run(nested=True, run_name='fold'): mlflow.log_metric('nested', 2)\n"
        "with mlflow.start_run(run_name='again'):\n"
        "    mlflow.log_metric('second', 3)\n"
        "    with mlflow.start_run(nested=True, run_name='deep'): mlflow.log_metric('deep', 4)\n"
    )
    message = run_with(pod, script)
    assert message["metrics"] == {"first": 1.0}
    below = {each["info"]["run_name"]: each for each in children(client, message)}
    assert {name: each["metrics"] for name, each in below.items()} == {
        "fold": {"nested": 2.0},
        "again": {"second": 3.0},
    }
    assert {each["info"]["status"] for each in below.values()} == {"FINISHED"}
    [deep] = children(client, message, below["again"]["info"]["run_id"])
    assert deep["metrics"] == {"deep": 4.0}


def test_another_experiment_and_another_server_are_not_followed_and_that_is_said(client: Tracking, pod: RunPod) -> None:
    script = (
        "import pathlib\n"
        "mlflow.set_tracking_uri('./mlruns')\n"
        "mlflow.set_tracking_uri(pathlib.Path('elsewhere'))\n"
        "mlflow.set_tracking_uri('sqlite:///mlflow.db')\n"
        "mlflow.set_tracking_uri('http://localhost:5000')\n"
        "mlflow.set_experiment('My tests')\n"
        "with mlflow.start_run(): mlflow.log_metric('auc', 0.9)\n"
        "mlflow.log_metric('after', 0.8)\n"
        "assert not pathlib.Path('mlruns').exists() and not pathlib.Path('mlflow.db').exists()\n"
    )
    message = run_with(pod, script)
    assert message["metrics"] == {"auc": 0.9}
    assert [each["metrics"] for each in children(client, message)] == [{"after": 0.8}]
    tags = shown(client, message["tracking"]["runId"])["tags"]
    assert "'My tests'" in tags["smalt.warning.experiment"]
    assert "is not followed" in tags["smalt.warning.tracking_uri"]
    err = (pod.folder / "err.log").read_text()
    assert "experiment 'My tests' is not used" in err and "set_tracking_uri('./mlruns') is not followed" in err
    with pytest.raises(Exception, match="Could not find experiment"):
        client.call("GET", "experiments/get-by-name", experiment_name="My tests")


FIT = """
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
X, y = make_classification(60, random_state=0)
"""


def test_autologging_logs_into_the_run_and_a_second_fit_into_a_child(client: Tracking, pod: RunPod) -> None:
    script = FIT + (
        "mlflow.sklearn.autolog(log_models=False, log_datasets=False)\n"
        "LogisticRegression(C=0.5).fit(X, y)\n"
        "LogisticRegression(C=0.25).fit(X, y)\n"
    )
    message = run_with(pod, script)
    assert message["metrics"]["training_accuracy_score"] > 0.5
    assert shown(client, message["tracking"]["runId"])["params"]["C"] == "0.5"
    assert [each["params"]["C"] for each in children(client, message)] == ["0.25"]


def test_a_model_that_is_logged_lies_in_the_runs_experiment_and_can_be_loaded_by_the_script(
    server: TrackingServer, client: Tracking, pod: RunPod
) -> None:
    script = FIT + (
        "mlflow.set_experiment('Elsewhere')\n"
        "with mlflow.start_run():\n"
        "    info = mlflow.sklearn.log_model(LogisticRegression().fit(X, y), name='classifier')\n"
        "loaded = mlflow.sklearn.load_model(info.model_uri)\n"
        "assert (loaded.predict(X) == y).mean() > 0.5\n"
    )
    message = run_with(pod, script)
    body = {"experiment_ids": [message["tracking"]["experimentId"]]}
    models = client.call("POST", "logged-models/search", body)["models"]
    of_run = [each["info"] for each in models if each["info"]["source_run_id"] == message["tracking"]["runId"]]
    assert [(each["name"], each["status"]) for each in of_run] == [("classifier", "LOGGED_MODEL_READY")]


LOGS_MODEL = FIT + (
    "mlflow.sklearn.log_model(LogisticRegression().fit(X, y), name='classifier')\n"
    "mlflow.sklearn.log_model(LogisticRegression(C=0.1).fit(X, y), name='classifier')\n"
    "mlflow.log_text('x', 'plain/MLmodel')\n"
)


def test_a_model_that_is_logged_can_be_registered_with_its_manifest_beside_it(
    server: TrackingServer, client: Tracking, pod: RunPod
) -> None:
    pod.contract["loggedModel"] = "classifier"
    message = run_with(pod, LOGS_MODEL)
    model = message["outputs"]["classifier"]
    place = model["uri"].removeprefix("mlflow-artifacts:/")
    stored = server.data / "artifacts" / place
    assert model["digest"] == manifest_digest(manifest(stored)) and model["files"] > 2
    assert text_digest((stored.parent / "artifacts.manifest.json").read_text()) == model["digest"]
    body = {"experiment_ids": [message["tracking"]["experimentId"]]}
    found = [each["info"] for each in client.call("POST", "logged-models/search", body)["models"]]
    newest = max(
        (each for each in found if each["source_run_id"] == message["tracking"]["runId"]),
        key=lambda each: each["creation_timestamp_ms"],
    )
    assert f"/models/{newest['model_id']}/" in model["uri"]


def test_a_model_that_is_logged_in_a_run_within_the_run_can_be_registered(client: Tracking, pod: RunPod) -> None:
    pod.contract["loggedModel"] = "classifier"
    script = FIT + (
        "with mlflow.start_run():\n"
        "    with mlflow.start_run(nested=True):\n"
        "        with mlflow.start_run(nested=True) as deep:\n"
        "            mlflow.sklearn.log_model(LogisticRegression().fit(X, y), name='classifier')\n"
    )
    message = run_with(pod, script)
    place = message["outputs"]["classifier"]["uri"]
    body = {"experiment_ids": [message["tracking"]["experimentId"]]}
    found = [each["info"] for each in client.call("POST", "logged-models/search", body)["models"]]
    (logged,) = [each for each in found if f"/models/{each['model_id']}/" in place]
    assert logged["source_run_id"] != message["tracking"]["runId"]


def test_a_model_that_an_older_mlflow_logged_lies_among_the_runs_artifacts(client: Tracking, pod: RunPod) -> None:
    pod.contract["loggedModel"] = "plain"
    message = run_with(pod, "mlflow.log_text('x', 'plain/MLmodel'); mlflow.log_text('y', 'plain/deep/model.pkl')")
    run = message["tracking"]
    model = message["outputs"]["plain"]
    assert model["uri"] == f"mlflow-artifacts:/{run['experimentId']}/{run['runId']}/artifacts/plain"
    assert (model["files"], model["bytes"]) == (2, 2)


def test_a_model_that_was_to_be_logged_and_was_not_fails_the_run_by_name(pod: RunPod) -> None:
    pod.contract["loggedModel"] = "classifer"
    pod.contract["code"] = {"inline": {"train.py": "print('no model')"}}
    message = pod.run(60)
    assert message["reason"] == "OutputMissing"
    for words in ("register.from names 'classifer'", "log_model", "declare an output"):
        assert words in message["message"]


def test_runs_within_the_run_that_a_lost_pod_left_open_end_when_another_takes_it_up(
    server: TrackingServer, client: Tracking, pod: RunPod, tmp_path: Path
) -> None:
    pod.contract["code"] = {
        "inline": {
            "train.py": "import mlflow, time\nmlflow.start_run()\nmlflow.start_run(nested=True, run_name='fold')\n"
            "mlflow.start_run(nested=True, run_name='deep')\nopen('started', 'w')\ntime.sleep(600)\n"
        }
    }
    pod.start()
    wait_until((tmp_path / "work/code/started").exists, "the script's start", 60)
    pod.kill()
    variables = mlflow_variables(server.url, "runs", server.passwords["runs"])
    second = RunPod(tmp_path / "second", variables, "print('again')")
    second.contract["run"] = pod.contract["run"]
    message = second.run(60)
    assert message["outcome"] == "succeeded"
    (fold,) = children(client, message)
    (deep,) = children(client, message, fold["info"]["run_id"])
    assert [each["info"]["status"] for each in (fold, deep)] == ["KILLED", "KILLED"]


def test_values_of_plain_mlflow_survive_a_server_that_is_killed_and_restarted(
    server: TrackingServer, client: Tracking, pod: RunPod
) -> None:
    script = (
        "import os, pathlib, time\n"
        "mlflow.start_run()\n"
        "pathlib.Path('started').touch()\n"
        "while not os.path.exists('away'): time.sleep(0.02)\n"
        "for step in range(20): mlflow.log_metric('loss', 20 - step, step=step)\n"
        "pathlib.Path('logged').touch()\n"
        "while not os.path.exists('back'): time.sleep(0.02)\n"
        "mlflow.log_param('late', 1)\n"
    )
    pod.contract["code"] = {"inline": {"train.py": "import mlflow\n" + script}}
    code = pod.folder / "work/code"
    pod.start()
    wait_until((code / "started").exists, "the script's start", 60)
    server.kill()
    (code / "away").touch()
    try:
        wait_until((code / "logged").exists, "the values' being logged", 120)
        (code / "back").touch()
    finally:
        server.start()
    message = pod.finish(120)
    assert message["outcome"] == "succeeded", pod.err
    query = {"run_id": message["tracking"]["runId"], "metric_key": "loss", "max_results": "100"}
    history = client.call("GET", "metrics/get-history", **query)["metrics"]
    assert [(point["step"], point["value"]) for point in history] == [(step, 20 - step) for step in range(20)]
    assert shown(client, message["tracking"]["runId"])["params"]["late"] == "1"
