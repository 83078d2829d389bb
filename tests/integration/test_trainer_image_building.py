"""An environment becomes an image once, is found again by its lock, and what goes wrong is told with the last lines."""

from __future__ import annotations

import base64
import json
import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.certificates import Certificates
from support.fake_engine import FakeEngine
from support.fake_tracking import FakeTracking
from support.package_index import PackageIndex, Wheel
from support.run_pod import SOURCE, mlflow_variables

Json = dict[str, Any]
TINY = Wheel("tiny-thing", "1.2.0", "ANSWER = 42\n")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates.made(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the container before the builder leaves."""
    folder = tmp_path_factory.mktemp("pod")
    contract = folder / "contract.json"
    contract.write_text(json.dumps({"run": {}, "environment": {"pip": ["tiny-thing"]}}))
    with PackageIndex((TINY,)) as index:
        command = [
            sys.executable,
            "-s",
            str(SOURCE),
            "environment",
            "--from",
            str(contract),
            "--into",
            str(folder / "made"),
        ]
        variables = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "UV_DEFAULT_INDEX": index.url}
        subprocess.run(command, env=variables, check=True, capture_output=True)
    return folder / "made"


class Builder:
    """The builder's container as a process in a folder of its own."""

    def __init__(
        self, folder: Path, environment: Path, engine: str, certificates: Certificates | None, tracking: str
    ) -> None:
        self.folder = folder
        (folder / "work").mkdir(parents=True)
        shutil.copytree(environment, folder / "environment", symlinks=True)
        build = {"registry": "registry.example/team", "dockerHost": engine, "tls": certificates is not None}
        run = {"namespace": "team-a", "name": "first"}
        self.contract = {"version": 1, "run": run, "image": "python:3.11-slim", "build": build}
        if certificates:
            (folder / "credentials/engine").mkdir(parents=True)
            for name, file in (
                ("ca.crt", certificates.authority),
                ("tls.crt", certificates.certificate),
                ("tls.key", certificates.key),
            ):
                shutil.copy(file, folder / "credentials/engine" / name)
        (folder / "credentials/registry").mkdir(parents=True)
        login = base64.b64encode(b"pusher:secret-of-the-registry").decode()
        config = {"auths": {"registry.example": {"auth": login}}}
        (folder / "credentials/registry/config.json").write_text(json.dumps(config))
        self.variables = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "SMALT_ROOT": str(folder),
            "DOCKER_CONFIG": str(folder / "credentials/registry"),
            # As images of a machine behind a proxy have it; the engine's authority is not in there.
            "REQUESTS_CA_BUNDLE": ssl.get_default_verify_paths().cafile or "/etc/ssl/certs/ca-certificates.crt",
            **mlflow_variables(tracking, "runs", "secret"),
        }
        self.printed = ""

    def run(self) -> int:
        (self.folder / "run").mkdir(exist_ok=True)
        (self.folder / "run/run.json").write_text(json.dumps(self.contract))
        command = [sys.executable, "-s", str(SOURCE), "build-image"]
        done = subprocess.run(command, env=self.variables, capture_output=True, text=True, timeout=60)
        self.printed = done.stdout + done.stderr
        return done.returncode

    @property
    def words(self) -> Json:
        return dict(json.loads((self.folder / "termination-log").read_text()))


@pytest.fixture
def engine(certificates: Certificates) -> Iterator[FakeEngine]:
    with FakeEngine(certificates) as made:
        yield made


@pytest.fixture
def tracking() -> Iterator[FakeTracking]:
    with FakeTracking() as made:
        yield made


def test_an_environment_is_built_pushed_and_found_again_by_its_lock(
    tmp_path: Path, environment: Path, engine: FakeEngine, tracking: FakeTracking, certificates: Certificates
) -> None:
    first = Builder(tmp_path / "first", environment, engine.url, certificates, tracking.url)
    assert first.run() == 0, first.printed
    [(name, digest)] = engine.images.items()
    assert name.startswith("registry.example/team/smalt-environments:")
    facts = json.loads((environment / "smalt/facts.json").read_text())
    image = f"registry.example/team/smalt-environments@{digest}"
    assert first.words == {"version": 1, "image": image, "environment": facts["digest"]}
    [dockerfile] = engine.dockerfiles
    assert dockerfile.startswith("FROM python:3.11-slim\nCOPY environment ") and "RUN" not in dockerfile
    assert facts["digest"] in dockerfile
    assert engine.logins[0]["username"] == "pusher"
    assert "secret-of-the-registry" not in first.printed + json.dumps(first.words)

    second = Builder(tmp_path / "second", environment, engine.url, certificates, tracking.url)
    assert second.run() == 0, second.printed
    assert second.words["image"] == image
    assert len(engine.contexts) == 1, "it is found, not built"
    assert "is there already, with this very lock" in second.printed


