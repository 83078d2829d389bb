"""The machine's own part: Debian packages, a bridge for the node's address, and what a dead cluster has left."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

from cluster.controlplane import SERVICE_RANGE
from cluster.progress import SetUpFailed, step
from cluster.shell import run, succeeds

BRIDGE = "smalt0"
NODE_IP = "10.89.0.1"
POD_BRIDGE = "smalt1"
POD_RANGE = "10.88.0.0/16"
CGROUP = "smalt-node"
CNI_PLUGINS = Path("/usr/lib/cni")
# Program to look for, and the Debian package that brings it.
PACKAGES = {
    "etcd": "etcd-server",
    "containerd": "containerd",
    "runc": "runc",
    "dockerd": "docker.io",
    "docker": "docker.io",
    "nft": "nftables",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "ip": "iproute2",
    "mount": "mount",
    "socat": "socat",
    "debootstrap": "debootstrap",
    "openssl": "openssl",
}


def install_packages() -> None:
    """What is missing, from the distribution. SetUpFailed when that is not Debian's, or there is no network."""
    missing = {package for program, package in PACKAGES.items() if not _which(program)}
    if not (CNI_PLUGINS / "bridge").exists():
        missing.add("containernetworking-plugins")
    if not missing:
        return
    if not shutil.which("apt-get"):
        raise SetUpFailed(f"install {', '.join(sorted(missing))}: there is no apt-get here. Or use CLUSTER=kind")
    with step(f"install {' '.join(sorted(missing))}"):
        quiet = {"DEBIAN_FRONTEND": "noninteractive"}
        run(["apt-get", "-qq", "update"], environment=quiet)
        # Debian would start the services at once; ours are our own, beside them.
        policy = Path("/usr/sbin/policy-rc.d")
        is_ours = not policy.exists()
        if is_ours:
            policy.write_text("#!/bin/sh\nexit 101\n")
            policy.chmod(0o755)
        try:
            run(["apt-get", "-qq", "install", "-y", "--no-install-recommends", *sorted(missing)], environment=quiet)
        finally:
            if is_ours:
                policy.unlink()


def _which(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def network_up() -> None:
    """An address for the node that is not loopback, and Services' packets kept on this machine."""
    if not succeeds(["ip", "link", "show", BRIDGE]):
        run(["ip", "link", "add", BRIDGE, "type", "bridge"])
    if f"{NODE_IP}/24" not in run(["ip", "addr", "show", BRIDGE]):
        run(["ip", "addr", "add", f"{NODE_IP}/24", "dev", BRIDGE])
    run(["ip", "link", "set", BRIDGE, "up"])
    run(["ip", "route", "replace", SERVICE_RANGE, "dev", BRIDGE])
    # Before dockerd, which would otherwise set the policy of forwarding to DROP.
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def services_answer() -> bool:
    """kube-proxy has written its rules."""
    return succeeds(["nft", "list", "table", "ip", "kube-proxy"])


def network_down() -> None:
    for link in (BRIDGE, POD_BRIDGE):
        if succeeds(["ip", "link", "show", link]):
            run(["ip", "link", "delete", link])
    for family in ("ip", "ip6"):
        if succeeds(["nft", "list", "table", family, "kube-proxy"]):
            run(["nft", "delete", "table", family, "kube-proxy"])
    _forget_masquerading()


def _forget_masquerading() -> None:
    """The CNI bridge plugin leaves a chain for each pod that it was not asked to remove."""
    saved = run(["iptables-save", "-t", "nat"], check=False)
    chains = {line.split()[0][1:] for line in saved.splitlines() if line.startswith(":CNI-")}
    for line in saved.splitlines():
        if line.startswith("-A POSTROUTING") and any(f"-j {chain}" in line for chain in chains) and "10.88." in line:
            run(["iptables", "-t", "nat", "-D", *shlex.split(line)[1:]], check=False)
    for chain in chains:
        run(["iptables", "-t", "nat", "-F", chain], check=False)
        run(["iptables", "-t", "nat", "-X", chain], check=False)


def unmount_below(folder: Path) -> None:
    """Mounts of pods and images that a dead cluster has left, the deepest first."""
    mounts = [line.split()[1].replace("\\040", " ") for line in Path("/proc/mounts").read_text().splitlines()]
    ours = [mount for mount in mounts if mount == str(folder) or mount.startswith(f"{folder}/")]
    for mount in sorted(ours, key=len, reverse=True):
        run(["umount", "--lazy", mount], check=False)


def network_namespaces() -> list[str]:
    """Those that CNI made for pods."""
    folder = Path("/run/netns")
    return sorted(path.name for path in folder.glob("cni-*")) if folder.exists() else []


def remove_network_namespaces() -> None:
    for name in network_namespaces():
        run(["ip", "netns", "delete", name], check=False)


def make_cgroups() -> None:
    """The kubelet wants its tree to be there, in every hierarchy that the kernel has."""
    root = Path("/sys/fs/cgroup")
    if (root / "cgroup.controllers").exists():
        (root / CGROUP).mkdir(exist_ok=True)
        return
    for hierarchy in {path.resolve() for path in root.iterdir() if path.is_dir()}:
        tree = hierarchy / CGROUP
        tree.mkdir(exist_ok=True)
        for name in ("cpuset.cpus", "cpuset.mems"):
            # A new cpuset is empty, and nothing can run in it.
            if (hierarchy / name).exists():
                (tree / name).write_text((hierarchy / name).read_text())


def remove_cgroups() -> None:
    """The kubelet's trees, once nothing runs in them; the deepest first."""
    root = Path("/sys/fs/cgroup")
    trees = [root / CGROUP, *root.glob(f"*/{CGROUP}")]
    for tree in trees:
        if tree.exists():
            for folder, _, _ in os.walk(tree, topdown=False):
                run(["rmdir", folder], check=False)
