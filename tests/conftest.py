"""What tests of several rooms share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.controlplane import ControlPlane


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
