"""What a cluster clears away is its own, and nothing beside it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cluster import host, kernel, network, processes
from cluster.local import LocalCluster, locked
from cluster.paths import REPOSITORY


def test_only_our_pods_are_forgotten(tmp_path: Path) -> None:
    for name, content in {
        "smalt-aa-eth0": {"networkName": "smalt", "containerId": "aa"},
        "cni-loopback-aa-lo": {"networkName": "cni-loopback", "containerId": "aa"},
        "smalt-other-bb-eth0": {"networkName": "smalt-other", "containerId": "bb"},
        "cni-loopback-bb-lo": {"networkName": "cni-loopback", "containerId": "bb"},
    }.items():
        (tmp_path / name).write_text(json.dumps(content))
    network.forget_pods(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cni-loopback-bb-lo", "smalt-other-bb-eth0"]


def test_only_links_to_our_logs_are_removed(tmp_path: Path) -> None:
    state, links = tmp_path / "state", tmp_path / "links"
    links.mkdir()
    (links / "ours.log").symlink_to(state / "pod-logs/a/0.log")
    (links / "neighbour.log").symlink_to(tmp_path / "state-2/pod-logs/a/0.log")
    (links / "file.log").write_text("")
    host.remove_log_links(state, links)
    assert sorted(path.name for path in links.iterdir()) == ["file.log", "neighbour.log"]


def test_every_controller_is_handed_to_the_node_in_the_unified_hierarchy(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu memory pids\n")
    (tmp_path / "cgroup.subtree_control").write_text("")
    host.make_cgroups(tmp_path)
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+cpuset +cpu +memory +pids"
    assert (tmp_path / host.CGROUP).is_dir()


def test_a_new_cpuset_gets_what_its_parent_has(tmp_path: Path) -> None:
    for hierarchy in ("cpuset", "memory"):
        (tmp_path / hierarchy).mkdir()
    (tmp_path / "cpuset/cpuset.cpus").write_text("0-1")
    host.make_cgroups(tmp_path)
    assert (tmp_path / "cpuset" / host.CGROUP / "cpuset.cpus").read_text() == "0-1"
    assert (tmp_path / "memory" / host.CGROUP).is_dir()


def test_cgroups_of_others_stay(tmp_path: Path) -> None:
    for name in (f"{host.CGROUP}/kubepods/pod1", f"{host.BUILD_CGROUP}/a", "docker/a"):
        (tmp_path / "memory" / name).mkdir(parents=True)
    host.remove_cgroups(tmp_path)
    assert sorted(path.name for path in (tmp_path / "memory").iterdir()) == ["docker"]


def test_a_process_is_ours_by_program_and_whole_word(tmp_path: Path) -> None:
    ours, longer = str(tmp_path / "socket"), str(tmp_path / "socket.other")
    code = "import sys; sys.stdin.read()"
    with (
        subprocess.Popen([sys.executable, "-c", code, ours], stdin=subprocess.PIPE) as first,
        subprocess.Popen([sys.executable, "-c", code, longer], stdin=subprocess.PIPE) as second,
    ):
        assert processes.naming(ours, "python") == [first.pid]
        assert processes.naming(ours, "containerd-shim") == []
        processes.end_all([first.pid])
        assert second.poll() is None
        second.kill()


def test_a_pid_that_has_gone_to_another_is_not_ours(tmp_path: Path) -> None:
    process = processes.Process("etcd", tmp_path)
    (tmp_path / "pids").mkdir()
    (tmp_path / "pids/etcd").write_text(f"{os.getpid()} 1")
    assert process.pid() is None


@pytest.mark.parametrize("record", ["", "not numbers at all here", "1"])
def test_a_torn_pid_file_is_no_process(tmp_path: Path, record: str) -> None:
    (tmp_path / "pids").mkdir()
    (tmp_path / "pids/etcd").write_text(record)
    assert processes.Process("etcd", tmp_path).pid() is None


def test_what_is_evaluated_by_a_shell_builds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMALT_CACHE", str(tmp_path))
    found = LocalCluster().environment()
    assert found["PATH"].endswith(":$PATH")
    assert not (tmp_path / "programs").exists()


def kernel_settings(folder: Path, **changed: str) -> Path:
    """A kernel that has not loaded what tracks connections."""
    for name in kernel.CHANGED:
        if "conntrack" not in name:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(changed.get(Path(name).name, "0") + "\n")
    return folder


def test_what_a_cluster_sets_in_the_kernel_is_set_back(tmp_path: Path) -> None:
    record, settings = tmp_path / "record", kernel_settings(tmp_path / "sys", panic="5")
    before = kernel.values(settings)
    kernel.remember(record, settings)
    kernel_settings(settings, ip_forward="1", panic="10")
    # A repair finds what the cluster has set.
    kernel.remember(record, settings)
    kernel.restore(record, settings)
    assert kernel.values(settings) == before
    assert not record.exists()


def test_a_setting_that_nobody_changed_is_not_written(tmp_path: Path) -> None:
    record, settings = tmp_path / "record", kernel_settings(tmp_path / "sys")
    kernel.remember(record, settings)
    written = {name: (settings / name).stat().st_mtime_ns for name in kernel.values(settings)}
    kernel.restore(record, settings)
    assert {name: (settings / name).stat().st_mtime_ns for name in written} == written


def test_without_a_record_nothing_is_set_back(tmp_path: Path) -> None:
    settings = kernel_settings(tmp_path / "sys", ip_forward="1")
    kernel.restore(tmp_path / "record", settings)
    assert kernel.values(settings)[kernel.FORWARDING] == "1"


def test_who_comes_second_is_told_who_holds_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SMALT_CACHE", str(tmp_path))
    entered = threading.Event()

    def come_second() -> None:
        with locked():
            entered.set()

    second = threading.Thread(target=come_second)
    with locked():
        second.start()
        said, deadline = "", time.monotonic() + 10
        while "waiting" not in said and time.monotonic() < deadline:
            said += capsys.readouterr().out
            time.sleep(0.01)
        assert said == f"waiting for process {os.getpid()} in {REPOSITORY}, which is setting the cluster up\n"
        assert not entered.is_set()
    assert entered.wait(10)
    second.join()
