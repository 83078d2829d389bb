"""What people may write: the smallest and the fullest of each kind, and what kubectl shows of it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from support.controlplane import ControlPlane
from support.specs import DEPLOYMENT, EXPERIMENT, MODEL, RUN, WORKSPACE, changed

Json = dict[str, Any]
FULL: dict[str, Json] = {
    "workspace": changed(
        WORKSPACE,
        {
            "storage": {"size": "1Ti", "storageClassName": "fast", "reclaimPolicy": "Delete"},
            "packages": {
                "indexUrl": "https://packages.example/simple",
                "credentialsSecret": "index",
                "cache": {"size": "5Gi", "storageClassName": "shared", "accessMode": "ReadWriteMany"},
            },
            "images": {
                "registry": "localhost:5000/team/images",
                "dockerHost": "tcp://docker.build:2376",
                "pushSecret": "push",
                "tlsSecret": "client",
            },
            "trustBundle": {"configMap": "corporate-ca"},
            "signing": {"keySecret": "model-signing"},
            "instanceTypes": {
                "default": {"resources": {"requests": {"cpu": 0, "memory": "1Gi"}, "limits": {"memory": "2Gi"}}},
                "gpu": {
                    "resources": {"limits": {"nvidia.com/gpu": 1}},
                    "nodeSelector": {"gpu": "a100"},
                    "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
                    "queueName": "team-a",
                },
            },
            "policy": {
                "maxConcurrentRuns": 1000,
                "modelFormats": ["onnx", "skops", "safetensors", "joblib", "mlflow", "other"],
                "budget": {"cpuHours": 500, "gpuHours": 0.5},
                "allowedImages": ["registry.example/team/*", "*"],
            },
            "retention": {"finishedRuns": "30d12h"},
        },
    ),
    "experiment": changed(EXPERIMENT, {"objective": {"primaryMetric": "auc", "goal": "maximize"}}),
    "trainingrun": changed(
        RUN,
        {
            "code": {"inline": {"train.py": "x" * 100000, "src/more.py": ""}},
            "environment": {"image": "localhost:5000/team/image@sha256:" + "0" * 64, "conda": "dependencies: []"},
            "environmentVariables": {"OMP_NUM_THREADS": "2"},
            "inputs": {
                "a": {"type": "uriFile", "path": "configmap://rows/rows.csv", "digest": "sha256:" + "0" * 64},
                "b": {"type": "uriFolder", "path": "pvc://data/2026/may"},
                "c": {"type": "uriFile", "path": "https://data.example/a.csv?x=1", "credentialsSecret": "web-login"},
                "d": {"type": "uriFile", "path": "s3://data/deep/ä b'c.csv", "credentialsSecret": "s3-login"},
                "e": {"type": "uriFolder", "path": "s3://data"},
                "f": {"type": "uriFolder", "path": "s3://data/2026/may/"},
                "g": {"type": "uriFolder", "path": "run://prep/clean", "target": "churned"},
                "h": {"type": "uriFolder", "path": "model://churn/12"},
                "i": {"type": "uriFile", "path": "workspace://uploads/" + "0" * 64 + "/my rows.csv"},
                "j": {"type": "uriFolder", "path": "configmap://rows/rows.tar.gz", "unpack": True},
                "k": {"type": "uriFolder", "path": "pvc://data/all.zip", "unpack": True},
                "l": {"type": "uriFolder", "path": "s3://data/all.tar.xz", "unpack": True},
            },
            "parameters": {"C": 0.5, "n": 3, "name": "x", "flag": True},
            "outputs": {"model": {"type": "customModel"}, "clean": {"type": "uriFolder"}, "one": {"type": "uriFile"}},
            "instanceType": "gpu",
            "priorityClassName": "batch-low",
            "suspend": True,
            "cancel": False,
            "limits": {"timeout": "1h30m", "finalizing": "500ms", "retries": 10},
            "register": {"model": "churn", "from": "model", "stage": "Production"},
        },
    ),
    "model": changed(MODEL, {"type": "customModel", "format": "joblib", "stage": "Staging", "tags": {"owner": "me"}}),
    "modeldeployment": changed(
        DEPLOYMENT,
        {
            "target": "kubernetes",
            "codeConfiguration": {"code": {"inline": {"score.py": ""}}, "scoringScript": "score.py"},
            "environment": {"pip": ["lightgbm==4.5"]},
            "environmentVariables": {"MODE": "x"},
            "resources": {"requests": {"cpu": 0.5, "memory": "1Gi"}},
            "instanceType": "gpu",
            "replicas": 3,
            "authMode": "none",
            "optimize": "none",
            "requestSettings": {
                "requestTimeout": "5s",
                "maxConcurrentRequestsPerInstance": 1,
                "maxQueueWait": "0s",
                "maxBodyBytes": 1,
            },
            "livenessProbe": {
                "period": "10s",
                "initialDelay": "310s",
                "timeout": "2s",
                "successThreshold": 1,
                "failureThreshold": 3,
            },
        },
    ),
}
FULL["modeldeployment"]["spec"]["resources"]["requests"]["cpu"] = "500m"
SMALLEST = {
    "workspace": WORKSPACE,
    "experiment": EXPERIMENT,
    "trainingrun": RUN,
    "model": MODEL,
    "modeldeployment": DEPLOYMENT,
}

# The scale subresource reads it, as apps/v1's does.
WRITTEN_BY_DEFAULT: dict[str, Json] = {"modeldeployment": {"replicas": 1}}


@pytest.fixture
def kubectl(plane: ControlPlane) -> Iterator[Any]:
    namespace = f"good-{uuid.uuid4().hex[:8]}"
    plane.kubectl("create", "namespace", namespace)
    yield lambda *arguments, stdin=None: plane.kubectl("-n", namespace, *arguments, stdin=stdin)
    plane.kubectl("delete", "namespace", namespace, "--wait=false")


GIT = "https://git.example/team/churn.git"
CODE: dict[str, Json] = {
    "a repository": {"git": {"url": GIT}},
    "a branch with a slash": {"git": {"url": GIT, "revision": "feature/x-1"}},
    "a tag": {"git": {"url": GIT, "revision": "v1.2.3+build.4"}},
    "a folder of a commit, private": {
        "git": {"url": GIT, "revision": "0" * 40, "path": "src/churn", "credentialsSecret": "git"}
    },
    "a port and no suffix": {"git": {"url": "https://git.example:8443/~me/a%20b"}},
    "a Service of the cluster": {"git": {"url": "http://gitea.tools.svc:3000/team/churn.git"}},
    "an archive": {"url": "https://a.example/c.tar.gz?X-Signature=a/b=="},
    "an archive in a bucket": {"url": "s3://my-bucket/team/code 1.zip", "credentialsSecret": "s3"},
    "what was pushed": {"url": "workspace://uploads/" + "0" * 64 + "/my code"},
    "a folder of an archive": {"url": "https://a.example/c.zip", "path": "c-1.2", "digest": "sha256:" + "0" * 64},
    "a Service of the cluster by its whole name": {"git": {"url": "http://gitea.tools.svc.cluster.local/a.git"}},
}


@pytest.mark.parametrize("code", CODE.values(), ids=CODE)
def test_code_is_taken_from(kubectl: Any, code: Json) -> None:
    kubectl("create", "-f", "-", stdin=json.dumps(changed(RUN, {"code": code})))


@pytest.mark.parametrize("size", ["smallest", "fullest"])
@pytest.mark.parametrize("kind", list(FULL))
def test_is_taken_as_it_is_and_applying_it_again_changes_nothing(kubectl: Any, kind: str, size: str) -> None:
    manifest = changed({"smallest": SMALLEST, "fullest": FULL}[size][kind], {})
    for _ in range(2):
        kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(manifest))
    found = json.loads(kubectl("get", kind, manifest["metadata"]["name"], "-o", "json"))
    assert found["spec"] == WRITTEN_BY_DEFAULT.get(kind, {}) | manifest["spec"], (
        "no other default is written into a spec"
    )
    assert found["metadata"]["generation"] == 1
    assert found["status"] == {"observedGeneration": -1}, "a new object never looks current"


def test_one_word_lists_everything_and_deployments_keep_their_meaning(kubectl: Any) -> None:
    for manifest in SMALLEST.values():
        kubectl("create", "-f", "-", stdin=json.dumps(changed(manifest, {})))
    listed = kubectl("get", "smalt", "-o", "name")
    assert len(listed.split()) == 5
    assert kubectl("get", "deployments", "-o", "name") == "", "apps/v1's"
    for short in ("mlws", "mlexp", "mlrun", "mlmodel", "mldeploy"):
        assert kubectl("get", short, "-o", "name").strip()


@pytest.mark.parametrize("apply", [("apply",), ("apply", "--server-side")], ids=" ".join)
def test_a_deployment_is_scaled_and_applying_it_again_leaves_that_alone(kubectl: Any, apply: tuple[str, ...]) -> None:
    unscaled = json.dumps(changed(DEPLOYMENT, {}))
    kubectl(*apply, "-f", "-", stdin=unscaled)
    kubectl("scale", "modeldeployment", "prod", "--current-replicas=1", "--replicas=4")
    kubectl(*apply, "-f", "-", stdin=unscaled)
    assert kubectl("get", "modeldeployment", "prod", "-o", "jsonpath={.spec.replicas}") == "4"


def test_stage_and_tags_of_a_model_may_change(kubectl: Any) -> None:
    kubectl("create", "-f", "-", stdin=json.dumps(changed(MODEL, {})))
    patch = {"spec": {"stage": "Production", "tags": {"owner": "retention"}}}
    kubectl("patch", "model", "churn-1", "--type=merge", "-p", json.dumps(patch))
    assert kubectl("get", "model", "churn-1", "-o", "jsonpath={.spec.stage}") == "Production"


def test_kubectl_explain_tells_a_field(kubectl: Any) -> None:
    assert "1h when absent" in kubectl("explain", "trainingrun.spec.limits.timeout")
    assert "Authorization: Bearer" in kubectl("explain", "modeldeployment.spec.authMode")
