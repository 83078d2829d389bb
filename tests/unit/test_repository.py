"""What must hold of the repository itself, and no linter says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
CONSTRAINTS = "constraints.txt"


def test_the_folder_operator_is_no_package() -> None:
    # It would stand in the way of Python's own module of that name.
    assert not (ROOT / "operator/__init__.py").exists()


def test_there_are_locks_to_look_at() -> None:
    assert {path.stem for path in (ROOT / "requirements").glob("*.in")} <= {path.stem for path in LOCKS}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_a_lock_names_no_address(lock: Path) -> None:
    assert [line for line in lock.read_text().splitlines() if "://" in line] == []


@pytest.mark.parametrize("lock", [path for path in LOCKS if path.name != CONSTRAINTS], ids=lambda path: path.name)
def test_a_lock_pins_every_package_by_version_and_hash(lock: Path) -> None:
    entries = re.split(r"\n(?=\S)", lock.read_text().strip())
    entries = [each for each in entries if not each.startswith("#")]
    assert entries
    wanting = [
        each.splitlines()[0] for each in entries if not re.match(r"[\w.\-\[\],]+==\S+.*--hash=sha256:", each, re.S)
    ]
    assert wanting == []
