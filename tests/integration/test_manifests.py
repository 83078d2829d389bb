"""What kustomize makes of manifests/: two installations, the quickstart, and overlays on both as documented."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from demo.kubectl import REPOSITORY, cluster_environment
from support.readme import blocks

Json = dict[str, Any]
Render = Callable[[Path], list[Json]]
MANIFESTS = REPOSITORY / "manifests"
SAMPLE = MANIFESTS / "samples/quickstart"
CLUSTER_WIDE = {
    "Namespace",
    "CustomResourceDefinition",
    "ClusterRole",
    "ClusterRoleBinding",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
}


@pytest.fixture(scope="session")
def render() -> Render:
    program = shutil.which("kubectl") or shutil.which("kubectl", path=cluster_environment()["PATH"])
    assert program, "kubectl is on no PATH"

    def built(folder: Path) -> list[Json]:
        finished = subprocess.run([program, "kustomize", str(folder)], capture_output=True, text=True)
        assert finished.returncode == 0, finished.stderr
        return [document for document in yaml.safe_load_all(finished.stdout) if document]

    return built


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """manifests/, what it includes, and the overlays that manifests/kustomize/README.md shows."""
    for name in ("manifests", "crds"):
        shutil.copytree(REPOSITORY / name, tmp_path / name)
    shutil.copytree(SAMPLE, tmp_path / "quickstart")
    shown = [block.text for block in blocks(MANIFESTS / "kustomize/README.md") if block.language == "yaml"]
    for text in shown:
        named = re.match(r"# (\S+)\n", text)
        assert named, text
        path = tmp_path / named[1]
        path.parent.mkdir()
        path.write_text(text)
        for configuration in yaml.safe_load(text)["configurations"]:
            shutil.copy(MANIFESTS / "kustomize" / configuration, path.parent)
    return tmp_path


def one(documents: list[Json], kind: str, group: str = "") -> Json:
    found = [each for each in documents if each["kind"] == kind and each["apiVersion"].startswith(group)]
    assert len(found) == 1, [each["metadata"]["name"] for each in found]
    return found[0]


def operators_role(documents: list[Json], kind: str) -> Json:
    return next(each for each in documents if (each["kind"], each["metadata"]["name"]) == (kind, "smalt-operator"))


def variables(documents: list[Json]) -> Json:
    container = one(documents, "Deployment", "apps/")["spec"]["template"]["spec"]["containers"][0]
    return {each["name"]: each.get("value") or each["valueFrom"]["fieldRef"]["fieldPath"] for each in container["env"]}


def strings(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for each in value.values():
            yield from strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from strings(each)
    elif isinstance(value, str):
        yield value


def test_the_installation_has_five_kinds_and_one_namespace(render: Render) -> None:
    documents = render(MANIFESTS)
    assert sum(each["kind"] == "CustomResourceDefinition" for each in documents) == 5
    for each in documents:
        expected = None if each["kind"] in CLUSTER_WIDE else "smalt-system"
        assert each["metadata"].get("namespace") == expected, each["metadata"]["name"]
    assert "SMALT_NAMESPACE" not in variables(documents)


def test_a_single_namespace_needs_no_right_beyond_it(render: Render) -> None:
    documents = render(MANIFESTS / "overlays/single-namespace")
    assert not CLUSTER_WIDE & {each["kind"] for each in documents}
    assert variables(documents)["SMALT_NAMESPACE"] == "metadata.namespace"
    rules = operators_role(documents, "Role")["rules"]
    assert rules == operators_role(render(MANIFESTS), "ClusterRole")["rules"]


def test_the_operator_may_write_no_spec_of_the_five_kinds_and_list_no_secret(render: Render) -> None:
    rules = operators_role(render(MANIFESTS), "ClusterRole")["rules"]
    assert "*" not in set(strings(rules))
    for rule in rules:
        if rule["apiGroups"] == ["smalt.dev"]:
            writes = set(rule["verbs"]) - {"get", "list", "watch"}
            if writes and not all(name.endswith("/status") for name in rule["resources"]):
                # Versions are registered, and finished runs retired; neither is ever changed.
                assert (rule["resources"], writes) in ((["models"], {"create"}), (["trainingruns"], {"delete"}))
        if "secrets" in rule["resources"]:
            assert rule["verbs"] == ["get", "create"]
        # Finished runs that are retired, and Jobs whose Model is registered.
        assert "delete" not in rule["verbs"] or rule["resources"] in (["trainingruns"], ["jobs"])


def test_the_operators_pod_is_restricted(render: Render) -> None:
    pod = one(render(MANIFESTS), "Deployment", "apps/")["spec"]["template"]["spec"]
    security = pod["containers"][0]["securityContext"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert security == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_an_overlay_moves_all_four_images(render: Render, copy: Path) -> None:
    found = list(strings(one(render(copy / "my-installation"), "Deployment", "apps/")))
    for image in ("operator", "trainer", "scorer", "tracking"):
        assert f"registry.example/team/smalt-{image}:0.1.0" in found
    assert not [each for each in found if each.startswith("smalt/")]


def test_a_prefix_reaches_every_reference_and_labels_no_selector(render: Render, copy: Path) -> None:
    documents = render(copy / "my-overlay")
    assert one(documents, "Experiment")["spec"]["workspace"] == "team-a-quickstart"
    run, served = one(documents, "TrainingRun")["spec"], one(documents, "Deployment")["spec"]
    assert run["experiment"] == "team-a-breast-cancer"
    assert run["code"]["configMap"] == "team-a-quickstart-code"
    assert run["inputs"]["train"]["path"] == "configmap://team-a-quickstart-data/breast_cancer.csv"
    assert served["workspace"] == "team-a-quickstart"
    assert served["codeConfiguration"]["code"]["configMap"] == "team-a-quickstart-scoring"
    assert (run["register"]["model"], served["model"]["name"]) == ("breast-cancer", "breast-cancer")
    assert "selector" not in served
    assert all(each["metadata"]["labels"] == {"team": "a"} for each in documents)


def test_the_quickstart_is_what_readme_shows(render: Render) -> None:
    shown = [yaml.safe_load(block.text) for block in blocks() if block.language == "yaml"]
    made = {each["kind"]: each for each in render(SAMPLE)}
    assert {each["kind"] for each in shown} == {"Workspace", "Experiment", "TrainingRun", "Deployment"}
    for each in shown:
        assert made[each["kind"]] == each


@pytest.mark.parametrize("conda", ["code/conda.yml", "scoring/conda.yml"])
def test_the_quickstart_pins_what_the_images_have(conda: str) -> None:
    constraints = (REPOSITORY / "requirements/constraints.txt").read_text().splitlines()
    dependencies = yaml.safe_load((SAMPLE / conda).read_text())["dependencies"]
    assert "python=3.11" in dependencies
    pinned = next(each["pip"] for each in dependencies if isinstance(each, dict))
    assert set(pinned) <= set(constraints)


def test_the_users_files_run_on_a_laptop(tmp_path: Path) -> None:
    model, data = tmp_path / "model", SAMPLE / "data/breast_cancer.csv"
    laptop = {"PATH": os.environ["PATH"], "AZUREML_MODEL_DIR": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    train = [sys.executable, str(SAMPLE / "code/train.py"), "--data", str(data), "--model", str(model)]
    subprocess.run(train, cwd=tmp_path, env=laptop, check=True)
    ask = "import score, sys; score.init(); print(__import__('json').dumps(score.run(sys.stdin.read())))"
    answered = subprocess.run(
        [sys.executable, "-c", ask],
        cwd=SAMPLE / "scoring",
        env=laptop,
        input=(SAMPLE / "request.json").read_text(),
        check=True,
        capture_output=True,
        text=True,
    )
    assert json.loads(answered.stdout) == {"predictions": [0, 1, 0]}
