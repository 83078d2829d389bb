"""Versions and stages of models on a real API server, with what a node would report played."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.controlplane import ControlPlane
from support.operator_process import OperatorProcess
from support.place import Place, condition
from support.player import Player
from support.specs import DEPLOYMENT, EXPERIMENT, RUN, WORKSPACE, changed

Json = dict[str, Any]
RUNS = 50
REGISTERING: Json = {
    "outputs": {"model": {"type": "customModel"}},
    "register": {"model": "churn", "from": "model"},
}
pytestmark = pytest.mark.controlplane


@contextmanager
def operator(place: Place, folder: Path) -> Iterator[OperatorProcess]:
    """Leading, in the namespace alone."""
    settings = {"SMALT_NAMESPACE": place.name, "SMALT_LEASE_NAMESPACE": place.name}
    with OperatorProcess(place.plane.kubeconfig, folder, **settings) as started:
        started.wait_for("leading", 60)
        yield started


@pytest.fixture
def place(plane: ControlPlane) -> Iterator[Place]:
    made = Place(plane)
    with Player(plane, made.name):
        yield made
    made("delete", "namespace", made.name, "--wait=false")


def lab(place: Place) -> None:
    place.apply(changed(WORKSPACE, {}), changed(EXPERIMENT, {}))
    place.ready("workspace", "lab")


def models(place: Place) -> dict[str, Json]:
    found = json.loads(place("get", "models", "-o", "json"))["items"]
    return {each["metadata"]["name"]: each for each in found}


def test_of_fifty_runs_that_register_at_once_each_gets_a_version_though_operators_are_killed_among_them(
    place: Place, tmp_path: Path
) -> None:
    names = [f"run-{number:02}" for number in range(RUNS)]
    with operator(place, tmp_path) as first:
        lab(place)
        place.apply(*(changed(RUN, REGISTERING, name) for name in names))
        place.until("model", "churn-10", lambda it: True, 120)
        first.end(signal.SIGKILL)
    with operator(place, tmp_path) as second:
        place.until("model", "churn-30", lambda it: True, 120)
        second.end(signal.SIGKILL)
    with operator(place, tmp_path):
        for name in names:
            place.until("trainingrun", name, lambda it: bool(it.get("status", {}).get("model")), 120)
        found = models(place)
        assert sorted(each["spec"]["version"] for each in found.values()) == list(range(1, RUNS + 1))
        assert {each["spec"]["source"]["run"] for each in found.values()} == set(names), "one for each run"
        told = {json.loads(place("get", "trainingrun", name, "-o", "json"))["status"]["model"] for name in names}
        assert told == set(found)
        for name in found:
            place.until("model", name, lambda it: condition(it).get("status") == "True", 120)

        place("delete", "model", f"churn-{RUNS}", f"churn-{RUNS - 1}", "--wait=true")
        place.apply(changed(RUN, REGISTERING, "late"))
        late = place.until("trainingrun", "late", lambda it: bool(it.get("status", {}).get("model")), 60)
        assert late["status"]["model"] == f"churn-{RUNS + 1}", "a deleted version's number is never given again"


def test_a_deployment_follows_the_stage_that_people_move(place: Place, tmp_path: Path) -> None:
    with operator(place, tmp_path):
        lab(place)
        for number in (1, 2):
            place.apply(changed(RUN, REGISTERING, f"run-{number}"))
            place.until("model", f"churn-{number}", lambda it: condition(it).get("status") == "True", 60)
        place.apply(changed(DEPLOYMENT, {"model": {"name": "churn", "stage": "Production"}}))
        waiting = place.until("modeldeployment", "prod", lambda it: bool(condition(it)))
        assert condition(waiting)["reason"] == "WaitingForModel"
        for name, stage, serves in (
            ("churn-1", "Production", "churn-1"),
            ("churn-2", "Staging", "churn-1"),
            ("churn-2", "Production", "churn-2"),
            ("churn-2", "Archived", "churn-1"),
        ):
            place("patch", "model", name, "--type=merge", "-p", json.dumps({"spec": {"stage": stage}}))
            found = place.until(
                "modeldeployment",
                "prod",
                lambda it, wanted=serves: (  # type: ignore[misc]
                    condition(it).get("reason") == "Serving" and it["status"].get("effectiveModel") == wanted
                ),
                60,
            )
            assert found["status"]["effectiveModel"] == serves
        used = {name: each["status"].get("usedBy") for name, each in models(place).items()}
        assert used == {"churn-1": ["prod"], "churn-2": []}
