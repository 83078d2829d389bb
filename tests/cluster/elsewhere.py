"""Clusters that are not ours to start: kind on a laptop, and whatever the kubeconfig points at."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from cluster import images
from cluster.paths import REPOSITORY, cache
from cluster.progress import SetUpFailed, step
from cluster.shell import run

KIND_CLUSTER = "smalt"
BASE_IMAGE = "python:3.11-slim"
# Written by `images` of CLUSTER=current, since only then it is known what the images are called.
OVERLAY = "build/install"
_KUSTOMIZATION = """\
# Written by `CLUSTER=current REGISTRY={registry} make images`: manifests/ with the images that were pushed.
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [../../manifests]
configurations: [images.yaml]
images:
"""


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
        _need("docker", "kind needs a Docker Engine, see https://docs.docker.com/engine/install")
        made = images.build(_docker, BASE_IMAGE)
        with step("kind load docker-image"):
            run(["kind", "load", "docker-image", "--name", KIND_CLUSTER, *(images.tag(name) for name in made)])
        images.remember(made)

    def installation(self) -> str:
        return images.INSTALLATION


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
        pushed = {name: _push(name, f"{registry}/smalt-{name}") for name in made}
        write_overlay(registry, pushed)
        images.remember(made)
        print(f"Install Smalt with these images: kubectl apply -k {OVERLAY}")

    def installation(self) -> str:
        if not (REPOSITORY / OVERLAY).exists():
            raise SetUpFailed(
                f"{OVERLAY} is not there, which names the images in your registry: "
                "run `CLUSTER=current REGISTRY=registry.example/team make images`"
            )
        return OVERLAY


def _push(name: str, repository: str) -> str:
    """The digest under which the registry has the image. A tag would not do: nodes keep what they once pulled by it."""
    target = f"{repository}:{images.VERSION}"
    with step(f"push {target}"):
        run(_docker("tag", images.tag(name), target))
        run(_docker("push", target))
    known = run(_docker("image", "inspect", "--format", "{{range .RepoDigests}}{{println .}}{{end}}", target)).split()
    digests = [each.partition("@")[2] for each in known if each.startswith(f"{repository}@")]
    if not digests:
        raise SetUpFailed(f"{target} was pushed, but docker knows no digest of it: see `docker image inspect {target}`")
    return digests[-1]


def write_overlay(registry: str, digests: Mapping[str, str], repository: Path = REPOSITORY) -> None:
    """manifests/ with the images of a registry, each by its digest there."""
    folder = repository / OVERLAY
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(repository / "manifests/kustomize/images.yaml", folder / "images.yaml")
    lines = [
        f"- {{name: smalt/{name}, newName: {registry}/smalt-{name}, digest: {digest}}}\n"
        for name, digest in digests.items()
    ]
    (folder / "kustomization.yaml").write_text(_KUSTOMIZATION.format(registry=registry) + "".join(lines))
