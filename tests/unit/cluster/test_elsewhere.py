"""A cluster that is not ours: its images go through a registry, and what is installed names them there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.elsewhere import OVERLAY, CurrentCluster, KindCluster
from cluster.images import PARTS
from cluster.paths import REPOSITORY
from cluster.progress import SetUpFailed

REGISTRY = "registry.example/team"
# Writes down what it was asked for; of an image that was pushed it knows a digest in two registries.
DOCKER = """\
#!/bin/sh
echo "$*" >> "$TOOLS/docker.log"
case "$*" in
*RepoDigests*)
  for last; do :; done
  name=${last##*/smalt-}
  echo "elsewhere.example/smalt-${name%%:*}@sha256:0000"
  [ -n "$NO_DIGEST" ] || echo "${last%:*}@sha256:${name%%:*}" ;;
esac
"""
KUBECTL = """\
#!/bin/sh
echo "$*" >> "$TOOLS/kubectl.log"
case "$*" in
*"get deployment"*) echo '{"spec": {"template": {"metadata": {}}}}' ;;
esac
"""
INSTALL = """\
import os
from demo.__main__ import install
from demo.kubectl import Kubectl
install(Kubectl(dict(os.environ), "smalt-system"))
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What `make images` and the demo read of the repository, where they may write."""
    made = tmp_path / "clone"
    for name in ("tests/cluster", "tests/demo", "manifests", "requirements", *(parts[0] for parts in PARTS.values())):
        shutil.copytree(REPOSITORY / name, made / name, ignore=shutil.ignore_patterns("__pycache__"))
    return made


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """docker, kind and kubectl that do nothing."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name, text in (("docker", DOCKER), ("kind", DOCKER), ("kubectl", KUBECTL)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


def run(clone: Path, tools: Path, *python: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "PATH": f"{tools}:/usr/bin:/bin",
        "TOOLS": str(tools),
        "SMALT_CACHE": str(tools / "cache"),
        "PYTHONPATH": str(clone / "tests"),
        "REGISTRY": REGISTRY,
        "CLUSTER": "current",
    }
    return subprocess.run(
        [sys.executable, *python], cwd=clone, env=environment | variables, capture_output=True, text=True
    )


def log(tools: Path, name: str) -> list[str]:
    return (tools / f"{name}.log").read_text().splitlines()


def test_images_are_pushed_and_what_is_installed_names_them_there(clone: Path, tools: Path) -> None:
    made = run(clone, tools, "-m", "cluster", "images")
    assert made.returncode == 0, made.stderr
    assert f"kubectl apply -k {OVERLAY}" in made.stdout
    pushed = {f"push {REGISTRY}/smalt-{name}:0.1.0" for name in PARTS}
    assert pushed <= set(log(tools, "docker"))
    kustomization = (clone / OVERLAY / "kustomization.yaml").read_text()
    for name in PARTS:
        line = f"- {{name: smalt/{name}, newName: {REGISTRY}/smalt-{name}, digest: sha256:{name}}}"
        assert line in kustomization.splitlines()
    assert (clone / OVERLAY / "images.yaml").read_text() == (REPOSITORY / "manifests/kustomize/images.yaml").read_text()


def test_the_demo_installs_what_names_the_images_in_the_registry(clone: Path, tools: Path) -> None:
    assert run(clone, tools, "-m", "cluster", "images").returncode == 0
    installed = run(clone, tools, "-c", INSTALL)
    assert installed.returncode == 0, installed.stderr
    asked = log(tools, "kubectl")
    assert f"-n smalt-system apply -k {OVERLAY}" in asked
    assert not [line for line in asked if "apply -k manifests" in line]


def test_the_demo_installs_the_plain_manifests_where_images_keep_their_names(clone: Path, tools: Path) -> None:
    assert run(clone, tools, "-c", INSTALL, CLUSTER="kind").returncode == 0
    assert "-n smalt-system apply -k manifests/" in log(tools, "kubectl")


def test_nothing_can_be_installed_before_the_images_are_in_the_registry(clone: Path, tools: Path) -> None:
    refused = run(clone, tools, "-m", "cluster", "installation")
    assert refused.returncode == 1
    assert "make images" in refused.stderr


def test_an_image_whose_digest_nobody_knows_is_named(clone: Path, tools: Path) -> None:
    refused = run(clone, tools, "-m", "cluster", "images", NO_DIGEST="1")
    assert refused.returncode == 1
    assert f"{REGISTRY}/smalt-operator:0.1.0 was pushed, but docker knows no digest of it" in refused.stderr
    assert not (clone / OVERLAY).exists()


@pytest.mark.parametrize("cluster", [KindCluster, CurrentCluster])
def test_without_docker_it_says_what_docker_is_for(
    cluster: type[KindCluster] | type[CurrentCluster], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("REGISTRY", REGISTRY)
    with pytest.raises(SetUpFailed, match=r"'docker' is not installed: .*Docker Engine"):
        cluster().images()


def test_without_a_registry_it_says_how_to_name_one(clone: Path, tools: Path) -> None:
    refused = run(clone, tools, "-m", "cluster", "images", REGISTRY="")
    assert refused.returncode == 1
    assert "REGISTRY=registry.example/team" in refused.stderr
