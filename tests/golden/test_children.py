"""Every child of the quickstart, and of a run with hostile values, as it goes to the API server."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from smalt.api.conditions import information
from smalt.api.kinds import CONFIG_MAP, DEPLOYMENT, EXPERIMENT, MODEL, SECRET, TRAINING_RUN, WORKSPACE
from smalt.builders.registered_model import uid_selector
from smalt.engine.applier import wanted
from smalt.reconcilers.plan import Plan
from smalt.reconcilers.registry import RECONCILERS
from smalt.reconcilers.world import Labelled, Occupied, Read
from support.resources import (
    NAMESPACE,
    NOW,
    SETTINGS,
    completed,
    ended,
    experiment,
    finished_run,
    job,
    model,
    pod,
    ready,
    resource,
    run,
    store_of,
    workspace,
)

Json = dict[str, Any]
Golden = Callable[[str, list[Json]], None]
SAMPLE = Path(__file__).resolve().parents[2] / "manifests/samples/quickstart"
KINDS = {"workspace": WORKSPACE, "experiment": EXPERIMENT, "trainingrun": TRAINING_RUN, "deployment": DEPLOYMENT}


FULL = {
    "packages": {
        "indexUrl": "https://packages.example/simple",
        "credentialsSecret": "index",
        "cache": {"size": "20Gi", "storageClassName": "shared", "accessMode": "ReadWriteMany"},
    },
    "trustBundle": {"configMap": "corporate-ca"},
    "instanceTypes": {
        "gpu": {
            "resources": {"limits": {"nvidia.com/gpu": 1}},
            "nodeSelector": {"gpu": "a100"},
            "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
        }
    },
}


def sample(file: str) -> Json:
    found = yaml.safe_load((SAMPLE / f"{file}.yaml").read_text())
    kind = KINDS[file]
    return resource(kind, found["metadata"]["name"], found["spec"], ready())


def children(it: Json, plan: Plan) -> list[Json]:
    return [wanted(it, child) for child in plan.apply]


class FoundEverywhere(dict[Any, Any]):
    """Live reads that all find something."""

    def get(self, read: Any, default: Any = None) -> Any:
        if isinstance(read, Occupied):
            return {}
        if isinstance(read, Labelled):
            return {"items": []}
        assert isinstance(read, Read)
        keys = ("file",) if "scoring" in read.name else ("ca.crt", "rows.csv", "breast_cancer.csv")
        found = resource(SECRET if read.kind is SECRET else CONFIG_MAP, read.name)
        return found | {"data": dict.fromkeys(keys, "text")}


def planned(file: str, *world: Json, it: Json | None = None) -> list[Json]:
    it = it or sample(file)
    store = store_of(it, *world)
    return children(it, RECONCILERS[KINDS[file]].plan(it, store, FoundEverywhere(), NOW, SETTINGS))


def test_children_of_the_workspace(golden: Golden) -> None:
    golden("workspace", planned("workspace"))


def test_children_of_a_workspace_with_everything_set(golden: Golden) -> None:
    spec = FULL | {"storage": {"size": "1Ti", "storageClassName": "fast", "reclaimPolicy": "Delete"}}
    golden("workspace_full", planned("workspace", it=resource(WORKSPACE, "lab", spec, ready())))


BUCKET = {"url": "s3://ml-artifacts/team-a", "credentialsSecret": "bucket"}
ELSEWHERE = {"tracking": {"external": {"uri": "https://mlflow.example/", "credentialsSecret": "mlflow"}}}


def test_children_of_a_workspace_that_keeps_nothing_on_a_volume(golden: Golden) -> None:
    spec = {
        "storage": BUCKET,
        "tracking": {"databaseSecret": "history"},
        "trustBundle": {"configMap": "corporate-ca"},
    }
    golden("workspace_elsewhere", planned("workspace", it=resource(WORKSPACE, "lab", spec, ready())))


def test_children_of_a_workspace_with_somebody_elses_server(golden: Golden) -> None:
    golden("workspace_external", planned("workspace", it=resource(WORKSPACE, "lab", ELSEWHERE, ready())))


def test_a_run_that_is_recorded_by_somebody_elses_server(golden: Golden) -> None:
    golden("training_run_external", planned("trainingrun", workspace(ELSEWHERE), experiment(), it=run()))


def test_the_job_of_the_run(golden: Golden) -> None:
    golden("training_run", planned("trainingrun", sample("workspace"), sample("experiment")))


def test_the_job_that_registers_a_model(golden: Golden) -> None:
    it = model(status={"observedGeneration": -1})
    report = {"train": {"rows": 3, "report": "mlflow-artifacts:/1/a/artifacts/profiles/inputs/train"}}
    world = store_of(it, workspace(), finished_run(dataProfile=report))
    plan = RECONCILERS[MODEL].plan(it, world, {}, NOW, SETTINGS)
    golden("registration", [wanted(it, child) for child in plan.apply])


def test_the_model_of_the_run(golden: Golden) -> None:
    it = sample("trainingrun") | {"status": {}}
    artifact = {
        "uri": "mlflow-artifacts:/1/a/artifacts/outputs/model",
        "digest": "sha256:" + "0" * 64,
        "bytes": 1,
        "files": 1,
    }
    done = [
        job(it, workspace="quickstart", **completed()),
        pod(job(it), **ended(json.dumps({"outputs": {"model": artifact}}))),
    ]
    assert uid_selector(it["metadata"]["uid"]).startswith("smalt.dev/run-uid=")
    golden("model", planned("trainingrun", sample("workspace"), sample("experiment"), *done, it=it))


def registered() -> Json:
    spec = {
        "name": "breast-cancer",
        "version": 1,
        "workspace": "quickstart",
        "stage": "Production",
        "source": {"run": "breast-cancer-1", "output": "model"},
    }
    artifact = {
        "uri": "mlflow-artifacts:/1/a/artifacts/outputs/model",
        "digest": "sha256:" + "0" * 64,
        "bytes": 1,
        "files": 1,
    }
    return resource(MODEL, "breast-cancer-1", spec, ready() | {"artifact": artifact})


def test_children_of_the_deployment(golden: Golden) -> None:
    golden("deployment", planned("deployment", sample("workspace"), registered()))


def test_children_of_a_deployment_that_serves_signed_models_only(golden: Golden) -> None:
    at, it = sample("workspace"), registered()
    at["spec"] = {**at.get("spec", {}), "signing": {"keySecret": "model-signing"}}
    it["status"]["conditions"] += information("SignatureVerified", True, "Signed", "signed")
    golden("deployment_signed", planned("deployment", at, it))


def test_a_run_with_everything_set(golden: Golden) -> None:
    it = run(
        environment={"image": "registry.example/team/train:1", "pip": ["lightgbm==4.5"]},
        environmentVariables={"OMP_NUM_THREADS": "2"},
        inputs={
            "rows": {"type": "uriFile", "path": "configmap://rows/rows.csv"},
            "all": {"type": "uriFolder", "path": "pvc://data/2026/may"},
            "web": {"type": "uriFile", "path": "https://data.example/a.csv", "digest": "sha256:" + "0" * 64},
        },
        parameters={"C": 0.5, "name": "x", "flag": True},
        outputs={"model": {"type": "customModel"}},
        instanceType="gpu",
        limits={"timeout": "90s", "finalizing": "1h", "retries": 2},
        command='python train.py --rows ${{inputs.rows}} --C "${{parameters.C}}" --out ${{outputs.model}}',
    )
    golden("training_run_full", planned("trainingrun", workspace(FULL), experiment(), it=it))


def test_a_run_of_code_in_git(golden: Golden) -> None:
    git = {"url": "https://git.example/team/churn.git", "revision": "v1", "path": "churn", "credentialsSecret": "git"}
    it = run(code={"git": git})
    golden("training_run_git", planned("trainingrun", workspace(FULL), experiment(), it=it))


def test_the_job_that_builds_an_environments_image(golden: Golden) -> None:
    images = {
        "registry": "registry.example/team",
        "dockerHost": "tcp://docker.build:2376",
        "pushSecret": "registry-push",
        "tlsSecret": "docker-client",
    }
    it = run(environment={"image": "python:3.11-slim", "pip": ["lightgbm==4.5"]})
    at = workspace(FULL | {"images": images})
    allowing = SETTINGS.model_copy(update={"docker_hosts": "docker.build"})
    plan = RECONCILERS[TRAINING_RUN].plan(it, store_of(it, at, experiment()), FoundEverywhere(), NOW, allowing)
    golden("environment_image", children(it, plan))


HOSTILE = [
    "$(HOSTILE)",
    "$$HOSTILE",
    "`HOSTILE`",
    "'HOSTILE'",
    '"HOSTILE"',
    "a\nHOSTILE\nb",
    "${HOSTILE}",
    "HOSTILE: {{x}}",
]


@pytest.mark.parametrize("value", HOSTILE)
def test_nothing_of_the_users_stands_where_the_kubelet_expands(value: str) -> None:
    it = run(
        command=f"echo {value}",
        code={"inline": {"train.py": value}},
        environmentVariables={"V": value},
        parameters={"p": value},
        environment={"pip": [value]},
    )
    (made,) = planned("trainingrun", workspace(), experiment(), it=it)
    annotations = made["spec"]["template"]["metadata"]["annotations"]
    assert json.loads(annotations["smalt.dev/run"])["parameters"] == {"p": value}
    pod_spec = made["spec"]["template"]["spec"]
    assert "HOSTILE" not in json.dumps(pod_spec)
    assert made["metadata"]["namespace"] == NAMESPACE
