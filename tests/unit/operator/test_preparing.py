"""Who in a pod sees the package index's credentials and the cache, and who does not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from smalt.api.kinds import TRAINING_RUN, WORKSPACE
from smalt.api.references import Address, address
from smalt.api.training_run import TrainingRunSpec
from smalt.api.workspace import InstanceType, WorkspaceSpec
from smalt.builders import preparing
from smalt.builders.training_job import Attempt, training_job
from support.resources import NAMESPACE, run

Json = dict[str, Any]
WORKSPACE_SPEC = {
    "packages": {"indexUrl": "https://packages.example/simple", "credentialsSecret": "index-login", "cache": {}}
}


def pod(environment: Json, spec: Json | None = None) -> Json:
    it = run(environment=environment)
    attempt = Attempt(
        run=address(TRAINING_RUN, it),
        uid="uid",
        number=1,
        spec=TrainingRunSpec.model_validate(it["spec"]),
        workspace=Address(WORKSPACE, NAMESPACE, "lab"),
        workspace_spec=WorkspaceSpec.model_validate(WORKSPACE_SPEC if spec is None else spec),
        instance=InstanceType.model_validate({"resources": {"limits": {"memory": "8Gi", "nvidia.com/gpu": 1}}}),
        trainer_image="smalt/trainer",
        pull_policy="IfNotPresent",
    )
    return dict(training_job(attempt)["spec"]["template"]["spec"])


def preparing_container(made: Json) -> Json:
    [found] = [each for each in made["initContainers"] if each["name"] == preparing.CONTAINER]
    return dict(found)


@pytest.mark.parametrize(
    "environment",
    [{"pip": ["a"]}, {"conda": "dependencies: []"}, {"condaFile": "c.yml"}, {"requirementsFile": "requirements.txt"}],
)
def test_packages_are_installed_in_the_scripts_own_image_before_it(environment: Json) -> None:
    made = pod({"image": "team/image:1", **environment})
    assert preparing_container(made)["image"] == "team/image:1"
    assert preparing_container(made)["resources"] == {"limits": {"memory": "8Gi"}}, "no device is taken for it"


def test_an_image_alone_needs_no_such_container() -> None:
    names = [each["name"] for each in pod({"image": "team/image:1"})["initContainers"]]
    assert preparing.CONTAINER not in names


def test_only_the_container_that_installs_sees_credentials_and_cache() -> None:
    made = pod({"pip": ["a"]})
    installing = preparing_container(made)
    secrets = {each["name"]: each["valueFrom"]["secretKeyRef"] for each in installing["env"] if "valueFrom" in each}
    assert secrets == {
        "UV_INDEX_SMALT_USERNAME": {"name": "index-login", "key": "username"},
        "UV_INDEX_SMALT_PASSWORD": {"name": "index-login", "key": "password"},
    }
    others = [each for each in [*made["initContainers"], *made["containers"]] if each["name"] != preparing.CONTAINER]
    assert "index-login" not in json.dumps(others)
    assert "index-login" not in json.dumps(made["volumes"])
    assert "/smalt/cache" not in json.dumps(others)
    assert {"name": "packages", "persistentVolumeClaim": {"claimName": "lab-packages"}} in made["volumes"]


def test_a_workspace_that_says_nothing_of_packages_ties_no_pod_to_a_volume() -> None:
    made = pod({"pip": ["a"]}, {})
    assert "persistentVolumeClaim" not in json.dumps(made)
    assert "--cache" not in preparing_container(made)["command"]
    assert not [each for each in preparing_container(made)["env"] if each["name"].startswith("UV_")]
