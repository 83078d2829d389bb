"""A whole run by a Python of another make and of the oldest version that images may have."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.fake_tracking import FakeTracking
from support.file_server import FileServer
from support.package_index import PackageIndex, Wheel
from support.run_pod import SOURCE, RunPod, mlflow_variables, wait_until

SCRIPT = """
import json, os, pathlib, platform
from smalt_trainer import run
import tiny_thing

run.log("auc", 0.8)
run.log("auc", 0.91)
print(json.dumps({"metric": "answer", "value": tiny_thing.ANSWER}))
print(platform.python_implementation(), open(os.environ["SMALT_INPUTS_train"]).read())
pathlib.Path(os.environ["SMALT_OUTPUTS_model"], "weights ä.bin").write_bytes(b"w" * 1000)
"""


@pytest.fixture(scope="module")
def python() -> str:
    found = shutil.which("pypy3")
    assert found, "there is no pypy3 on PATH: install Debian's package of that name (apt-get install pypy3)"
    version = subprocess.run([found, "-c", "import sys; print(sys.version_info[:2])"], capture_output=True, text=True)
    assert version.stdout.strip() >= "(3, 9)", (
        f"{found} is Python {version.stdout.strip()}, 3.9 is the oldest that counts"
    )
    return found


def of_another_make(pod: RunPod, folder: Path, python: str) -> RunPod:
    """As in a pod: the tools from a folder that another Python has filled, and `python3` the only name of this one."""
    binaries = folder / "bin"
    binaries.mkdir()
    (binaries / "python3").symlink_to(python)
    command = [sys.executable, "-s", str(SOURCE), "install", str(folder / "tools")]
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    subprocess.run(command, env=environment, check=True)
    # Its images set the language; by itself it takes file names for ASCII, where CPython takes them for UTF-8.
    pod.variables.update({"PATH": f"{binaries}:/bin", "LANG": "C.UTF-8"})
    if any("url" in each["source"] for each in pod.contract["inputs"].values()):
        # Our own image's work, whatever the script's Python is.
        assert pod.fetch()["outcome"] == "succeeded", pod.err
    return pod.start(str(binaries / "python3"), folder / "tools")


def test_a_run_with_data_packages_metrics_and_outputs(python: str, tmp_path: Path) -> None:
    data = b"a,b\n1,2\n"
    wheel = Wheel("tiny-thing", "1.2.0", "ANSWER = 42\n")
    with FakeTracking() as server, FileServer({"/churn.csv": data}) as files, PackageIndex((wheel,)) as index:
        url = f"{files.url}/churn.csv"
        source = {"type": "uriFile", "path": url, "source": {"url": url}}
        pod = RunPod(
            tmp_path,
            mlflow_variables(server.url, "runs", "secret"),
            SCRIPT,
            inputs={"train": {**source, "digest": "sha256:" + hashlib.sha256(data).hexdigest()}},
            outputs={"model": {"type": "customModel"}},
            environment={"conda": "dependencies:\n- python>=3.9\n- pip:\n  - tiny-thing>=1\n"},
        )
        pod.variables["UV_DEFAULT_INDEX"] = index.url
        message = of_another_make(pod, tmp_path, python).finish()
    assert message["outcome"] == "succeeded", pod.err
    assert message["metrics"] == {"auc": 0.91, "answer": 42.0}
    assert message["outputs"]["model"]["bytes"] == 1000
    assert "PyPy a,b" in pod.out
    assert server.artifacts["outputs/model/weights ä.bin"] == b"w" * 1000
    assert (
        f"tiny-thing==1.2.0 \\\n    --hash=sha256:{wheel.sha256}"
        in server.artifacts["environment/requirements.lock"].decode()
    )
    assert server.runs["r1"]["status"] == "FINISHED"


@pytest.mark.parametrize(
    ("script", "reason", "words"),
    [
        ("raise ValueError('no column churned')", "ScriptFailed", "ValueError: no column churned"),
        ("import time; open('started', 'w'); time.sleep(600)", "Terminated", "while the script ran"),
    ],
)
def test_a_run_that_fails_is_told_in_the_same_words(
    python: str, tmp_path: Path, script: str, reason: str, words: str
) -> None:
    with FakeTracking() as server:
        pod = RunPod(tmp_path, mlflow_variables(server.url, "runs", "secret"), script)
        of_another_make(pod, tmp_path, python)
        if reason == "Terminated":
            wait_until((tmp_path / "work/code/started").exists, "the script's start")
            pod.terminate()
        message = pod.finish()
    assert message["reason"] == reason and words in message["message"]
    assert server.runs["r1"]["status"] == ("KILLED" if reason == "Terminated" else "FAILED")
