"""The machine's own part: Debian packages, cgroups, and the mounts that a dead cluster has left."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from cluster.paths import search_path
from cluster.processes import end_all
from cluster.progress import ProgramFailed, SetUpFailed, step
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
    # The cluster needs none; README's commands do.
    "curl": "curl",
    "git": "git",
}
# What tests start besides: the trainer's wrapper runs in Pythons that are not CPython 3.11, and reports are looked at.
TEST_PACKAGES = {"pypy3": "pypy3", "pg_lsclusters": "postgresql", "chromium": "chromium"}
APT_FAILED = (
    "The packages above come from Debian: check the network, the sources in /etc/apt and, behind a proxy, "
    "Acquire::http::Proxy in /etc/apt/apt.conf.d (`apt-get update` shows what fails)."
)


def install_packages() -> None:
    """What the cluster and README's commands lack here. SetUpFailed as `install` says."""
    missing = missing_packages(PACKAGES)
    if not (CNI_PLUGINS / "ptp").exists():
        missing.add("containernetworking-plugins")
    if missing:
        if not shutil.which("apt-get"):
            raise SetUpFailed(f"install {', '.join(sorted(missing))}: there is no apt-get here. Or use CLUSTER=kind")
        install(missing)


def missing_packages(programs: Mapping[str, str]) -> set[str]:
    """The packages of those programs that are not here."""
    return {package for program, package in programs.items() if not _which(program)}


def can_install() -> bool:
    """Debian's package manager, and the right to use it."""
    return shutil.which("apt-get") is not None and os.geteuid() == 0


def install(packages: Iterable[str]) -> None:
    """From the distribution. SetUpFailed with what to check when that cannot be reached, or knows no such package."""
    wanted = sorted(packages)
    with step(f"install {' '.join(wanted)}"):
        try:
            _apt_install(wanted)
        except ProgramFailed as failure:
            raise ProgramFailed(f"{failure}\n{APT_FAILED}") from failure


def _apt_install(packages: list[str]) -> None:
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    run(["apt-get", "-qq", "update"], environment=quiet)
    # Debian would start the services at once; ours are our own, beside them.
    policy = Path("/usr/sbin/policy-rc.d")
    is_ours = not policy.exists()
    if is_ours:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        run(["apt-get", "-qq", "install", "-y", "--no-install-recommends", *packages], environment=quiet)
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
