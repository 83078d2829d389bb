"""The sample of optimize: onnx on the real node: a forest in ONNX Runtime answers as it does itself, and what cannot be
converted is served as it is and says why."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from demo.__main__ import port_forward
from demo.kubectl import REPOSITORY
from e2e.cluster_namespace import Json, Namespace, condition, shows, tracking
from e2e.test_any_image import plain_python_image
from e2e.test_bad_runs import experiment, run, workspace
from e2e.test_environments import LOGIN, private_index

SAMPLE = REPOSITORY / "manifests/samples/optimize"
REQUEST = json.loads((SAMPLE / "request.json").read_text())


@pytest.fixture(scope="module")
def optimized(shared: Namespace) -> Namespace:
    shared("apply", "-k", str(SAMPLE))
    for name in ("forest-1", "nearest-1"):
        shared.ready("model", name, 420)
    for name in ("forest", "nearest"):
        shared.ready("modeldeployment", name, 240)
    return shared


@contextmanager
def asking(namespace: Namespace, name: str) -> Iterator[Callable[..., tuple[int, Any]]]:
    secret = namespace.get("secret", f"{name}-key")
    key = base64.b64decode(secret["data"]["primaryKey"]).decode()
    with port_forward(namespace, f"service/{name}", 80) as port:

        def ask(path: str, body: Any = None) -> tuple[int, Any]:
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}{path}", headers={"Authorization": f"Bearer {key}"}
            )
            if body is not None:
                request.data = json.dumps(body).encode()
                request.add_header("Content-Type", "application/json")
            try:
                with urllib.request.urlopen(request, timeout=30) as response:
                    return response.status, json.loads(response.read())
            except urllib.error.HTTPError as error:
                return error.code, json.loads(error.read())

        yield ask


def test_the_registered_forest_has_onnx_beside_it(optimized: Namespace) -> None:
    status = optimized.get("model", "forest-1")["status"]
    onnx = status["onnx"]
    assert onnx["rows"] == 200 and onnx["maxDifference"] <= onnx["tolerance"] == 1e-05
    assert onnx["digest"] != status["artifact"]["digest"] and status["format"] == "joblib"
    assert [each["name"] for each in status["schema"]["inputs"]] == ["tenure", "charges", "plan"]
    with tracking(optimized, "optimize") as ask:
        place = onnx["uri"].removeprefix("mlflow-artifacts:/")
        manifest = json.loads(ask(f"api/2.0/mlflow-artifacts/artifacts/{place}.manifest.json"))
        card = ask(f"api/2.0/mlflow-artifacts/artifacts/{status['card'].removeprefix('mlflow-artifacts:/')}")
    assert [each["path"] for each in manifest] == ["model.onnx"] and "ONNX" in card


def test_it_is_served_from_onnx_runtime_and_says_so(optimized: Namespace) -> None:
    found = optimized.get("modeldeployment", "forest")
    said = condition(found, "Optimized")
    assert (said["status"], said["reason"]) == ("True", "Converted") and "200 rows" in said["message"]
    assert said["message"] in optimized("describe", "modeldeployment", "forest")
    with asking(optimized, "forest") as ask:
        code, told = ask("/v2/models/forest")
    assert code == 200 and told["platform"] == "onnx_onnxv1"


def test_both_ways_of_serving_it_give_the_same_answers(optimized: Namespace) -> None:
    plain: Json = {
        "apiVersion": "smalt.dev/v1alpha1",
        "kind": "Deployment",
        "metadata": {"name": "plain"},
        "spec": {"workspace": "optimize", "model": {"name": "forest", "version": 1}},
    }
    optimized.apply(plain)
    assert condition(optimized.ready("modeldeployment", "plain", 240), "Optimized") == {}
    with asking(optimized, "forest") as ask_onnx, asking(optimized, "plain") as ask_plain:
        assert ask_plain("/v2/models/forest")[1]["platform"] == "sklearn_joblib"
        assert ask_onnx("/score", REQUEST) == ask_plain("/score", REQUEST)
        body = REQUEST | {"method": "predict_proba"}
        (_, onnx), (_, original) = ask_onnx("/score", body), ask_plain("/score", body)
        for found, expected in zip(onnx["probabilities"], original["probabilities"], strict=True):
            assert found == pytest.approx(expected, abs=1e-5)
        wrong = {"data": [REQUEST["data"][0] | {"tenure": "long"}]}
        # The graph takes numbers where the original's column holds whole ones.
        for refused in (ask_onnx("/score", wrong), ask_plain("/score", wrong)):
            assert refused[0] == 400 and "row 0, column 'tenure': \"long\" is a text" in refused[1]["message"]


def test_what_cannot_be_converted_is_served_as_it_is_with_the_reason(optimized: Namespace) -> None:
    why = optimized.get("model", "nearest-1")["status"]["onnx"]
    assert why["reason"] == "NotConvertible" and "NearestCentroid" in why["message"]
    found = optimized.get("modeldeployment", "nearest")
    assert condition(found, "Ready")["status"] == "True"
    said = condition(found, "Optimized")
    assert (said["status"], said["reason"]) == ("False", "NotConvertible")
    assert "served as it is" in said["message"] and "NearestCentroid" in said["message"]
    shows(optimized, "modeldeployment", "nearest", condition(found, "Ready")["message"])
    with asking(optimized, "nearest") as ask:
        code, answer = ask("/score", REQUEST)
    assert code == 200 and len(answer["predictions"]) == len(REQUEST["data"])


DATA = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "optimize-data"},
    "data": {"churn.csv": (SAMPLE / "churn.csv").read_text()},
}
TABLE = {"train": {"type": "uriFile", "path": "configmap://optimize-data/churn.csv", "target": "churned"}}
TRAIN = "import tiny_thing\n" + (SAMPLE / "train.py").read_text()
# A model from elsewhere: the image that the script runs in could not read it.
COPY = """\
import pathlib, shutil, sys
shutil.copytree(sys.argv[1], sys.argv[2], dirs_exist_ok=True)
"""


def registering(name: str, script: str, model: str, **spec: Any) -> Json:
    outputs = {"outputs": {"model": {"type": "customModel"}}, "register": {"model": model, "from": "model"}}
    return run(name, script, **outputs, **spec)


def test_the_runs_packages_come_back_from_a_private_index_for_the_conversion_and_a_model_that_cannot_be_read_is_registered(
    namespace: Namespace,
) -> None:
    namespace.apply(workspace(packages=private_index(namespace)), experiment(), DATA)
    command = "python train.py ${{inputs.train}} forest ${{outputs.model}}"
    own = {"environment": {"pip": ["tiny-thing"]}, "inputs": TABLE}
    namespace.apply(registering("packaged", TRAIN, "packaged", command=command, **own))
    onnx = namespace.ready("model", "packaged-1", 480)["status"]["onnx"]
    assert onnx.get("rows") == 200, onnx

    copying = {
        "command": "python train.py ${{inputs.model}} ${{outputs.model}}",
        "environment": {"image": plain_python_image()},
        "inputs": {"model": {"type": "uriFolder", "path": "run://packaged/model"}},
    }
    namespace.apply(registering("copied", COPY, "copied", **copying))
    found = namespace.ready("model", "copied-1", 480)
    assert condition(found, "Ready")["reason"] == "Registered"
    assert found["status"]["onnx"]["reason"] in ("ModelNotLoadable", "ConverterUnavailable"), found["status"]["onnx"]
    everything = namespace("get", "models,jobs,pods,events", "-o", "json")
    assert LOGIN[1] not in everything
