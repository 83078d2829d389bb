"""Every sample, every YAML block of the docs, and an overlay over each sample, taken by a real API server."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from support.controlplane import ControlPlane
from support.readme import Block, of_language

REPOSITORY = Path(__file__).resolve().parents[2]
SAMPLES = sorted(path.parent for path in (REPOSITORY / "manifests/samples").glob("*/kustomization.yaml"))


@pytest.fixture
def namespace(plane: ControlPlane) -> Iterator[str]:
    name = f"sample-{uuid.uuid4().hex[:8]}"
    plane.kubectl("create", "namespace", name)
    yield name
    plane.kubectl("delete", "namespace", name, "--wait=false")


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.name)
def test_a_sample_is_taken(plane: ControlPlane, namespace: str, sample: Path) -> None:
    plane.kubectl("-n", namespace, "apply", "--dry-run=server", "-k", str(sample))


@pytest.mark.parametrize("block", of_language("yaml"), ids=lambda block: f"README line {block.line}")
def test_a_block_of_readme_is_taken(plane: ControlPlane, namespace: str, block: Block) -> None:
    plane.kubectl("-n", namespace, "apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=block.text)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.name)
def test_an_overlay_with_prefix_labels_and_namespace_reaches_every_reference(
    plane: ControlPlane, namespace: str, sample: Path, tmp_path: Path
) -> None:
    shutil.copytree(sample, tmp_path / "sample")
    overlay = tmp_path / "overlay"
    overlay.mkdir()
    shutil.copy(REPOSITORY / "manifests/kustomize/names.yaml", overlay)
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": ["../sample"],
        "namePrefix": "team-",
        "namespace": namespace,
        "labels": [{"pairs": {"team": "retention"}}],
        "configurations": ["names.yaml"],
    }
    (overlay / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    plane.kubectl("apply", "--dry-run=server", "-k", str(overlay))
    documents = list(yaml.safe_load_all(plane.kubectl("kustomize", str(overlay))))
    assert all(each["metadata"]["namespace"] == namespace for each in documents)
    assert all(each["metadata"]["labels"]["team"] == "retention" for each in documents)
    ours = {each["kind"]: each["spec"] for each in documents if each["apiVersion"].startswith("smalt.dev/")}
    assert ours["Experiment"]["workspace"] == "team-quickstart"
    assert ours["TrainingRun"]["experiment"] == "team-breast-cancer"
    assert ours["TrainingRun"]["code"]["configMap"] == "team-quickstart-code"
    assert ours["Deployment"]["workspace"] == "team-quickstart"
    assert ours["Deployment"]["codeConfiguration"]["code"]["configMap"] == "team-quickstart-scoring"
    assert ours["Deployment"]["model"]["name"] == "breast-cancer", "a model's name is no object's"
