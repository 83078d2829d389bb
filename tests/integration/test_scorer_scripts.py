"""Score scripts of Azure's in a pod: what they import, what they collect, and who may ask."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import joblib
import pytest

from support.run_pod import wait_until
from support.scoring_pod import PRIMARY, ScoringPod
from support.virtualenvs import python_of

FILES = {"weights.txt": b"7"}
COLLECTS = """
import json, os
import pandas
from azureml.ai.monitoring import Collector
from azureml.contrib.services.aml_request import rawhttp
from azureml.contrib.services.aml_response import AMLResponse
from azureml.core.model import Model
from azureml.monitoring import ModelDataCollector

def init():
    global inputs, outputs, first
    inputs, outputs = Collector(name="model_inputs"), Collector(name="model_outputs")
    first = ModelDataCollector("churn", designation="predictions", feature_names=["p"])

@rawhttp
def run(request):
    table = pandas.DataFrame(request.get_json()["data"])
    context = inputs.collect(table)
    outputs.collect(pandas.DataFrame({"p": [0.5] * len(table)}), context)
    first.collect([[0.5]])
    beside = os.path.realpath(os.path.join("azureml-models", "churn", "3", "model"))
    path = Model.get_model_path("churn")
    return AMLResponse([os.path.basename(path), os.path.realpath(path) == beside], 200, json_str=True)
"""


@contextmanager
def serving(folder: Path, script: str, **changes: Any) -> Iterator[ScoringPod]:
    with ScoringPod(folder, script, FILES, **changes) as pod:
        yield pod


def test_what_a_script_collects_lies_in_the_pods_spool(tmp_path: Path) -> None:
    with serving(tmp_path, COLLECTS) as pod:
        assert pod.score({"data": [{"age": 41}, {"age": None}]}).json == ["model", True], pod.log
        spooled = [path.read_text() for path in (tmp_path / "work/collected").iterdir()]
    inputs, outputs, first = [json.loads(line) for text in spooled for line in text.splitlines()]
    assert (inputs["collection"], inputs["rows"]) == ("model_inputs", [{"age": 41.0}, {"age": None}])
    assert (outputs["correlation"], outputs["model"], outputs["version"]) == (inputs["correlation"], "churn", "3")
    assert (first["collection"], first["rows"]) == ("predictions", [{"p": 0.5}])


SHOWS = """
import flask, sys
import azureml_inference_server_http
from azureml_inference_server_http.api.aml_request import rawhttp
from azureml.contrib.services.aml_response import AMLResponse

def init(): pass

@rawhttp
def run(request):
    return AMLResponse({"flask": flask.__file__, "prefix": sys.prefix}, 200, {"X-Mine": "1"}, json_str=True)
"""


@pytest.mark.slow
def test_an_environment_that_has_azures_server_serves_by_ours(tmp_path: Path) -> None:
    own = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(own)], check=True)
    packages = own / f"lib/python3.{sys.version_info.minor}/site-packages"
    azures = next(python_of("bench-azureml").parents[1].glob("lib/python3*/site-packages"))
    image = Path(joblib.__file__).parents[1]
    # The user's packages stand before the image's.
    (packages / "user.pth").write_text(
        "".join(f"import site; site.addsitedir({str(each)!r})\n" for each in (azures, image))
    )
    with serving(tmp_path, SHOWS) as pod:
        answer = pod.score({})
        assert (answer.code, answer.headers["x-mine"]) == (200, "1"), pod.log
        assert answer.json["flask"].startswith(str(azures))
        assert answer.json["prefix"] == str(own)


PLAIN = "import os\ndef run(raw_data):\n    print('called')\n    return dict(os.environ)"


@pytest.fixture(scope="module")
def pod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScoringPod]:
    variables = {"SCORING_TIMEOUT_MS": "7", "SERVICE_NAME": "churn", "AML_CORS_ORIGINS": "https://a.example"}
    with serving(tmp_path_factory.mktemp("pod"), PLAIN, environmentVariables=variables) as started:
        yield started


@pytest.mark.parametrize("path", ["/swagger.json", "/swagger.json?version=3", "/score"])
def test_without_a_key_nothing_is_told(pod: ScoringPod, path: str) -> None:
    assert pod.get(path).code == 401
    assert pod.request("GET", path, Authorization=f"Bearer {PRIMARY}").code == 200


def test_a_preflight_needs_no_key_and_calls_no_script(pod: ScoringPod) -> None:
    before = pod.log.count("called")
    asked = {"Origin": "https://a.example", "Access_Control_Request_Method": "POST"}
    answer = pod.request("OPTIONS", "/score", **asked)
    assert (answer.code, answer.headers["access-control-allow-methods"]) == (200, "GET, POST")
    assert pod.log.count("called") == before
    refused = pod.request("POST", "/score", b"{}", Origin="https://a.example")
    assert (refused.code, refused.headers["access-control-allow-origin"]) == (401, "https://a.example")


def test_azures_variables_are_there_and_the_time_is_the_deployments(pod: ScoringPod) -> None:
    found = pod.score({}).json
    assert found["AZUREML_MODEL_DIR"].endswith("azureml-models/churn/3")
    assert found["AZUREML_ENTRY_SCRIPT"] == "score.py"
    assert found["AML_APP_ROOT"] == str(pod.folder / "work/code")
    assert "SCORING_TIMEOUT_MS is not heeded: requestSettings.requestTimeout (5 s)" in pod.log
    document = pod.request("GET", "/swagger.json", Authorization=f"Bearer {PRIMARY}").json
    assert document["info"]["title"] == "churn"


def test_a_process_that_the_script_ends_takes_the_container_with_it(tmp_path: Path) -> None:
    with serving(tmp_path, "import os\ndef run(raw_data): os._exit(3)") as pod:
        with pytest.raises(ConnectionError):
            pod.score({})
        wait_until(lambda: pod.exit_code == 3, "the container having ended", 10)
