"""Clusters that are not ours to start: kind on a laptop, and whatever the kubeconfig points at."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from cluster import images
from cluster.paths import cache
from cluster.progress import SetUpFailed, step
from cluster.shell import run

KIND_CLUSTER = "smalt"
BASE_IMAGE = "python:3.11-slim"


def _docker(*arguments: str | Path) -> list[str | Path]:
    return ["docker", *arguments]


def _need(program: str, how: str) -> None:
    if not shutil.which(program):
        raise SetUpFailed(f"'{program}' is not installed: {how}")


class KindCluster:
    """`kind create cluster`, on a Docker Engine that is already there."""

    def up(self) -> None:
        _need("kind", "see https://kind.sigs.k8s.io/docs/user/quick-start, or use CLUSTER=local on Debian as root")
        _need("kubectl", "see https://kubernetes.io/docs/tasks/tools")
        if KIND_CLUSTER not in run(["kind", "get", "clusters"]).split():
            with step("kind create cluster"):
                run(["kind", "create", "cluster", "--name", KIND_CLUSTER, "--wait", "120s"])

    def down(self) -> None:
        run(["kind", "delete", "cluster", "--name", KIND_CLUSTER])

    def status(self) -> str:
        return run(["kubectl", "--context", f"kind-{KIND_CLUSTER}", "get", "nodes"])

    def environment(self) -> dict[str, str]:
        path = cache() / "kind.kubeconfig"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(run(["kind", "get", "kubeconfig", "--name", KIND_CLUSTER]))
        path.chmod(0o600)
        return {"KUBECONFIG": str(path)}

    def images(self) -> None:
        made = images.build(_docker, BASE_IMAGE)
        with step("kind load docker-image"):
            run(["kind", "load", "docker-image", "--name", KIND_CLUSTER, *(images.tag(name) for name in made)])
        images.remember(made)


class CurrentCluster:
    """The cluster of the kubeconfig's current context; images go through REGISTRY."""

    def up(self) -> None:
        _need("kubectl", "see https://kubernetes.io/docs/tasks/tools")
        run(["kubectl", "get", "--raw", "/readyz"], seconds=30)

    def down(self) -> None:
        print("CLUSTER=current is not ours to end. `kubectl delete -k manifests/` removes Smalt from it.")

    def status(self) -> str:
        return run(["kubectl", "cluster-info"])

    def environment(self) -> dict[str, str]:
        given = os.environ.get("KUBECONFIG")
        return {"KUBECONFIG": given} if given else {}

    def images(self) -> None:
        registry = os.environ.get("REGISTRY")
        if not registry:
            raise SetUpFailed(
                "REGISTRY is not set: name one that your nodes can pull from, as in REGISTRY=registry.example/team"
            )
        _need("docker", "a Docker Engine is needed to build images")
        made = images.build(_docker, BASE_IMAGE)
        for name in made:
            target = f"{registry}/smalt-{name}:{images.VERSION}"
            with step(f"push {target}"):
                run(_docker("tag", images.tag(name), target))
                run(_docker("push", target))
        images.remember(made)
        print(f"Point the installation at them with an overlay: manifests/kustomize/README.md shows it for {registry}.")
