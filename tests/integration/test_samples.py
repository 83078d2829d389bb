"""Every sample, every YAML block of the docs, and the overlays they show, taken by a real API server."""

from __future__ import annotations

import json
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.elsewhere import OVERLAY, write_overlay
from cluster.images import PARTS
from support.controlplane import ControlPlane
from support.readme import Block, of_language

REPOSITORY = Path(__file__).resolve().parents[2]
KUSTOMIZE = REPOSITORY / "manifests/kustomize"
QUICKSTART = REPOSITORY / "manifests/samples/quickstart"
Json = dict[str, Any]
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


# Others are parts of an object.
WHOLE = [
    (path.name, block)
    for path in sorted((REPOSITORY / "docs").glob("*.md"))
    for block in of_language("yaml", path)
    if block.text.startswith("apiVersion: smalt.dev/")
]


@pytest.mark.parametrize(
    ("path", "block"), WHOLE, ids=lambda each: each if isinstance(each, str) else f"line {each.line}"
)
def test_an_object_of_the_docs_is_taken(plane: ControlPlane, namespace: str, path: str, block: Block) -> None:
    plane.kubectl("-n", namespace, "apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=block.text)


@pytest.fixture
def shown(tmp_path: Path) -> Path:
    """Folders as manifests/kustomize/README.md shows them: its own text is what is tested, beside what it refers to."""
    for name in ("manifests", "crds"):
        shutil.copytree(REPOSITORY / name, tmp_path / name)
    shutil.copytree(QUICKSTART, tmp_path / "quickstart")
    for block in of_language("yaml", KUSTOMIZE / "README.md"):
        path = tmp_path / block.text.splitlines()[0].removeprefix("# ")
        path.parent.mkdir()
        path.write_text(block.text)
        for configuration in yaml.safe_load(block.text)["configurations"]:
            shutil.copy(KUSTOMIZE / configuration, path.parent)
    return tmp_path


def rendered(plane: ControlPlane, folder: Path) -> list[Json]:
    return [each for each in yaml.safe_load_all(plane.kubectl("kustomize", str(folder))) if each]


def test_an_overlay_with_prefix_labels_and_namespace_reaches_every_reference(
    plane: ControlPlane, namespace: str, shown: Path
) -> None:
    kustomization = shown / "my-overlay/kustomization.yaml"
    kustomization.write_text(f"{kustomization.read_text()}namespace: {namespace}\n")
    plane.kubectl("apply", "--dry-run=server", "-k", str(kustomization.parent))
    documents = rendered(plane, kustomization.parent)
    assert all(each["metadata"]["namespace"] == namespace for each in documents)
    assert all(each["metadata"]["labels"] == {"team": "a"} for each in documents)
    ours = {each["kind"]: each["spec"] for each in documents if each["apiVersion"].startswith("smalt.dev/")}
    assert ours["Experiment"]["workspace"] == "team-a-quickstart"
    assert ours["TrainingRun"]["experiment"] == "team-a-breast-cancer"
    assert ours["TrainingRun"]["inputs"]["train"]["path"] == "configmap://team-a-quickstart-data/breast_cancer.csv"
    assert ours["Deployment"]["workspace"] == "team-a-quickstart"
    assert ours["Deployment"]["model"]["name"] == "breast-cancer", "a model's name is no object's"


def test_an_overlay_leaves_no_reference_to_a_config_map_that_it_has_renamed(plane: ControlPlane, shown: Path) -> None:
    documents = rendered(plane, shown / "my-overlay")
    there = {each["metadata"]["name"] for each in documents if each["kind"] == "ConfigMap"}
    referred = {name for each in documents if each["kind"] != "ConfigMap" for name in config_maps(each)}
    assert referred == there
    assert len(there) == 3


def config_maps(value: object) -> Iterator[str]:
    """Names of ConfigMaps that an object refers to, by a field or by an address."""
    if isinstance(value, dict):
        for key, each in value.items():
            if key == "configMap" and isinstance(each, str):
                yield each
            yield from config_maps(each)
    elif isinstance(value, list):
        for each in value:
            yield from config_maps(each)
    elif isinstance(value, str) and value.startswith("configmap://"):
        yield value.split("/")[2]


def test_an_overlay_with_images_reaches_those_that_the_operator_gives_to_pods(plane: ControlPlane, shown: Path) -> None:
    assert images(rendered(plane, shown / "my-installation")) == {
        "image": "registry.example/team/smalt-operator:0.1.0",
        "SMALT_TRAINER_IMAGE": "registry.example/team/smalt-trainer:0.1.0",
        "SMALT_SCORER_IMAGE": "registry.example/team/smalt-scorer:0.1.0",
        "SMALT_TRACKING_IMAGE": "registry.example/team/smalt-tracking:0.1.0",
    }


def test_what_make_images_writes_is_taken(plane: ControlPlane, namespace: str, shown: Path) -> None:
    digests = {name: f"sha256:{number:064x}" for number, name in enumerate(PARTS)}
    write_overlay("registry.example/team", digests, shown)
    documents = rendered(plane, shown / OVERLAY)
    assert kinds(documents) == kinds(rendered(plane, shown / "manifests"))
    operator = next(each for each in documents if each["kind"] == "Deployment")
    operator["metadata"]["namespace"] = namespace
    plane.kubectl("apply", "--dry-run=server", "-f", "-", stdin=json.dumps(operator))
    variables = {"operator": "image"} | {name: f"SMALT_{name.upper()}_IMAGE" for name in PARTS if name != "operator"}
    assert images(documents) == {
        variables[name]: f"registry.example/team/smalt-{name}@{digest}" for name, digest in digests.items()
    }


def kinds(documents: list[Json]) -> list[tuple[str, str]]:
    return sorted((each["kind"], each["metadata"]["name"]) for each in documents)


def images(documents: list[Json]) -> dict[str, str]:
    """The operator's own image, and those in its environment."""
    [operator] = [each for each in documents if each["kind"] == "Deployment"]
    [container] = operator["spec"]["template"]["spec"]["containers"]
    given = {each["name"]: each["value"] for each in container["env"] if each["name"].endswith("_IMAGE")}
    return {"image": container["image"], **given}


def test_the_commit_that_readme_shows_is_a_run_of_another_name(
    plane: ControlPlane, namespace: str, shown: Path
) -> None:
    [commit] = of_language("diff")
    subprocess.run(["git", "apply"], cwd=shown, input=commit.text, text=True, check=True)
    sample = shown / "manifests/samples/quickstart"
    plane.kubectl("-n", namespace, "apply", "--dry-run=server", "-k", str(sample))
    before, after = (yaml.safe_load((each / "trainingrun.yaml").read_text()) for each in (QUICKSTART, sample))
    assert after["metadata"]["name"] != before["metadata"]["name"]
    assert after["spec"] != before["spec"]
