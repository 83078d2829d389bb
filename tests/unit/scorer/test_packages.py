"""What is said when the packages of a Deployment are not those that the model or the server needs."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from unit.scorer.test_contract import WHOLE
from unit.scorer.test_fetch import MODEL

from cluster.paths import REPOSITORY
from smalt_scorer import contract as contracts
from smalt_scorer import packages
from smalt_scorer.contract import Contract, RegistryFile
from smalt_scorer.failures import Failure
from smalt_scorer.fetch import Server
from smalt_scorer.registry_file import LOCK as LOCK_FILE
from smalt_scorer.registry_file import fetch_file
from support.file_server import FileServer

PLACE = "/api/2.0/mlflow-artifacts/artifacts/9/abc/artifacts/environment/requirements.lock"
URI = "mlflow-artifacts:/9/abc/artifacts/environment/requirements.lock"
TEXT = b"# cpython-311, x86_64-linux-gnu\nlightgbm==4.5.0\n"
LOCK = RegistryFile(URI, f"sha256:{hashlib.sha256(TEXT).hexdigest()}")


def written_with(**versions: str) -> Contract:
    return contracts.parse(WHOLE | {"writtenWith": {name.replace("_", "-"): found for name, found in versions.items()}})


def here(name: str) -> str:
    return metadata.version(name)


def test_the_versions_of_the_training_are_no_skew_and_neither_is_another_patch() -> None:
    major, minor = here("scikit-learn").split(".")[:2]
    packages.check_skew(written_with(scikit_learn=f"{major}.{minor}.99", numpy=here("numpy")))
    packages.check_skew(written_with(no_such_package="1.0"))


def test_another_minor_version_is_refused_by_name_unless_it_is_accepted() -> None:
    it = WHOLE | {"writtenWith": {"scikit-learn": "0.24.2", "numpy": here("numpy")}}
    with pytest.raises(Failure) as refused:
        packages.check_skew(contracts.parse(it))
    assert refused.value.reason == "VersionSkew"
    assert f"scikit-learn 0.24.2 and the environment has {here('scikit-learn')}" in str(refused.value)
    assert "numpy" not in str(refused.value) and "allowSkew: true" in str(refused.value)
    packages.check_skew(contracts.parse(it | {"allowSkew": True}))


def installed(folder: Path, *names: str) -> Path:
    for each in names:
        name, _, version = each.partition("==")
        info = folder / "lib/python3.11/site-packages" / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    return folder


def test_packages_with_which_the_server_does_not_work_are_named_with_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(Failure) as refused:
        packages.check_clashes(installed(tmp_path, "greenlet==1.1.3", "prometheus_client==0.1", "lightgbm==4.5.0"))
    assert refused.value.reason == "EnvironmentClash"
    assert "greenlet 1.1.3, and the scoring server needs greenlet>=3.0" in str(refused.value)
    assert "prometheus-client 0.1" in str(refused.value) and "lightgbm" not in str(refused.value)


def test_other_versions_that_it_works_with_are_the_scripts_to_choose(tmp_path: Path) -> None:
    packages.check_clashes(
        installed(tmp_path, "greenlet==3.0.1", "flask==2.3.3", "orjson==3.9.15", "uvicorn==0.30.0rc1")
    )
    packages.check_clashes(tmp_path / "none")


def test_what_the_server_needs_is_what_it_says_it_depends_on() -> None:
    project = tomllib.loads((REPOSITORY / "scorer_image/pyproject.toml").read_text())["project"]
    assert {f"{name}{wanted}" for name, wanted in packages.NEEDED.items()} <= set(project["dependencies"])


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer({PLACE: TEXT}) as started:
        yield started


def bring(server: FileServer, into: Path, lock: RegistryFile = LOCK) -> Path:
    return fetch_file(lock, into / LOCK_FILE, MODEL, Server(server.url, "scoring", "secret"), 0.0)


def test_the_lock_is_brought_once_and_only_as_it_was_registered(server: FileServer, tmp_path: Path) -> None:
    assert bring(server, tmp_path / "locked").read_bytes() == TEXT
    server.files.clear()
    assert bring(server, tmp_path / "locked").read_bytes() == TEXT, "it is there already"
    server.files[PLACE] = TEXT
    (tmp_path / "locked/requirements.lock").write_bytes(b"evil==1")
    assert bring(server, tmp_path / "locked").read_bytes() == TEXT


@pytest.mark.parametrize(
    ("lock", "reason", "words"),
    [
        (RegistryFile(URI, "sha256:" + "0" * 64), "ModelDigestMismatch", "it was altered"),
        (RegistryFile(URI + ".gone", LOCK.digest), "ModelUnavailable", "404"),
        (RegistryFile("https://elsewhere/requirements.lock", LOCK.digest), "ModelUnavailable", "cannot read"),
    ],
)
def test_a_lock_that_cannot_be_had_or_trusted_is_told(
    server: FileServer, tmp_path: Path, lock: RegistryFile, reason: str, words: str
) -> None:
    with pytest.raises(Failure, match=words) as refused:
        bring(server, tmp_path, lock)
    assert refused.value.reason == reason and not list(tmp_path.iterdir())
