"""What this machine lacks, each in a sentence with the command that mends it, before anything is half done."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from cluster.controlplane import Ports
from cluster.paths import cache, state
from cluster.processes import Process
from cluster.programs import LEAST_GO, PACKAGES, folder_name

LEAST_PYTHON = (3, 11)
LEAST_FREE_GIB = 12
_LISTEN = "0A"


def python_troubles() -> Iterator[str]:
    if sys.version_info < LEAST_PYTHON:
        yield f"Python {sys.version.split()[0]} is too old: install Python 3.11 or later, and say PYTHON=python3.11"
    if subprocess.run([sys.executable, "-c", "import ensurepip, venv"], capture_output=True).returncode != 0:
        yield "Python's venv module is missing: apt-get install python3-venv"


def cluster_troubles() -> Iterator[str]:
    """For CLUSTER=local."""
    if sys.platform != "linux":
        yield "CLUSTER=local needs Linux: use CLUSTER=kind with Docker"
        return
    if os.geteuid() != 0:
        yield "CLUSTER=local needs root, since it starts a node: run as root, or use CLUSTER=kind with Docker"
    yield from go_troubles()
    yield from port_troubles()
    free = shutil.disk_usage(_existing(cache())).free / 2**30
    if free < LEAST_FREE_GIB:
        yield f"{cache()} has {free:.0f} GiB free, {LEAST_FREE_GIB} are needed: free some, or set SMALT_CACHE to another disk"


def go_troubles(which: Callable[[str], str | None] = shutil.which) -> Iterator[str]:
    """Only when something has to be built."""
    if all((cache() / "programs" / folder_name(name)).exists() for name in PACKAGES):
        return
    go = which("go") or which("/usr/local/go/bin/go")
    if go is None:
        yield "Go is missing: install Go 1.24 or later from https://go.dev/dl and put it on PATH"
        return
    said = subprocess.run([go, "version"], capture_output=True, text=True).stdout
    found = re.search(r"go(\d+)\.(\d+)", said)
    if found and (int(found[1]), int(found[2])) < LEAST_GO:
        yield f"{said.strip()} is too old: install Go 1.24 or later from https://go.dev/dl"


def port_troubles() -> Iterator[str]:
    """Ports that somebody else holds; our own cluster's do not count."""
    ports, listening = Ports(), listening_ports()
    for name, number in (("etcd", ports.etcd), ("kube-apiserver", ports.api)):
        if Process(name, state()).pid():
            continue
        if number in listening:
            yield f"port {number} on 127.0.0.1, which {name} needs, is taken: `ss -ltnp sport = :{number}` says by whom"


def listening_ports(tables: tuple[str, ...] = ("/proc/net/tcp", "/proc/net/tcp6")) -> set[int]:
    """Ports that somebody listens on, as the kernel lists them; connections that are still closing do not count."""
    found = set()
    for table in tables:
        path = Path(table)
        for line in path.read_text().splitlines()[1:] if path.exists() else []:
            words = line.split()
            if words[3] == _LISTEN:
                found.add(int(words[1].rpartition(":")[2], 16))
    return found


def network_troubles() -> Iterator[str]:
    """Only asked for when something failed that needs the network."""
    try:
        socket.getaddrinfo("pypi.org", 443)
    except OSError:
        yield "no name can be resolved: check the network and /etc/resolv.conf, and HTTPS_PROXY if there is a proxy"


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path
