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
from typing import NamedTuple
from urllib.parse import urlsplit

from cluster import owner, pip, virtualenv
from cluster.controlplane import Ports
from cluster.node import KUBELET_PORT, PROXY_HEALTH_PORT, PROXY_METRICS_PORT
from cluster.paths import REPOSITORY, cache, search_path, state
from cluster.processes import Process
from cluster.programs import LEAST_GO, PACKAGES, folder_name

LEAST_FREE_GIB = 12
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
    """What would keep `make setup` from making a virtualenv, or what it would have to install for that."""
    trouble = virtualenv.version_trouble()
    if trouble:
        yield trouble
    if not virtualenv.has_venv():
        yield virtualenv.venv_trouble()


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


class Source(NamedTuple):
    """Something that the set-up fetches from, or the proxy on the way there."""

    name: str
    host: str
    port: int
    check: str


def network_troubles(environment: Mapping[str, str] = os.environ) -> Iterator[str]:
    """Asked for when something has to be fetched, or failed that may have needed it."""
    # Where nobody knows a source, what it is for is missing, which is told elsewhere.
    sources = dict.fromkeys(each for each in (package_index(environment), module_source(environment)) if each)
    for source in sources:
        try:
            socket.create_connection((source.host, source.port), timeout=5).close()
        except OSError as error:
            yield f"{source.name} {source.host}:{source.port} cannot be reached ({error}): check {source.check}"


def module_source(environment: Mapping[str, str]) -> Source | None:
    """Where Go modules come from."""
    addresses = environment.get("GOPROXY") or _go_setting("GOPROXY")
    first = next((each for each in re.split(r"[,|]", addresses) if "://" in each), None)
    return _on_the_way("the Go module proxy", first, "GOPROXY", environment) if first else None


def package_index(environment: Mapping[str, str]) -> Source | None:
    """Where Python packages come from."""
    address = environment.get("PIP_INDEX_URL") or _pip_index()
    return _on_the_way("the Python package index", address, "PIP_INDEX_URL", environment) if address else None


def _on_the_way(name: str, address: str, variable: str, environment: Mapping[str, str]) -> Source:
    source = urlsplit(address)
    proxy = environment.get("HTTPS_PROXY") or environment.get("https_proxy")
    if proxy and source.scheme == "https":
        found = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        port = found.port or (443 if found.scheme == "https" else 80)
        return Source("the proxy", found.hostname or "", port, "the network and HTTPS_PROXY")
    port = source.port or (80 if source.scheme == "http" else 443)
    return Source(name, source.hostname or "", port, f"the network, HTTPS_PROXY and {variable}")


def _go_setting(name: str) -> str:
    go = shutil.which("go", path=f"{search_path()}:/usr/local/go/bin")
    return subprocess.run([go, "env", name], capture_output=True, text=True).stdout.strip() if go else ""


def _pip_index() -> str:
    """What pip would ask, its configuration files and its default included; empty where there is no pip."""
    for python in (REPOSITORY / ".venv/bin/python", Path(sys.executable)):
        found = pip.settings(python).get("index_url")
        if found:
            return str(found)
    return ""


def has_all_programs() -> bool:
    return all((cache() / "programs" / folder_name(name)).exists() for name in PACKAGES)


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path
