"""The operator's pods and its Lease, as a fault test looks at them."""

from __future__ import annotations

import os
import time
from typing import Any

from cluster.local import LocalCluster
from cluster.shell import run
from demo.kubectl import CommandFailed, Kubectl

LEASE = "smalt-operator"
SELECTOR = "app.kubernetes.io/name=smalt,app.kubernetes.io/component=operator"
CONTAINERD = "containerd://"


def holder(operator: Kubectl) -> str:
    """The process that holds the Lease now, or "" when none does. A container that starts again is another process."""
    return str(operator.get("lease", LEASE)["spec"].get("holderIdentity") or "")


def pod_of(holder: str) -> str:
    """A holder's identity is its pod's name and a random part."""
    return holder.split("_")[0]


def leader(operator: Kubectl) -> str:
    """The pod of the process that holds the Lease now, or "" when nobody does."""
    return pod_of(holder(operator))


def wait_for_two(operator: Kubectl, seconds: float = 90) -> None:
    """Both replicas are ready and one of them leads."""
    operator("rollout", "status", "deployment/smalt-operator", f"--timeout={seconds:.0f}s")
    deadline = time.monotonic() + seconds
    while True:
        pods = operator.get("pods", "-l", SELECTOR)["items"]
        names = [pod["metadata"]["name"] for pod in pods]
        if leader(operator) in names and len(names) == 2 and all(container_id(pod) for pod in pods):
            return
        assert time.monotonic() < deadline, f"pods {names}, leader {leader(operator)!r}"
        time.sleep(0.2)


def container_id(pod: dict[str, Any]) -> str:
    """Of the container that runs now; "" between two lives of it."""
    [status] = pod.get("status", {}).get("containerStatuses") or [{}]
    return str(status["containerID"]) if "running" in status.get("state", {}) else ""


def kill(operator: Kubectl, pod: str) -> None:
    """SIGKILL for the operator's process, so that nothing is released or finished."""
    if (os.environ.get("CLUSTER") or "local") != "local":
        # Another's node: the nearest there is, though the kubelet sends SIGTERM first.
        operator("delete", "pod", pod, "--grace-period=0", "--force", "--wait=false")
        return
    running = container_id(operator.get("pod", pod))
    assert running.startswith(CONTAINERD), f"pod {pod} has no running container of containerd's: {running!r}"
    run(LocalCluster().node.ctr("tasks", "kill", "--signal", "SIGKILL", running.removeprefix(CONTAINERD)))


def kill_leader(operator: Kubectl) -> str:
    """Which process that was."""
    killed = holder(operator)
    kill(operator, pod_of(killed))
    return killed


def another_leader(operator: Kubectl, than: str, limit: float) -> tuple[str, float]:
    """The next process that holds the Lease, and after how many seconds it did."""
    started = time.monotonic()
    while time.monotonic() - started < limit:
        try:
            now = holder(operator)
        except CommandFailed:
            now = ""
        if now and now != than:
            return now, time.monotonic() - started
        time.sleep(0.05)
    raise AssertionError(f"{than} is still the leader after {limit:.0f} s")
