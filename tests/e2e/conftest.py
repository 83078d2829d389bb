"""The real cluster with Smalt installed, and a namespace of its own for every test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from demo.kubectl import Kubectl, cluster_environment
from e2e.cluster_namespace import Namespace, fresh_namespace


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    return cluster_environment()


@pytest.fixture(scope="session")
def smalt(environment: dict[str, str]) -> Kubectl:
    """Smalt installed as README says; the operator's own namespace."""
    from demo.__main__ import install

    operator = Kubectl(environment, "smalt-system")
    install(operator)
    return operator


@pytest.fixture
def namespace(environment: dict[str, str], smalt: Kubectl) -> Iterator[Namespace]:
    yield from fresh_namespace(environment)


@pytest.fixture(scope="module")
def shared(environment: dict[str, str], smalt: Kubectl) -> Iterator[Namespace]:
    """One namespace for a module whose tests do not get in each other's way."""
    yield from fresh_namespace(environment)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "/e2e/" in str(item.path):
            item.add_marker(pytest.mark.cluster)
