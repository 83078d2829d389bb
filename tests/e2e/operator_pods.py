"""The operator's pods and its Lease, as a fault test looks at them."""

from __future__ import annotations

import time

from demo.kubectl import CommandFailed, Kubectl

LEASE = "smalt-operator"
SELECTOR = "app.kubernetes.io/name=smalt,app.kubernetes.io/component=operator"


def leader(operator: Kubectl) -> str:
    """The pod that holds the Lease now (the holder's identity starts with the pod's name), or "" when nobody does."""
    lease = operator.get("lease", LEASE)
    return str(lease["spec"].get("holderIdentity") or "").split("_")[0]


def wait_for_two(operator: Kubectl, seconds: float = 90) -> None:
    """Both replicas are ready and one of them leads."""
    operator("rollout", "status", "deployment/smalt-operator", f"--timeout={seconds:.0f}s")
    deadline = time.monotonic() + seconds
    while True:
        names = [pod["metadata"]["name"] for pod in operator.get("pods", "-l", SELECTOR)["items"]]
        if leader(operator) in names and len(names) == 2:
            return
        assert time.monotonic() < deadline, f"pods {names}, leader {leader(operator)!r}"
        time.sleep(0.2)


def kill(operator: Kubectl, pod: str) -> None:
    """SIGKILL for the operator's process: deletion without grace, so that nothing is released or finished."""
    operator("delete", "pod", pod, "--grace-period=0", "--force", "--wait=false")


def kill_leader(operator: Kubectl) -> str:
    holder = leader(operator)
    kill(operator, holder)
    return holder


def seconds_to_another_leader(operator: Kubectl, than: str, limit: float) -> float:
    started = time.monotonic()
    while time.monotonic() - started < limit:
        try:
            now = leader(operator)
        except CommandFailed:
            now = ""
        if now and now != than:
            return time.monotonic() - started
        time.sleep(0.05)
    raise AssertionError(f"{than} is still the leader after {limit:.0f} s")
