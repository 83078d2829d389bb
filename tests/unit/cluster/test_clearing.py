"""What a cluster clears away is its own, and nothing beside it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cluster import host, network, processes
from cluster.local import LocalCluster


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
