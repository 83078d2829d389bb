"""What this machine lacks, each in a sentence with the command that mends it, before anything is half done."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from cluster import owner
from cluster.controlplane import Ports
from cluster.node import KUBELET_PORT, PROXY_HEALTH_PORT, PROXY_METRICS_PORT
from cluster.paths import cache, search_path, state
from cluster.processes import Process
from cluster.programs import LEAST_GO, PACKAGES, folder_name

LEAST_PYTHON = (3, 11)
LEAST_FREE_GIB = 12
_LISTEN = "0A"
# Of the programs, those that listen where another program may do so already.
PORTS = (
    ("etcd", Ports().etcd),
    ("etcd", Ports().etcd_peer),
    ("kube-apiserver", Ports().api),
    ("kubelet", KUBELET_PORT),
    ("kube-proxy", PROXY_HEALTH_PORT),
    ("kube-proxy", PROXY_METRICS_PORT),
)
_LISTEN = "0A"


def python_troubles() -> Iterator[str]:
    if sys.version_info < LEAST_PYTHON:
        yield f"Python {sys.version.split()[0]} is too old: install Python 3.11 or later, and say PYTHON=python3.11"
    if subprocess.run([sys.executable, "-c", "import ensurepip, venv"], capture_output=True).returncode != 0:
        yield "Python's venv module is missing: `apt-get install python3-venv`, or say PYTHON= of a complete Python"


def cluster_troubles() -> Iterator[str]:
    """For CLUSTER=local."""
    if sys.platform != "linux":
        yield "CLUSTER=local needs Linux: use CLUSTER=kind with Docker"
        return
    if os.geteuid() != 0:
        yield "CLUSTER=local needs root, since it starts a node: run as root, or use CLUSTER=kind with Docker"
    yield from go_troubles()
    other = owner.trouble(state())
    if other:
        yield other
    else:
        yield from port_troubles()
    free = shutil.disk_usage(_existing(cache())).free / 2**30
    if free < LEAST_FREE_GIB:
        yield f"{cache()} has {free:.0f} GiB free, {LEAST_FREE_GIB} are needed: free some, or set SMALT_CACHE to another disk"


def go_troubles(which: Callable[[str], str | None] = shutil.which) -> Iterator[str]:
    """Only when something has to be built."""
    if has_all_programs():
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
    listening = listening_ports()
    for name, number in PORTS:
        if number in listening and not Process(name, state()).pid():
            yield f"port {number}, which {name} needs, is taken: `ss -ltnp sport = :{number}` says by whom"


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


def network_troubles(environment: Mapping[str, str] = os.environ) -> Iterator[str]:
    """Asked for when something has to be fetched, or failed that may have needed it."""
    source = module_source(environment)
    if source is None:
        return  # Go itself is missing, which is told elsewhere
    name, address = source
    try:
        socket.create_connection(address, timeout=5).close()
    except OSError as error:
        yield f"{name} {address[0]}:{address[1]} cannot be reached ({error}): check the network, HTTPS_PROXY and GOPROXY"


def module_source(environment: Mapping[str, str]) -> tuple[str, tuple[str, int]] | None:
    """Where Go modules come from, and through what: what it is called, its host and port. None where nobody knows."""
    sources = environment.get("GOPROXY") or _go_setting("GOPROXY")
    first = next((each for each in re.split(r"[,|]", sources) if "://" in each), None)
    if first is None:
        return None
    source = urlsplit(first)
    proxy = environment.get("HTTPS_PROXY") or environment.get("https_proxy")
    if proxy and source.scheme == "https":
        found = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        return "the proxy", (found.hostname or "", found.port or (443 if found.scheme == "https" else 80))
    return "the Go module proxy", (source.hostname or "", source.port or (80 if source.scheme == "http" else 443))


def _go_setting(name: str) -> str:
    go = shutil.which("go", path=f"{search_path()}:/usr/local/go/bin")
    return subprocess.run([go, "env", name], capture_output=True, text=True).stdout.strip() if go else ""


def has_all_programs() -> bool:
    return all((cache() / "programs" / folder_name(name)).exists() for name in PACKAGES)


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path
