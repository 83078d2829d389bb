"""Models and score scripts that cannot serve, on the real node: the Deployment says why, and recovers when mended."""

from __future__ import annotations

from typing import Any

import pytest

from e2e.cluster_namespace import Json, Namespace, condition, shows
from e2e.test_bad_runs import experiment, run, workspace

TRAIN = """\
import pathlib, sys
import joblib
from sklearn.linear_model import LogisticRegression
target = pathlib.Path(sys.argv[1])
joblib.dump(LogisticRegression().fit([[0.0], [1.0]], [0, 1]), target / "model.joblib")
"""
GARBAGE = "import pathlib, sys\npathlib.Path(sys.argv[1], 'model.joblib').write_bytes(b'this is no model')\n"
SCORE = """\
import json, os
import joblib
def init():
    global model
    model = joblib.load(os.path.join(os.environ["AZUREML_MODEL_DIR"], "model", "model.joblib"))
def run(raw_data):
    return model.predict(json.loads(raw_data)["data"]).tolist()
"""


def training(name: str, script: str, model: str) -> Json:
    return run(
        name,
        script,
        command="python train.py ${{outputs.model}}",
        outputs={"model": {"type": "customModel"}},
        register={"model": model, "from": "model", "stage": "Production"},
    )


def deployment(name: str, model: str, **spec: Any) -> Json:
    resources = {"requests": {"cpu": "50m", "memory": "256Mi"}, "limits": {"memory": "512Mi"}}
    whole = {"workspace": "lab", "model": {"name": model, "version": 1}, "resources": resources} | spec
    return {"apiVersion": "smalt.dev/v1alpha1", "kind": "Deployment", "metadata": {"name": name}, "spec": whole}


def scripted(text: str) -> Json:
    return {"codeConfiguration": {"code": {"inline": {"score.py": text}}, "scoringScript": "score.py"}}


@pytest.fixture(scope="module")
def models(shared: Namespace) -> Namespace:
    """One workspace with a good model and one that is none."""
    shared.apply(workspace(), experiment())
    shared.ready("experiment", "trials", 180)
    shared.apply(training("good", TRAIN, "good"), training("garbage", GARBAGE, "garbage"))
    shared.ready("model", "good-1", 180)
    shared.stalled("model", "garbage-1", 180)
    return shared


def test_an_init_that_raises_shows_its_last_line_and_mending_the_script_serves(models: Namespace) -> None:
    broken = SCORE.replace('"model.joblib"', '"modle.joblib"')
    models.apply(deployment("broken", "good", **scripted(broken)))
    found = models.until(
        "modeldeployment", "broken", lambda it: condition(it, "Ready").get("reason") == "InitFailed", 120
    )
    message = condition(found, "Ready")["message"]
    assert "FileNotFoundError" in message and "init()" in message and "modle.joblib" in message
    shows(models, "modeldeployment", "broken", message)
    models.apply(deployment("broken", "good", **scripted(SCORE)))
    models.ready("modeldeployment", "broken", 120)


def test_a_file_that_is_no_model_is_named(models: Namespace) -> None:
    refused = condition(models.get("model", "garbage-1"), "Ready")
    assert refused["reason"] == "FormatMismatch" and "'model.joblib' is of no format" in refused["message"]
    shows(models, "model", "garbage-1", refused["message"])
    models.apply(deployment("direct", "garbage"))
    found = models.until(
        "modeldeployment", "direct", lambda it: condition(it, "Ready").get("reason") == "WaitingForModel", 60
    )
    message = condition(found, "Ready")["message"]
    assert "model.joblib" in message
    shows(models, "modeldeployment", "direct", message)


def test_a_new_broken_script_leaves_the_old_one_serving(models: Namespace) -> None:
    models.apply(deployment("steady", "good", **scripted(SCORE)))
    models.ready("modeldeployment", "steady", 120)
    models.apply(
        deployment(
            "steady",
            "good",
            **scripted("def init():\n    raise RuntimeError('no licence')\ndef run(raw):\n    return 1\n"),
        )
    )
    found = models.until(
        "modeldeployment", "steady", lambda it: condition(it, "Ready").get("reason") == "ServingPrevious", 120
    )
    assert condition(found, "Ready")["status"] == "True"
    assert "no licence" in condition(found, "Stalled")["message"]
    assert found["status"]["effectiveModel"] == "good-1"


def test_a_deployment_of_a_model_that_does_not_exist_waits_and_says_so(models: Namespace) -> None:
    models.apply(deployment("early", "nothing"))
    found = models.until("modeldeployment", "early", lambda it: bool(condition(it, "Ready")))
    assert condition(found, "Ready")["reason"] == "WaitingForModel"
    assert "nothing-1" in condition(found, "Ready")["message"]


def test_a_model_pinned_to_another_digest_is_refused(models: Namespace) -> None:
    pinned = {
        "apiVersion": "smalt.dev/v1alpha1",
        "kind": "Model",
        "metadata": {"name": "pinned-1"},
        "spec": {
            "name": "pinned",
            "version": 1,
            "workspace": "lab",
            "source": {"run": "good", "output": "model", "digest": "sha256:" + "0" * 64},
        },
    }
    models.apply(pinned)
    found = models.stalled("model", "pinned-1")
    ready = condition(found, "Ready")
    assert ready["reason"] == "DigestMismatch"
    assert "sha256:0000" in ready["message"] and "new version" in ready["message"]
    shows(models, "model", "pinned-1", ready["message"])


def test_an_artifact_altered_in_the_store_does_not_serve(models: Namespace) -> None:
    """One byte of the stored model is flipped where the tracking server keeps it, as a disk or an intruder would."""
    uri = models.get("model", "good-1")["status"]["artifact"]["uri"].removeprefix("mlflow-artifacts:/")
    pod = models.get("pods", "-l", "smalt.dev/workspace=lab,app.kubernetes.io/component=tracking")["items"][0]
    flip = (
        "import pathlib,sys\n"
        "file = next(p for p in pathlib.Path('/data').rglob('model.joblib') if sys.argv[1] in str(p))\n"
        "data = bytearray(file.read_bytes()); data[len(data) // 2] ^= 1; file.write_bytes(data)\n"
    )
    models("exec", pod["metadata"]["name"], "--", "python3", "-c", flip, uri)
    models.apply(deployment("altered", "good", **scripted(SCORE)))
    found = models.until(
        "modeldeployment", "altered", lambda it: condition(it, "Ready").get("reason") == "ModelDigestMismatch", 120
    )
    message = condition(found, "Ready")["message"]
    assert "good-1" in message and "register the model again" in message
    shows(models, "modeldeployment", "altered", message)
