"""`pytest tests/golden --update-golden` writes what is compared; the difference is reviewed as any other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

FOLDER = Path(__file__).parent


class Plain(yaml.SafeDumper):
    """Writes what occurs twice twice: a manifest is read from top to bottom."""

    def ignore_aliases(self, data: object) -> bool:
        return True


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, list[dict[str, Any]]], None]:
    """Compares manifests with the file of that name, or writes it."""

    def compare(name: str, manifests: list[dict[str, Any]]) -> None:
        path = FOLDER / f"{name}.yaml"
        text = yaml.dump_all(manifests, Dumper=Plain, sort_keys=False, width=120, allow_unicode=True)
        if request.config.getoption("--update-golden"):
            path.write_text(text)
        assert path.exists(), f"{path.name} is not there: run `make generate` and review it"
        assert text == path.read_text(), f"{path.name} differs: run `make generate` and review the difference"

    return compare
