"""The local cluster itself: killed and repaired, ended without a trace, and started again. Last, by its name."""

from __future__ import annotations

import ipaddress
import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from cluster import kernel, owner
from cluster.controlplane import SERVICE_RANGE
from cluster.host import BUILD_CGROUP, CGROUP
from cluster.local import LocalCluster
from cluster.network import CNI_NETWORK, CNI_RECORDS, NODE_BRIDGE, NODE_IP, POD_RANGE
from cluster.node import PAUSE
from cluster.paths import cache, search_path, state
from cluster.processes import end_all
from demo.kubectl import REPOSITORY
from e2e.cluster_namespace import Json, Namespace, fresh_namespace

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        (os.environ.get("CLUSTER") or "local") != "local", reason="only the local cluster is ours to end"
    ),
]
NETWORKS = [ipaddress.ip_network(each, strict=False) for each in (POD_RANGE, SERVICE_RANGE, f"{NODE_IP}/24")]
LOGS = Path("/var/log/containers")


@pytest.fixture
def namespace(environment: dict[str, str]) -> Iterator[Namespace]:
    """On the cluster as it is, whether or not Smalt is installed."""
    yield from fresh_namespace(environment)


def test_up_repairs_a_cluster_whose_processes_were_killed(namespace: Namespace) -> None:
    namespace.apply(pod("before"), note())
    first = namespace.until("pod", "before", is_running, 60)
    written = namespace.get("configmap", "note")
    cluster = LocalCluster()
    pids = [pid for process in cluster.processes() if (pid := process.pid())]
    assert len(pids) == len(cluster.processes()), cluster.status()
    # What containerd runs stays as it is: its shims are nobody's children.
    end_all(pids)
    make("up")
    assert cluster.is_up(), cluster.status()
    assert namespace.get("configmap", "note")["metadata"]["uid"] == written["metadata"]["uid"]
    # Its container is another one: that of before was not watched by anybody any more.
    namespace.until("pod", "before", lambda it: is_running(it) and container(it) != container(first), 90)
    namespace.apply(pod("after"))
    namespace.until("pod", "after", is_running, 60)


def test_down_leaves_nothing_and_up_works_again(environment: dict[str, str], namespace: Namespace) -> None:
    namespace.apply(pod("here"))
    namespace.until("pod", "here", is_running, 60)
    unseen = [what for what, found in traces().items() if not found]
    # Rules are added only where another Docker forbids forwarding.
    assert set(unseen) <= {"forwarding rules"}, "of a cluster that is up something should be seen"
    before = kernel.remembered()
    assert before, "what the cluster has changed in the kernel should be written down"
    try:
        make("down")
        assert {what: found for what, found in traces().items() if found} == {}
        assert {name: value for name, value in kernel.values().items() if name in before} == before
        assert kernel.remembered() == {}
    finally:
        make("up")
        make("images")
    for other in fresh_namespace(environment):
        other.apply(pod("anew"))
        other.until("pod", "anew", is_running, 60)


def make(target: str) -> None:
    finished = subprocess.run(["make", target], cwd=REPOSITORY, capture_output=True, text=True, timeout=280)
    assert finished.returncode == 0, finished.stdout + finished.stderr


def pod(name: str) -> Json:
    """One that does nothing for ever, from the one image that every node of ours has."""
    security = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    image = {"image": f"docker.io/{PAUSE}", "imagePullPolicy": "Never"}
    spec = {"terminationGracePeriodSeconds": 0, "containers": [{"name": "pause", "securityContext": security, **image}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def note() -> Json:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "note"}, "data": {"written": "before"}}


def is_running(found: Json) -> bool:
    conditions = found.get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def container(found: Json) -> str:
    return str(found["status"]["containerStatuses"][0]["containerID"])


def traces() -> dict[str, list[str]]:
    """What can be seen of the cluster on this machine, by kind."""
    links = [line.split()[1].rstrip(":") for line in said("ip", "-oneline", "link")]
    ours = [line.split()[1] for line in said("ip", "-oneline", "-4", "address") if is_ours(line)]
    return {
        "pid files": names((state() / "pids").iterdir()),
        "processes": commands_with(f"{state()}/"),
        "mounts": [line for line in Path("/proc/mounts").read_text().splitlines() if f" {cache()}/" in line],
        "interfaces": [*ours, *(link for link in links if link == NODE_BRIDGE)],
        "routes": [line for line in said("ip", "route") if is_ours(line)],
        "tables": [line for line in said("nft", "list", "tables") if line.split()[-1] in ("smalt", "kube-proxy")],
        "forwarding rules": [line for line in said("iptables-save", "-t", "filter") if is_ours(line)],
        "cgroups": [str(path) for name in (CGROUP, BUILD_CGROUP) for path in Path("/sys/fs/cgroup").glob(f"**/{name}")],
        "networks of pods": names(CNI_RECORDS.glob(f"{CNI_NETWORK}-*")),
        "links to logs": [link.name for link in LOGS.glob("*.log") if str(link.readlink()).startswith(f"{state()}/")],
        "state": sorted(set(names(state().iterdir())) - {"logs", "pids"}),
        "owner": [str(found) for found in [owner.owner()] if found],
    }


def names(paths: Iterable[Path]) -> list[str]:
    return sorted(path.name for path in paths)


def said(*command: str) -> list[str]:
    environment = os.environ | {"PATH": search_path()}
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout.splitlines()


def is_ours(line: str) -> bool:
    """An address in it is a pod's, a Service's or the node's."""
    found = [ipaddress.ip_address(each) for each in re.findall(r"\b\d+\.\d+\.\d+\.\d+\b", line)]
    return any(address in network for address in found for network in NETWORKS)


def commands_with(text: str) -> list[str]:
    """Programs with this in their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue  # it has ended while we looked
            if any(text in word for word in words):
                found.append(f"{entry.name} {words[0]}")
    return found
