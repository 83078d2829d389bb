"""What is missing is said in a sentence, with what mends it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cluster import doctor, owner, virtualenv
from cluster.paths import REPOSITORY
from cluster.processes import Process
from cluster.programs import LEAST_GO
from cluster.progress import SetUpFailed
from support.run_pod import wait_until


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SMALT_CACHE", str(tmp_path))
    return tmp_path


def test_without_go_it_says_where_go_is() -> None:
    assert list(doctor.go_troubles(which=lambda name: None)) == [
        "Go is missing: install Go 1.24 or later from https://go.dev/dl and put it on PATH"
    ]


@pytest.mark.parametrize(("said", "troubles"), [("go1.19.8", 1), ("go1.24.0", 0), ("go1.26.8", 0), ("go2.0", 0)])
def test_go_may_not_be_older_than_the_modules(tmp_path: Path, said: str, troubles: int) -> None:
    go = tmp_path / "go"
    go.write_text(f"#!/bin/sh\necho go version {said} linux/amd64\n")
    go.chmod(0o755)
    assert len(list(doctor.go_troubles(which=lambda name: str(go)))) == troubles


def test_go_is_not_asked_for_when_everything_is_built(empty_cache: Path) -> None:
    for name in doctor.PACKAGES:
        (empty_cache / "programs" / doctor.folder_name(name)).mkdir(parents=True)
    assert list(doctor.go_troubles(which=lambda name: None)) == []


def test_an_old_python_is_named_with_the_way_to_choose_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(virtualenv, "LEAST_PYTHON", (99, 0))
    [trouble] = doctor.python_troubles()
    assert sys.version.split()[0] in trouble
    assert "PYTHON=" in trouble


def test_a_python_without_venv_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.sys, "executable", "/bin/false")
    assert [each for each in doctor.python_troubles() if f"apt-get install {virtualenv.venv_package()}" in each]


def test_who_is_not_root_is_told_of_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.os, "geteuid", lambda: 1000)
    assert [each for each in doctor.cluster_troubles() if "needs root" in each and "CLUSTER=kind" in each]


def test_a_full_disk_is_named_with_the_way_to_choose_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LEAST_FREE_GIB", 10**6)
    assert [each for each in doctor.cluster_troubles() if "GiB free" in each and "SMALT_CACHE" in each]


def test_a_taken_port_is_named_with_who_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "listening_ports", lambda: {26443})
    assert list(doctor.port_troubles()) == [
        "port 26443, which kube-apiserver needs, is taken: `ss -ltnp sport = :26443` says by whom"
    ]


def test_only_listening_sockets_take_a_port(tmp_path: Path) -> None:
    table = tmp_path / "tcp"
    table.write_text(
        "  sl  local_address rem_address   st\n"
        "   0: 0100007F:674B 00000000:0000 0A 00000000:00000000\n"
        "   1: 0100007F:5CEE 0100007F:9C40 06 00000000:00000000\n"
    )
    assert doctor.listening_ports((str(table),)) == {26443}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"GOPROXY": "https://modules.example/go,direct"}, ("the Go module proxy", "modules.example", 443)),
        ({"GOPROXY": "http://modules.example:8081|direct"}, ("the Go module proxy", "modules.example", 8081)),
        (
            {"GOPROXY": "https://modules.example", "HTTPS_PROXY": "proxy.example:3128"},
            ("the proxy", "proxy.example", 3128),
        ),
        (
            {"GOPROXY": "http://modules.example", "HTTPS_PROXY": "proxy.example:3128"},
            ("the Go module proxy", "modules.example", 80),
        ),
    ],
)
def test_the_network_is_asked_for_where_modules_come_from(
    environment: dict[str, str], expected: tuple[str, str, int]
) -> None:
    source = doctor.module_source(environment)
    assert source is not None
    assert source[:3] == expected


def test_the_network_is_asked_for_where_packages_come_from() -> None:
    source = doctor.package_index({"PIP_INDEX_URL": "https://somebody:secret@index.example:8443/simple"})
    assert source is not None
    assert source[:3] == ("the Python package index", "index.example", 8443)


@pytest.mark.slow
def test_pip_itself_knows_where_packages_come_from_when_no_variable_says_it() -> None:
    source = doctor.package_index({})
    assert source is not None
    assert source.host


def test_sources_that_cannot_be_reached_are_a_sentence_each() -> None:
    here = "http://127.0.0.1:1"
    index, modules = doctor.network_troubles({"GOPROXY": here, "PIP_INDEX_URL": f"{here}/simple"})
    assert index.startswith("the Python package index 127.0.0.1:1 cannot be reached (")
    assert index.endswith("): check the network, HTTPS_PROXY and PIP_INDEX_URL")
    assert modules.startswith("the Go module proxy 127.0.0.1:1 cannot be reached (")
    assert modules.endswith("): check the network, HTTPS_PROXY and GOPROXY")


def test_a_proxy_that_is_on_the_way_to_both_is_named_once() -> None:
    there = "https://source.example"
    environment = {"GOPROXY": there, "PIP_INDEX_URL": there, "HTTPS_PROXY": "http://127.0.0.1:1"}
    [trouble] = doctor.network_troubles(environment)
    assert trouble.startswith("the proxy 127.0.0.1:1 cannot be reached")


def test_readme_asks_for_what_the_doctor_asks_for() -> None:
    readme = (REPOSITORY / "README.md").read_text()
    assert f"Go {LEAST_GO[0]}.{LEAST_GO[1]} or later" in readme
    assert f"{doctor.LEAST_FREE_GIB} GiB" in readme


def test_the_second_cluster_is_told_who_has_the_machine(tmp_path: Path) -> None:
    record, first, second = tmp_path / "record", tmp_path / "first/cluster", tmp_path / "second/cluster"
    owner.claim(first, record)
    owner.claim(first, record)
    etcd = Process("etcd", first)
    etcd.start(["sleep", "60"])
    try:
        with pytest.raises(SetUpFailed, match=f"SMALT_CACHE={first.parent} make down"):
            owner.claim(second, record)
        assert owner.left_behind(second, record) is None
    finally:
        etcd.stop()


def test_a_cluster_whose_processes_are_gone_does_not_keep_the_machine(tmp_path: Path) -> None:
    record, first, second = tmp_path / "record", tmp_path / "first/cluster", tmp_path / "second/cluster"
    owner.claim(first, record)
    gone = Process("etcd", first)
    gone.start(["true"])
    wait_until(lambda: gone.pid() is None, "it has ended")
    assert owner.left_behind(second, record) == first and owner.left_behind(first, record) is None
    owner.claim(second, record)
    assert owner.owner(record) == second


def test_a_cluster_whose_folder_is_gone_does_not_keep_the_machine(tmp_path: Path) -> None:
    record, first, second = tmp_path / "record", tmp_path / "first", tmp_path / "second"
    owner.claim(first, record)
    first.rmdir()
    owner.claim(second, record)
    assert owner.owner(record) == second
