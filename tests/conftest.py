"""What tests of several rooms share."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadFileScheduling

from support.controlplane import ControlPlane

# An image has uv on its PATH. Here it is beside the Python that runs the tests, which need not have been activated.
os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '/usr/bin:/bin')}"

# How long an example takes on a busy machine says nothing of what it shows.
settings.register_profile("smalt", deadline=None)
settings.load_profile("smalt")


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A real API server with the CRDs, for the whole test session."""
    with ControlPlane(tmp_path_factory.mktemp("plane")) as started:
        yield started


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the golden manifests instead of comparing")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever asks for the API server is marked as needing it."""
    for item in items:
        if "plane" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.controlplane)


class Sharing(LoadFileScheduling):  # type: ignore[misc]
    """What has to run in one process, in order: all that shares the one cluster, else the tests of a file."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "cluster" if file.startswith("tests/e2e/") else file


@pytest.hookimpl(optionalhook=True)  # a run in one process needs no xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Sharing:
    return Sharing(config, log)
