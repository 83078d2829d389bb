"""Kubernetes' own programs, built from Go modules once and kept by content."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from cluster.paths import HERE, cache
from cluster.progress import SetUpFailed, step
from cluster.shell import run

KUBERNETES_VERSION = "v1.36.3"
_KUBERNETES = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl")
PACKAGES = {
    "kubernetes": tuple(f"k8s.io/kubernetes/cmd/{name}" for name in _KUBERNETES),
    "coredns": ("github.com/coredns/coredns",),
    "local-path-provisioner": ("github.com/rancher/local-path-provisioner",),
    "pause": ("smalt.dev/cluster/pause",),
    # No part of the cluster: a real S3 server, which tests start on loopback.
    "versitygw": ("github.com/versity/versitygw/cmd/versitygw",),
    # Nor this: a real registry of images, likewise.
    "registry": ("github.com/distribution/distribution/v3/cmd/registry",),
}
FLAGS = {
    "kubernetes": f"-s -w -X k8s.io/component-base/version.gitVersion={KUBERNETES_VERSION}",
    "coredns": "-s -w",
    "local-path-provisioner": "-s -w",
    "pause": "-s -w",
    "versitygw": "-s -w",
    "registry": "-s -w",
}
LEAST_GO = (1, 24)


def key(name: str) -> str:
    """Names what a build depends on: the modules, their sums and the flags."""
    digest = hashlib.sha256()
    for path in sorted((HERE / "programs" / name).iterdir()):
        digest.update(path.read_bytes())
    digest.update(FLAGS[name].encode())
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
            for package in PACKAGES[name]:
                print(f"      {package}", flush=True)
                target = unfinished / package.rpartition("/")[2]
                command: list[str | Path] = [go, "build", "-trimpath", "-ldflags", FLAGS[name], "-o", target, package]
                run(command, cwd=modules, environment=environment)
        # Another clone may have been faster; its build is the same.
        if not into.exists():
            unfinished.rename(into)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def program(name: str, package: str = "kubernetes") -> Path:
    return folder(package) / name
