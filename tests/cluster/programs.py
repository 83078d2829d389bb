"""Kubernetes' own programs, built from Go modules once and kept by content."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from cluster.paths import HERE, cache
from cluster.progress import SetUpFailed, counter, step
from cluster.shell import follow, run

KUBERNETES_VERSION = "v1.36.3"
_KUBERNETES = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl")
# One module for all that can be: what they share, Kubernetes' client the most of it, is compiled once.
PACKAGES = {
    "cluster": (*(f"k8s.io/kubernetes/cmd/{name}" for name in _KUBERNETES), "./coredns", "./pause"),
    # Imports a library by a name that differs from Kubernetes' in case alone, which one module cannot hold. Its other
    # modules have the same versions, so that what is compiled for the cluster serves here too.
    "local-path-provisioner": ("github.com/rancher/local-path-provisioner",),
    # No part of the cluster: a real S3 server, which tests start on loopback.
    "versitygw": ("github.com/versity/versitygw/cmd/versitygw",),
    # Nor this: a real registry of images, likewise.
    "registry": ("github.com/distribution/distribution/v3/cmd/registry",),
}
FOR_THE_CLUSTER = ("cluster", "local-path-provisioner")
FLAGS = dict.fromkeys(PACKAGES, "-s -w") | {
    "cluster": f"-s -w -X k8s.io/component-base/version.gitVersion={KUBERNETES_VERSION}",
}
LEAST_GO = (1, 24)


def key(name: str) -> str:
    """Names what a build depends on: the modules, their sums, our own sources, the packages and the flags."""
    digest = hashlib.sha256()
    for path in sorted(each for each in (HERE / "programs" / name).rglob("*") if each.is_file()):
        digest.update(path.read_bytes())
    digest.update(f"{PACKAGES[name]} {FLAGS[name]}".encode())
    return digest.hexdigest()[:16]


def folder_name(name: str) -> str:
    return f"{name}-{key(name)}"


def folder(name: str) -> Path:
    """The folder of built programs; builds them when they are not there."""
    made = cache() / "programs" / folder_name(name)
    if not made.exists():
        build(name, made)
    return made


def build(name: str, into: Path) -> None:
    go = shutil.which("go") or ("/usr/local/go/bin/go" if Path("/usr/local/go/bin/go").exists() else None)
    if go is None:
        raise SetUpFailed("Go is missing: install Go 1.24 or later and put it on PATH (https://go.dev/dl)")
    modules = HERE / "programs" / name
    unfinished = into.with_name(f"{into.name}.{os.getpid()}")
    unfinished.mkdir(parents=True, exist_ok=True)
    environment = {
        "CGO_ENABLED": "0",
        "GOFLAGS": "-mod=readonly",
        "GOTOOLCHAIN": os.environ.get("GOTOOLCHAIN", "auto"),
    }
    try:
        with step(f"build {name} (once; some minutes)"):
            _compile(go, name, modules, unfinished, environment)
        # Another clone may have been faster; its build is the same.
        if not into.exists():
            unfinished.rename(into)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _compile(go: str, name: str, modules: Path, into: Path, environment: dict[str, str]) -> None:
    """All in one call, in which one program is linked while the next is still compiled."""
    packages = PACKAGES[name]
    wanted = run([go, "list", "-deps", *packages], cwd=modules, environment=environment).count("\n")
    flags: Sequence[str | Path] = ("-v", "-trimpath", "-ldflags", FLAGS[name], "-o", f"{into}/")
    compiled = counter(wanted, "packages compiled")
    follow([go, "build", *flags, *packages], cwd=modules, environment=environment, line=lambda _: compiled())


def program(name: str, package: str = "cluster") -> Path:
    return folder(package) / name
