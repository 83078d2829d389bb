"""What must hold of the repository itself, and no linter says."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from smalt.engine import elector, loop
from smalt_trainer.failures import REASONS

ROOT = Path(__file__).resolve().parents[2]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
CONSTRAINTS = "constraints.txt"
PACKAGES = sorted(path.parent for path in ROOT.glob("*/src/*/__init__.py"))
# A model that was pickled with one version need not load with another; and a client must know its server.
SHARED = (
    "scikit-learn",
    "numpy",
    "scipy",
    "joblib",
    "pandas",
    "threadpoolctl",
    "mlflow",
    "mlflow-skinny",
    "skops",
    "onnxruntime",
)


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


def pinned(lock: Path) -> dict[str, str]:
    """Version by package."""
    return dict(re.findall(r"^([\w.-]+)(?:\[\S+\])?==(\S+)", lock.read_text(), re.M))


@pytest.mark.parametrize("package", SHARED)
def test_what_models_and_history_depend_on_has_one_version(package: str) -> None:
    # Peers of a benchmark have a virtualenv of their own, and read no model of ours.
    ours = [lock for lock in LOCKS if not lock.name.startswith("bench-")]
    versions = {lock.name: pinned(lock)[package] for lock in ours if package in pinned(lock)}
    assert versions
    assert len(set(versions.values())) == 1, versions


def test_the_clients_of_mlflow_have_their_servers_version() -> None:
    tracking, trainer = (pinned(ROOT / f"requirements/{name}.txt") for name in ("tracking", "trainer"))
    assert trainer["mlflow-skinny"] == tracking["mlflow"] == tracking["mlflow-skinny"]


@pytest.mark.parametrize("lock", ["trainer", "scoring"])
def test_what_a_model_is_pickled_with_is_in_both_images(lock: str) -> None:
    assert {"scikit-learn", "numpy", "scipy", "joblib", "pandas"} <= set(pinned(ROOT / f"requirements/{lock}.txt"))


def contracts() -> dict[str, dict[str, list[str]]]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    return {each["name"]: each for each in settings["contracts"]} | {"": settings}


def test_every_package_is_looked_at_by_the_linter_of_imports() -> None:
    names = {package.name for package in PACKAGES}
    assert names == {"smalt", "smalt_trainer", "smalt_profile", "smalt_card", "smalt_scorer", "smalt_tracking"}
    assert set(contracts()[""]["root_packages"]) == names
    assert set(contracts()["Images know nothing of each other, nor of the operator"]["modules"]) == names


@pytest.mark.parametrize(
    ("contract", "knows"), [("Only cluster knows the kubernetes client", "cluster"), ("Only watch knows kopf", "watch")]
)
def test_only_one_module_of_the_operator_is_left_out_of_a_contract(contract: str, knows: str) -> None:
    there = {
        f"smalt.{path.stem}" for path in (ROOT / "operator/src/smalt").iterdir() if not path.stem.startswith("__init")
    }
    assert there - set(contracts()[contract]["source_modules"]) - {"smalt.__pycache__"} == {f"smalt.{knows}"}


def reasons_in_readme() -> set[str]:
    """The words in the first column of the table of troubles."""
    table = (ROOT / "README.md").read_text().partition("## Troubleshooting")[2].partition("\n## ")[0]
    return {word for line in table.splitlines() for word in re.findall(r"`(\w+)`", line.split(" | ")[0])}


def test_a_reason_in_readme_is_one_that_is_given() -> None:
    sources = "".join(path.read_text() for package in PACKAGES for path in package.rglob("*.py"))
    assert reasons_in_readme()
    assert {reason for reason in reasons_in_readme() if not re.search(rf"\b{reason}\b", sources)} == set()


def test_readme_knows_what_to_do_about_every_reason_of_a_failed_run() -> None:
    # A defect of ours, and a pod that was told to stop, say themselves what follows.
    assert set(REASONS) - {"InternalError", "Terminated"} <= reasons_in_readme()


@pytest.mark.parametrize(
    "words",
    [
        f"an unfinished status waits up to {loop.HOLD_SECONDS:g} s",
        f"at most every {loop.COUNTS_SECONDS:g} s",
        f"A Lease of {elector.LEASE_SECONDS:g} s, renewed every {elector.RENEW_SECONDS:g} s",
    ],
)
def test_the_docs_name_the_times_that_the_engine_keeps(words: str) -> None:
    docs = " ".join((ROOT / "docs/design/architecture.md").read_text().split())
    assert words in docs
