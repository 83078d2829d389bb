"""The machine's own part: Debian packages, cgroups, and the mounts that a dead cluster has left."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from cluster.paths import search_path
from cluster.processes import end_all
from cluster.progress import SetUpFailed, step
from cluster.shell import run

CGROUP = "smalt-node"
BUILD_CGROUP = "smalt-build"
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
    if not (CNI_PLUGINS / "ptp").exists():
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
    return shutil.which(program, path=search_path())


def unmount_below(folder: Path) -> None:
    """Mounts of pods and images that a dead cluster has left, the deepest first."""
    mounts = [line.split()[1].replace("\\040", " ") for line in Path("/proc/mounts").read_text().splitlines()]
    ours = [mount for mount in mounts if mount == str(folder) or mount.startswith(f"{folder}/")]
    for mount in sorted(ours, key=len, reverse=True):
        run(["umount", "--lazy", mount])


def remove_log_links(folder: Path, links: Path = Path("/var/log/containers")) -> None:
    """The kubelet's links to the logs of containers that were ours."""
    for link in links.glob("*.log"):
        if link.is_symlink() and str(link.readlink()).startswith(f"{folder}/"):
            link.unlink()


def make_cgroups(root: Path = Path("/sys/fs/cgroup")) -> None:
    """The kubelet wants its tree to be there, in every hierarchy that the kernel has."""
    if (root / "cgroup.controllers").exists():
        wanted = (root / "cgroup.controllers").read_text().split()
        (root / "cgroup.subtree_control").write_text(" ".join(f"+{each}" for each in wanted))
        (root / CGROUP).mkdir(exist_ok=True)
        return
    for hierarchy in _hierarchies(root):
        tree = hierarchy / CGROUP
        tree.mkdir(exist_ok=True)
        for name in ("cpuset.cpus", "cpuset.mems"):
            # A new cpuset is empty, and nothing can run in it.
            if (hierarchy / name).exists():
                (tree / name).write_text((hierarchy / name).read_text())


def remove_cgroups(root: Path = Path("/sys/fs/cgroup")) -> None:
    """The kubelet's trees and those of image builds, once nothing runs in them; the deepest first."""
    for hierarchy in (root, *_hierarchies(root)):
        for name in (CGROUP, BUILD_CGROUP):
            # A container whose shim was killed has no parent of ours any more; its cgroup still says whose it is.
            end_all([int(pid) for each in (hierarchy / name).rglob("cgroup.procs") for pid in each.read_text().split()])
            for folder, _, _ in os.walk(hierarchy / name, topdown=False):
                Path(folder).rmdir()


def _hierarchies(root: Path) -> set[Path]:
    return {path.resolve() for path in root.iterdir() if path.is_dir()}
