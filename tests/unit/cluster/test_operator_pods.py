"""How fault tests kill the operator and know its successor, without a cluster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from demo.kubectl import Kubectl
from e2e import operator_pods

Json = dict[str, Any]


class Told(Kubectl):
    """A kubectl that answers from a table and writes down what else it was told."""

    def __init__(self, **answers: Json) -> None:
        super().__init__({}, "smalt-system")
        self.answers = answers
        self.told: list[str] = []

    def __call__(self, *arguments: str, stdin: str | None = None) -> str:
        if arguments[0] == "get":
            return json.dumps(self.answers[arguments[1]])
        self.told.append(" ".join(arguments))
        return ""


def lease(holder: str) -> Json:
    return {"spec": {"holderIdentity": holder}}


def pod(state: str, container: str = "containerd://c0ffee") -> Json:
    return {"status": {"containerStatuses": [{"containerID": container, "state": {state: {}}}]}}


@pytest.fixture
def ctr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """containerd's client, which only writes down what it is asked for."""
    log, program = tmp_path / "ctr.log", tmp_path / "ctr"
    log.write_text("")
    program.write_text(f'#!/bin/sh\necho "$*" >> {log}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("SMALT_CACHE", str(tmp_path))
    return log


def test_on_the_local_node_the_containers_process_is_killed(
    tmp_path: Path, ctr: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLUSTER", "local")
    operator = Told(lease=lease("smalt-operator-a_1234"), pod=pod("running"))
    assert operator_pods.kill_leader(operator) == "smalt-operator-a_1234"
    socket = tmp_path / "cluster/containerd.sock"
    assert ctr.read_text() == f"--address {socket} --namespace k8s.io tasks kill --signal SIGKILL c0ffee\n"
    assert operator.told == []


def test_on_anothers_node_the_pod_is_deleted_by_force(ctr: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLUSTER", "kind")
    operator = Told(lease=lease("smalt-operator-a_1234"))
    operator_pods.kill_leader(operator)
    assert operator.told == ["delete pod smalt-operator-a --grace-period=0 --force --wait=false"]
    assert ctr.read_text() == ""


def test_a_container_between_two_lives_is_not_killed_again(ctr: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLUSTER", "local")
    with pytest.raises(AssertionError, match="has no running container"):
        operator_pods.kill(Told(pod=pod("waiting")), "smalt-operator-a")
    assert ctr.read_text() == ""


def test_a_container_that_started_again_is_another_leader() -> None:
    found, _ = operator_pods.another_leader(Told(lease=lease("smalt-operator-a_5678")), "smalt-operator-a_1234", 1)
    assert found == "smalt-operator-a_5678"


@pytest.mark.parametrize("holder", ["smalt-operator-a_1234", ""])
def test_neither_the_one_that_was_killed_nor_nobody_is_another_leader(holder: str) -> None:
    with pytest.raises(AssertionError, match="still the leader"):
        operator_pods.another_leader(Told(lease=lease(holder)), "smalt-operator-a_1234", 0.1)
