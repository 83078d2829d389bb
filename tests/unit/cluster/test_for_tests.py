"""The tests take no cluster that somebody may miss, and leave out in words what a machine cannot run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cluster import doctor, for_tests, host
from cluster.paths import REPOSITORY
from cluster.progress import SetUpFailed
from support.readme import of_language


@pytest.fixture(autouse=True)
def everything_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "TEST_PACKAGES", {"sh": "dash"})


@pytest.mark.parametrize("environment", [{}, {for_tests.LEAVE: ""}, {for_tests.LEAVE: "no"}])
def test_the_cluster_of_a_kubeconfig_is_refused(environment: dict[str, str]) -> None:
    with pytest.raises(SetUpFailed) as refusal:
        for_tests.prepare("current", environment)
    for words in ("CustomResourceDefinitions", "StorageClass", "quickstart", f"{for_tests.LEAVE}=yes", "CLUSTER=local"):
        assert words in str(refusal.value)


@pytest.mark.parametrize(
    ("cluster", "environment"), [("current", {for_tests.LEAVE: "yes"}), ("kind", {}), ("local", {})]
)
def test_a_cluster_that_nobody_misses_is_taken(cluster: str, environment: dict[str, str]) -> None:
    for_tests.prepare(cluster, environment)


def test_make_test_is_refused_before_anything_is_touched(tmp_path: Path) -> None:
    """The real command line, where neither kubectl nor docker would be found."""
    tools = {"PATH": str(tmp_path), "PYTHONPATH": "tests", "CLUSTER": "current", "SMALT_CACHE": str(tmp_path)}
    command = [sys.executable, "-m", "cluster", "for-tests"]
    finished = subprocess.run(command, cwd=REPOSITORY, env=tools, capture_output=True, text=True)
    assert finished.returncode == 1
    assert for_tests.REFUSAL in finished.stderr
    recipe = (REPOSITORY / "Makefile").read_text().partition("\ntest:")[2].partition("\n\n")[0]
    assert recipe.index("for-tests") < recipe.index("cluster up") < recipe.index("pytest")


def test_what_tests_start_is_installed_by_debians_root(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(host, "TEST_PACKAGES", {"no-such-program": "some-package", "sh": "dash"})
    monkeypatch.setattr(host, "can_install", lambda: True)
    monkeypatch.setattr(host, "install", asked.extend)
    for_tests.prepare("local", {})
    assert asked == ["some-package"]


def test_elsewhere_it_is_said_what_tests_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(host, "TEST_PACKAGES", {"no-such-program": "some-package"})
    monkeypatch.setattr(host, "can_install", lambda: False)
    for_tests.prepare("kind", {})
    assert "some-package is not installed, which tests start: `apt-get install some-package`" in capsys.readouterr().out


def test_what_readmes_commands_start_is_there_after_the_demo() -> None:
    first = {line.split()[0] for block in of_language("sh") for line in block.text.splitlines()}
    started = {word for word in first if word.isalpha()}
    every_debian_has = {"cp", "eval", "head", "ls", "sed"}
    assert started - every_debian_has - {"kubectl"} == {"curl"}
    assert "curl" in host.PACKAGES


def test_the_demo_does_not_need_what_only_tests_start() -> None:
    assert not set(host.TEST_PACKAGES) & set(host.PACKAGES)


@pytest.mark.parametrize("cluster", ["kind", "current"])
def test_control_planes_are_left_out_where_none_can_be_started(
    cluster: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "has_all_programs", lambda: False)
    assert for_tests.markers(cluster, which=lambda program: None) == "not controlplane"
    said = capsys.readouterr().err
    for words in ("'etcd' is not installed", "Go is missing", "CLUSTER=local"):
        assert words in said


def test_a_laptop_that_has_everything_runs_every_test(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "has_all_programs", lambda: True)
    assert for_tests.markers("kind", which=lambda program: f"/usr/bin/{program}") == ""
    assert capsys.readouterr().err == ""


def test_the_local_cluster_brings_what_control_planes_need(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "has_all_programs", lambda: False)
    assert for_tests.markers("local", which=lambda program: None) == ""