def test_the_image_holds_the_environment_for_anybody_to_read_and_its_python_stays_a_link(
    tmp_path: Path, environment: Path, engine: FakeEngine, tracking: FakeTracking, certificates: Certificates
) -> None:
    builder = Builder(tmp_path / "pod", environment, engine.url, certificates, tracking.url)
    assert builder.run() == 0, builder.printed
    [files] = engine.contexts
    assert any(name.endswith("/site-packages/tiny_thing.py") for name in files)
    assert {"environment/smalt/requirements.lock", "environment/smalt/facts.json"} <= files.keys()
    assert files["environment/bin/python"].issym()
    assert {each.uid for each in files.values()} == {0}
    assert all(
        each.mode & 0o444 == 0o444 and not each.mode & 0o022
        for name, each in files.items()
        if each.isfile() and name != "Dockerfile"
    )


def test_the_log_and_the_lock_are_kept_with_the_history(
    tmp_path: Path, environment: Path, engine: FakeEngine, tracking: FakeTracking, certificates: Certificates
) -> None:
    builder = Builder(tmp_path / "pod", environment, engine.url, certificates, tracking.url)
    assert builder.run() == 0, builder.printed
    assert "Successfully tagged" in tracking.artifacts["build.log"].decode()
    assert TINY.sha256 in tracking.artifacts["environment/requirements.lock"].decode()
    assert [each["status"] for each in tracking.runs.values()] == ["FINISHED"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"build_error": "COPY failed: no space left on device"}, "Step 29 | COPY failed: no space left on device"),
        (
            {"push_error": "denied: requested access to the resource is denied"},
            "spec.images.pushSecret: Preparing | denied",
        ),
    ],
)
def test_what_the_engine_cannot_do_ends_with_its_last_lines(
    tmp_path: Path,
    environment: Path,
    engine: FakeEngine,
    tracking: FakeTracking,
    certificates: Certificates,
    change: dict[str, str],
    told: str,
) -> None:
    for name, value in change.items():
        setattr(engine, name, value)
    builder = Builder(tmp_path / "pod", environment, engine.url, certificates, tracking.url)
    assert builder.run() == 1
    assert builder.words["reason"] == "EnvironmentFailed"
    assert told in builder.words["message"]
    assert "Step 3 " not in builder.words["message"]
    assert told.rpartition("| ")[2] in tracking.artifacts["build.log"].decode()
    assert [each["status"] for each in tracking.runs.values()] == ["FAILED"]


def test_packages_that_could_not_be_installed_are_the_cause(
    tmp_path: Path, engine: FakeEngine, tracking: FakeTracking, certificates: Certificates
) -> None:
    failed = tmp_path / "made/smalt"
    failed.mkdir(parents=True)
    facts = {"version": 1, "failed": {"reason": "PackageNotFound", "message": "the package index has no absent-thing"}}
    (failed / "facts.json").write_text(json.dumps(facts))
    builder = Builder(tmp_path / "pod", tmp_path / "made", engine.url, certificates, tracking.url)
    assert builder.run() == 1
    assert (builder.words["reason"], builder.words["message"]) == tuple(facts["failed"].values())
    assert engine.contexts == []


def test_an_engine_does_not_talk_to_those_without_its_certificate(
    tmp_path: Path, environment: Path, engine: FakeEngine, tracking: FakeTracking
) -> None:
    stranger = Certificates.made(tmp_path / "others")
    builder = Builder(tmp_path / "pod", environment, engine.url, stranger, tracking.url)
    assert builder.run() == 1
    assert "the Docker Engine tcp://127.0.0.1" in builder.words["message"]
    assert engine.contexts == []


def test_a_certificate_that_is_missing_is_named(
    tmp_path: Path, environment: Path, engine: FakeEngine, tracking: FakeTracking, certificates: Certificates
) -> None:
    builder = Builder(tmp_path / "pod", environment, engine.url, certificates, tracking.url)
    (tmp_path / "pod/credentials/engine/tls.key").unlink()
    assert builder.run() == 1
    assert "spec.images.tlsSecret has no tls.key" in builder.words["message"]


def test_a_history_that_is_away_does_not_cost_the_image(
    tmp_path: Path, environment: Path, engine: FakeEngine, certificates: Certificates
) -> None:
    builder = Builder(tmp_path / "pod", environment, engine.url, certificates, "http://127.0.0.1:9")
    assert builder.run() == 0
    assert "image" in builder.words and "the log is not kept" in builder.printed
