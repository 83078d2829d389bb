"""Scoring pods with packages of their own, laid out as the image has them: the server's apart, the environment's before all."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import joblib
import pytest

from support.run_pod import SOURCE as TOOLS
from support.scorer_image import laid_out
from support.scoring_pod import ScoringPod

ECHO = "def run(raw_data):\n    return raw_data\n"
CONDA = """\
name: project_environment
channels: [conda-forge]
dependencies:
  - python=3.11
  - pip:
      - azureml-defaults
      - joblib
"""
AZURE = """\
import os, sys
from azureml.core.model import Model
from azureml.contrib.services.aml_request import AMLRequest, rawhttp
from azureml.contrib.services.aml_response import AMLResponse
import azureml.core, numpy, pydantic

def init():
    global where
    where = os.environ["AZUREML_MODEL_DIR"]

@rawhttp
def run(request):
    found = {"core": azureml.core.VERSION, "numpy": numpy.__version__, "prefix": sys.prefix, "pydantic": pydantic.VERSION}
    return AMLResponse(found, 200, json_str=True)
"""


def ended(folder: Path, script: str = ECHO, **changes: Any) -> dict[str, Any]:
    """The last words of a pod that cannot serve."""
    pod = ScoringPod(folder, script, {"model.joblib": b"weights"}, **changes).start()
    try:
        assert pod.wait(60) == 1, pod.log
        return pod.message
    finally:
        pod.end()


def test_another_minor_version_than_the_trainings_is_refused_unless_it_is_accepted(tmp_path: Path) -> None:
    written = {"numpy": metadata.version("numpy"), "scikit-learn": "0.24.2"}
    said = ended(tmp_path, writtenWith=written)
    assert said["reason"] == "VersionSkew" and "scikit-learn 0.24.2" in said["message"]
    assert "environment: {allowSkew: true}" in said["message"]
    with ScoringPod(tmp_path, ECHO, {}, writtenWith=written, allowSkew=True) as pod:
        assert pod.score("well").json == '"well"'


def environment(folder: Path) -> Path:
    """A virtual environment on top of the packages of this test, and where its own lie."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    packages = folder / f"lib/python3.{sys.version_info.minor}/site-packages"
    image = Path(joblib.__file__).parents[1]
    (packages / "smalt-image.pth").write_text(f"import site; site.addsitedir({str(image)!r})\n")
    return packages


def test_a_package_that_the_server_does_not_work_with_is_named_before_it_is_loaded(tmp_path: Path) -> None:
    packages = environment(tmp_path / "environment")
    (packages / "greenlet").mkdir()
    (packages / "greenlet/__init__.py").write_text("raise SystemError('too old')")
    info = packages / "greenlet-1.1.3.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: greenlet\nVersion: 1.1.3\n")
    said = ended(tmp_path)
    assert said["reason"] == "EnvironmentClash"
    assert "greenlet 1.1.3, and the scoring server needs greenlet>=3.0" in said["message"]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The image's Python, and its sources."""
    return laid_out(tmp_path_factory.mktemp("image") / "opt")


def in_image(pod: ScoringPod, image: tuple[Path, Path]) -> ScoringPod:
    pod.python, pod.source = image
    return pod


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_scripts_and_environments_see_nothing_of_the_servers_own_packages(
    image: tuple[Path, Path], tmp_path: Path
) -> None:
    listed = subprocess.run(
        [
            str(image[0]),
            "-c",
            "from importlib import metadata as m; print({d.name.lower() for d in m.distributions()})",
        ],
        env={"PYTHONPATH": str(image[1])},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "'scikit-learn'" in listed and "'uvicorn'" not in listed and "'greenlet'" not in listed
    script = "import greenlet, numpy\ndef run(raw_data):\n    return [greenlet.__file__, numpy.__file__]\n"
    with in_image(ScoringPod(tmp_path, script, {}), image) as pod:
        own, scripts = pod.score({}).json
    assert "scorer-packages" in own and str(image[0].parents[1]) in scripts


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_environment_that_lists_azureml_defaults_is_installed_and_serves(
    image: tuple[Path, Path], tmp_path: Path
) -> None:
    """From the index that this machine has, as a user's pod would: nothing of it is ours."""
    pod = in_image(ScoringPod(tmp_path, AZURE, {}, environment={"conda": CONDA}), image)
    pod.write_contract()
    command = [str(image[0]), "-s", str(TOOLS), "environment", "--from", str(tmp_path / "scoring.json")]
    command += ["--into", str(tmp_path / "environment")]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # where uv is
    variables = {**os.environ, "PATH": path, "HOME": str(tmp_path), "PYTHONPATH": "", "SMALT_ROOT": str(tmp_path)}
    made = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=500)
    assert made.returncode == 0, made.stderr[-3000:]
    with pod:
        answer = pod.score({})
        assert answer.code == 200, pod.log
        assert answer.json["prefix"] == str(tmp_path / "environment")
        assert answer.json["core"].startswith("1."), "Azure's own package, not a stand-in"
    lock = (tmp_path / "environment/smalt/requirements.lock").read_text()
    assert "azureml-core==" in lock and "uvicorn==" not in lock and f"numpy=={answer.json['numpy']}" in lock
