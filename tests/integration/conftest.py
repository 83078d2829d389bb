"""The operator as a process on the shared API server, alone or with the quickstart played to its end."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import served_models
from support.controlplane import ControlPlane
from support.operator_process import OperatorProcess
from support.place import OBJECTS, SAMPLE, Place
from support.player import Player
from support.scoring_pod import ScoringPod


@pytest.fixture
def place(plane: ControlPlane) -> Place:
    return Place(plane)


@pytest.fixture
def operator(plane: ControlPlane, place: Place, tmp_path: Path) -> Iterator[OperatorProcess]:
    settings = {"SMALT_NAMESPACE": place.name, "SMALT_LEASE_NAMESPACE": place.name}
    with OperatorProcess(plane.kubeconfig, tmp_path, **settings) as started:
        started.wait_for("leading")
        yield started


@pytest.fixture
def quickstart(plane: ControlPlane, place: Place, operator: OperatorProcess) -> Iterator[Place]:
    with Player(plane, place.name):
        place("apply", "-k", str(SAMPLE))
        for kind, name in OBJECTS:
            place.ready(kind, name)
        yield place


@pytest.fixture(scope="module")
def direct(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScoringPod]:
    """A scoring pod that serves a model of customers without a script, by its schema."""
    files = {"model.joblib": served_models.joblib_file(served_models.customers())}
    files["schema.json"] = served_models.schema_file()
    with ScoringPod(tmp_path_factory.mktemp("direct"), None, files) as pod:
        yield pod


@pytest.fixture(scope="session")
def chromium() -> str:
    found = shutil.which("chromium")
    assert found, "`make test` installs Debian's chromium; elsewhere: apt-get install chromium"
    return found
