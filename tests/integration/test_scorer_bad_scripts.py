"""Scripts that do what they should not: whoever asks hears of it, and the next one is served."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.scoring_pod import PRIMARY, SECONDARY, ScoringPod

FAILED = {"message": "An unexpected error occurred in scoring script. Check the logs for more info."}
SCRIPT = """
import json, os, signal, sys, threading
import azureml.core
from flask import Response

def init():
    print("environment", dict(os.environ))

def run(raw_data, request_headers):
    print("headers", request_headers)
    return eval(json.loads(raw_data)["give"])
"""


@pytest.fixture(scope="module")
def pod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScoringPod]:
    patient = {"requestTimeoutSeconds": 30}  # 200 MB take their time on a busy machine
    folder = tmp_path_factory.mktemp("pod")
    with ScoringPod(folder, SCRIPT, {"weights.txt": b"7"}, requestSettings=patient) as started:
        yield started


def give(pod: ScoringPod, expression: str) -> tuple[int, object]:
    answer = pod.score({"give": expression})
    return answer.code, answer.json


@pytest.mark.parametrize(
    ("expression", "logged"),
    [
        ("object()", "TypeError: run() gave back a object, which has no form in JSON"),
        ("'x' * 200_000_000", "run() gave back 191 MiB, more than the 100 MiB of an answer"),
        ("b'x' * 200_000_000", "run() gave back 191 MiB, more than the 100 MiB of an answer"),
        ("['x' * 1000] * 200_000", "more than the 100 MiB of an answer: send the result in parts"),
        ("(lambda a: (a.append(a), a)[1])([])", "ValueError: Circular reference detected"),
        ("sys.exit(0)", "SystemExit: 0"),
        ("(_ for _ in ()).throw(KeyboardInterrupt)", "KeyboardInterrupt"),
        ("(_ for _ in ()).throw(GeneratorExit)", "GeneratorExit"),
        ("(lambda f: f(f))(lambda f: f(f))", "RecursionError"),
        ("Response(iter([b'a', 1 / 0]))", "ZeroDivisionError"),
        ("azureml.core.Workspace.from_config()", "azureml.core.Workspace.from_config is not offered by a Deployment"),
    ],
    ids=lambda each: each[:24],
)
def test_what_a_run_does_wrong_is_told_in_the_log_and_the_next_one_served(
    pod: ScoringPod, expression: str, logged: str
) -> None:
    answer = pod.score({"give": expression})
    assert (answer.code, answer.json, answer.headers["x-ms-run-function-failed"]) == (500, FAILED, "True")
    assert logged in pod.log
    assert give(pod, "1 + 1") == (200, 2)


def resident_bytes(process: int) -> int:
    """Of a process and its children."""
    own = int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return own + sum(resident_bytes(int(child)) for child in children)


def test_memory_is_given_back_after_answers_that_are_too_long(pod: ScoringPod) -> None:
    assert pod.process is not None
    for _ in range(3):
        give(pod, "'x' * 200_000_000")
    assert resident_bytes(pod.process.pid) < 400 << 20


def test_no_key_reaches_the_script_nor_the_log(pod: ScoringPod) -> None:
    assert give(pod, "request_headers.get('Authorization')") == (200, {})
    assert give(pod, "'Content-Type' in request_headers") == (200, True)
    assert "environment {" in pod.log
    assert "headers {" in pod.log
    for key in (PRIMARY, SECONDARY):
        assert key not in pod.log


def test_a_signal_of_the_scripts_own_stays_the_scripts(pod: ScoringPod) -> None:
    assert give(pod, "signal.signal(signal.SIGUSR1, lambda *_: None) or 1") == (200, 1)
    assert give(pod, "signal.alarm(1)")[0] == 200
    assert give(pod, "'still there'") == (200, "still there")


@pytest.mark.parametrize(
    ("script", "reason", "told"),
    [
        ("def init(): pass", "ScriptInvalid", "has no function run(raw_data)"),
        ("def run(): pass", "ScriptInvalid", "takes no argument for the data"),
        ("def init(): raise ValueError('no weights')\ndef run(raw): 1", "InitFailed", "ValueError: no weights"),
        ("def init(): raise SystemExit(0)\ndef run(raw): 1", "InitFailed", "SystemExit: 0"),
        ("import azureml.automl\ndef run(raw): 1", "ScriptInvalid", "No module named 'azureml.automl'"),
        (
            "from azureml.core import Model, Workspace\ndef init(): Model(Workspace, 'x')\ndef run(raw): 1",
            "InitFailed",
            "Model.get_model_path(name) and AZUREML_MODEL_DIR say where",
        ),
    ],
)
def test_a_script_that_cannot_begin_is_told_in_the_last_words_of_the_pod(
    script: str, reason: str, told: str, tmp_path: Path
) -> None:
    pod = ScoringPod(tmp_path, script, {"weights.txt": b"7"}).start()
    try:
        assert pod.wait() == 1
        assert pod.message["reason"] == reason
        assert told in pod.message["message"]
    finally:
        pod.end()


LEAVES = """
import atexit, threading

def init():
    atexit.register(lambda: print("at the end", sorted(each.name for each in threading.enumerate() if each.name == "http")))
    raise ValueError("no weights")

def run(raw_data):
    return 1
"""


def test_a_script_that_cannot_begin_ends_with_its_own_functions_at_exit_and_no_event_loop(tmp_path: Path) -> None:
    pod = ScoringPod(tmp_path, LEAVES, {"weights.txt": b"7"}).start()
    try:
        assert pod.wait() == 1, "an event loop in a Python that is taken apart crashes it"
        assert "at the end []" in pod.log
    finally:
        pod.end()
