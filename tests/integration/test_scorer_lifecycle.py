"""A scoring pod from its start to its end: what it waits for, refuses, says last, and finishes."""

from __future__ import annotations

import io
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import joblib
import pytest
from sklearn.linear_model import LinearRegression

from support.run_pod import wait_until
from support.scoring_pod import PRIMARY, ScoringPod
from support.tracking import free_port

FILES = {"weights.txt": b"7"}
# Waits, at init() or at run(), until the test lets it go on; so nothing here depends on how fast a machine is.
GATED = """
import os, pathlib, time
HOME = pathlib.Path(os.environ["HOME"])

def wait(name):
    (HOME / (name + ".reached")).touch()
    while not (HOME / name).exists():
        time.sleep(0.01)

def init():
    wait("init.may-end")

def run(raw_data):
    if "wait" in raw_data:
        wait("run.may-end")
    return {"weight": int(pathlib.Path(os.environ["AZUREML_MODEL_DIR"], "model", "weights.txt").read_text())}
"""


def let(pod: ScoringPod, name: str) -> None:
    (pod.folder / f"{name}.may-end").touch()


def reached(pod: ScoringPod, name: str) -> None:
    path = pod.folder / f"{name}.may-end.reached"
    wait_until(lambda: path.exists() or pod.exit_code is not None, f"{name}() being busy")
    assert pod.exit_code is None, pod.log


@pytest.fixture
def started(tmp_path: Path) -> Iterator[list[ScoringPod]]:
    """Pods that are ended whatever becomes of the test."""
    pods: list[ScoringPod] = []
    yield pods
    for pod in pods:
        pod.end()


def start(started: list[ScoringPod], folder: Path, script: str | None, **changes: Any) -> ScoringPod:
    pod = ScoringPod(folder, script, FILES, **changes).start()
    started.append(pod)
    return pod


def test_a_pod_is_alive_but_not_ready_before_init_has_ended(started: list[ScoringPod], tmp_path: Path) -> None:
    pod = start(started, tmp_path, GATED)
    reached(pod, "init")
    assert [pod.get(path).code for path in ("/healthz", "/", "/readyz", "/metrics")] == [200, 200, 503, 200]
    early = pod.score({})
    assert (early.code, early.headers["retry-after"]) == (503, "1")
    let(pod, "init")
    pod.wait_ready()
    assert pod.score({}).json == {"weight": 7}


# C code that never comes back, lets other threads work meanwhile, and listens to no signal: a lock taken twice.
HANGING = """
import ctypes, os, pathlib

def hang(name):
    (pathlib.Path(os.environ["HOME"]) / (name + ".may-end.reached")).touch()
    lock = ctypes.create_string_buffer(64)
    for _ in range(2):
        ctypes.CDLL(None).pthread_mutex_lock(lock)
"""


@pytest.mark.parametrize(
    "script", [GATED, HANGING + "def init(): hang('init')\ndef run(raw): 1"], ids=["waiting", "in C code"]
)
def test_a_pod_that_is_ended_during_init_goes_at_once_and_says_so(
    started: list[ScoringPod], tmp_path: Path, script: str
) -> None:
    pod = start(started, tmp_path, script)
    reached(pod, "init")
    pod.terminate()
    assert pod.wait(5) == 1
    assert pod.message["reason"] == "InitFailed"
    assert "before init() of score script 'score.py' came back: see in the pod's log" in pod.message["message"]


def test_a_run_that_does_not_let_itself_be_interrupted_is_answered_for_and_ends_the_server(
    started: list[ScoringPod], tmp_path: Path
) -> None:
    settings = {"requestTimeoutSeconds": 1, "maxQueueWaitSeconds": 0.1}
    script = HANGING + "def run(raw): return hang('run') if 'hang' in raw else 1"
    pod = ScoringPod(tmp_path, script, FILES, requestSettings=settings)
    started.append(pod.start("--stuck-seconds", "4"))
    pod.wait_ready()
    assert pod.score("hang").json == {"message": "Scoring timeout after 1000 ms"}
    assert [pod.get(path).code for path in ("/readyz", "/healthz")] == [503, 200]
    assert b"run() is over its time" in pod.get("/readyz").body
    assert pod.score("other").code == 503
    assert pod.wait(20) == 1
    assert pod.message["reason"] == "RunStuck"
    assert "requestSettings.requestTimeout (1 s)" in pod.message["message"]


FORKING = """
import os, signal, time

def run(raw_data):
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.write(writing, b"x")
        time.sleep(600)
    os.read(reading, 1)
    os.kill(child, signal.SIGTERM)
    return os.WTERMSIG(os.waitpid(child, 0)[1])
"""


def test_a_process_that_the_script_forks_can_be_ended_and_the_server_stays(
    started: list[ScoringPod], tmp_path: Path
) -> None:
    pod = start(started, tmp_path, FORKING, requestSettings={"requestTimeoutSeconds": 20})
    pod.wait_ready()
    assert [pod.score({}).json, pod.score({}).json] == [15, 15]
    assert pod.get("/readyz").code == 200


def test_probes_are_answered_while_a_run_is_busy(started: list[ScoringPod], tmp_path: Path) -> None:
    pod = start(started, tmp_path, GATED, requestSettings={"requestTimeoutSeconds": 60})
    let(pod, "init")
    pod.wait_ready()
    with ThreadPoolExecutor() as callers:
        busy = callers.submit(pod.score, "wait")
        reached(pod, "run")
        assert [pod.get(path).code for path in ("/healthz", "/readyz", "/metrics")] == [200, 200, 200]
        assert "smalt_scorer_in_flight 1.0" in pod.get("/metrics").body.decode()
        assert not busy.done()
        let(pod, "run")
        assert busy.result().code == 200


def test_when_its_turn_does_not_come_a_request_is_told_to_come_again(started: list[ScoringPod], tmp_path: Path) -> None:
    pod = start(started, tmp_path, GATED, requestSettings={"requestTimeoutSeconds": 60, "maxQueueWaitSeconds": 0.2})
    let(pod, "init")
    pod.wait_ready()
    with ThreadPoolExecutor() as callers:
        busy = callers.submit(pod.score, "wait")
        reached(pod, "run")
        waited = pod.score({})
        assert (waited.code, waited.headers["retry-after"]) == (503, "1")
        let(pod, "run")
        assert busy.result().code == 200
    assert pod.score({}).code == 200


def test_beyond_the_most_that_may_wait_a_request_is_refused_without_waiting(
    started: list[ScoringPod], tmp_path: Path
) -> None:
    settings = {"requestTimeoutSeconds": 60, "maxQueueWaitSeconds": 60, "maxConcurrentRequests": 2}
    pod = start(started, tmp_path, GATED, requestSettings=settings)
    let(pod, "init")
    pod.wait_ready()
    with ThreadPoolExecutor() as callers:
        first = callers.submit(pod.score, "wait")
        reached(pod, "run")
        second = callers.submit(pod.score, {})
        wait_until(lambda: "smalt_scorer_in_flight 2.0" in pod.get("/metrics").body.decode(), "two being in flight")
        assert pod.score({}).code == 503
        let(pod, "run")
        assert [first.result().code, second.result().code] == [200, 200]


def test_sigterm_finishes_what_has_come_and_ends_with_0(started: list[ScoringPod], tmp_path: Path) -> None:
    pod = start(started, tmp_path, GATED, requestSettings={"requestTimeoutSeconds": 60, "maxQueueWaitSeconds": 60})
    let(pod, "init")
    pod.wait_ready()
    with ThreadPoolExecutor() as callers:
        running = callers.submit(pod.score, "wait")
        reached(pod, "run")
        waiting = callers.submit(pod.score, {})
        wait_until(lambda: "smalt_scorer_in_flight 2.0" in pod.get("/metrics").body.decode(), "two being in flight")
        pod.terminate()
        wait_until(lambda: pod.get("/readyz").code == 503, "/readyz saying that the pod goes", 2)
        late = callers.submit(pod.score, {})  # endpoints have not all heard of it yet
        let(pod, "run")
        assert [each.result().code for each in (running, waiting, late)] == [200, 200, 200]
    assert pod.wait(20) == 0
    assert (pod.folder / "termination-log").read_text() == ""


def test_files_that_are_not_the_registered_ones_are_not_loaded(started: list[ScoringPod], tmp_path: Path) -> None:
    pod = ScoringPod(tmp_path, "open('imported', 'w')\ndef run(raw): return 1", FILES)
    (pod.model_dir / "model/weights.txt").write_text("8")
    started.append(pod.start())
    assert pod.wait() == 1
    assert pod.message["reason"] == "ModelDigestMismatch"
    assert "'churn-3'" in pod.message["message"]
    assert pod.contract["model"]["digest"] in pod.message["message"]
    assert list(tmp_path.rglob("imported")) == []


@pytest.mark.parametrize(
    ("script", "reason", "told"),
    [
        ("def init(): raise KeyError('weights')\ndef run(raw): 1", "InitFailed", "KeyError: 'weights'"),
        ("import no_such_module_x", "ScriptInvalid", "No module named 'no_such_module_x'"),
        ("def init(): pass", "ScriptInvalid", "run(raw_data)"),
        (None, "ModelNotLoadable", "score script"),
    ],
    ids=["init raises", "a package is missing", "no run", "no script and no model"],
)
def test_a_pod_that_cannot_serve_says_why_in_its_termination_message(
    started: list[ScoringPod], tmp_path: Path, script: str | None, reason: str, told: str
) -> None:
    pod = start(started, tmp_path, script)
    assert pod.wait() == 1
    assert pod.message["reason"] == reason
    assert told in pod.message["message"]


def test_a_contract_of_another_release_names_the_field(started: list[ScoringPod], tmp_path: Path) -> None:
    pod = start(started, tmp_path, GATED, authMode="token")
    assert pod.wait() == 1
    assert pod.message["reason"] == "InternalError"
    assert "authMode" in pod.message["message"]


def test_code_of_a_config_map_and_variables_reach_the_script(started: list[ScoringPod], tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (code / "score.py").write_text("import os\ndef run(raw): return os.environ['LEVEL'] + open('beside.txt').read()")
    (code / "beside.txt").write_text("!")
    changes = {"code": {"folder": str(code)}, "scoringScript": "score.py", "environmentVariables": {"LEVEL": "high"}}
    pod = start(started, tmp_path, None, authMode="none", **changes)
    pod.wait_ready()
    assert pod.score({}, "no key is needed").json == "high!"
    assert pod.request("GET", "/score?a=1").code == 200


WRITING = """
import pathlib

def init():
    pathlib.Path("seen").write_text("init")

def run(raw_data):
    pathlib.Path("folder").mkdir(exist_ok=True)
    pathlib.Path("folder/x").write_text(pathlib.Path("seen").read_text())
    return pathlib.Path("folder/x").read_text()
"""


@pytest.mark.parametrize("where", ["inline", "mounted"])
def test_a_script_may_write_where_it_starts(started: list[ScoringPod], tmp_path: Path, where: str) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (code / "score.py").write_text(WRITING)
    changes = {"code": {"folder": str(code)}, "scoringScript": "score.py"} if where == "mounted" else {}
    pod = start(started, tmp_path, WRITING, **changes)
    pod.wait_ready()
    assert pod.score({}).json == "init"
    # A mount is read-only for the pod, which the folder of a test is not: so it is looked at afterwards.
    assert [path.name for path in code.iterdir()] == ["score.py"]


def test_packages_of_the_deployments_own_environment_are_used(started: list[ScoringPod], tmp_path: Path) -> None:
    own = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(own)], check=True)
    packages = own / f"lib/python3.{sys.version_info.minor}/site-packages"
    (packages / "only_there.py").write_text("VALUE = 42")
    # As an environment on top of an image has it: the image's packages stay importable.
    image = Path(joblib.__file__).parents[1]
    (packages / "smalt-image.pth").write_text(f"import site; site.addsitedir({str(image)!r})\n")
    script = "import only_there, sys\ndef run(raw): return [only_there.VALUE, sys.prefix]"
    pod = start(started, tmp_path, script)
    pod.wait_ready()
    assert pod.score({}).json == [42, str(own)]


def test_a_model_is_served_without_a_script_on_a_laptop(started: list[ScoringPod], tmp_path: Path) -> None:
    written = io.BytesIO()
    joblib.dump(LinearRegression().fit([[0.0], [1.0]], [0.0, 2.0]), written)
    pod = ScoringPod(tmp_path, None, {"model.joblib": written.getvalue()})
    started.append(pod.launch("--model-dir", str(pod.model_dir), "--port", str(pod.port)))
    pod.wait_ready()
    answer = pod.request("POST", "/score", b'{"data": [[3.0]]}', Content_Type="application/json")
    assert [round(each, 6) for each in answer.json["predictions"]] == [6.0]
    wrong = pod.request("POST", "/score", b'{"data": [[3.0, 4.0]]}', Content_Type="application/json")
    assert (wrong.code, wrong.json["message"]) == (400, "row 0 of 'data' has 2 values, the model takes 1")
    assert f"http://127.0.0.1:{pod.port}/score" in pod.log


def test_a_script_is_served_on_a_laptop(started: list[ScoringPod], tmp_path: Path) -> None:
    pod = ScoringPod(tmp_path, None, FILES)
    script = tmp_path / "score.py"
    script.write_text(GATED)
    let(pod, "init")
    arguments = ["--model-dir", str(pod.model_dir), "--scoring-script", str(script), "--port", str(pod.port)]
    started.append(pod.launch(*arguments))
    pod.wait_ready()
    assert pod.request("POST", "/score", b"{}", Content_Type="application/json").json == {"weight": 7}
    pod.terminate()
    began = time.monotonic()
    assert pod.wait(20) == 0
    assert time.monotonic() - began < 15


def test_a_further_port_answers_all_that_the_first_one_does(started: list[ScoringPod], tmp_path: Path) -> None:
    pod, further = ScoringPod(tmp_path, None, FILES), free_port()
    script = tmp_path / "score.py"
    script.write_text("def run(raw_data): return raw_data")
    arguments = ["--model-dir", str(pod.model_dir), "--scoring-script", str(script), "--port", str(pod.port)]
    started.append(pod.launch(*arguments, "--health_port", str(further)))
    pod.wait_ready()
    first = pod.port
    for port in (first, further, first):
        pod.port = port
        assert pod.get("/healthz").body == b"Healthy"
        assert pod.score("well", "").json == '"well"'


def test_a_further_port_that_is_taken_is_told(started: list[ScoringPod], tmp_path: Path) -> None:
    pod = start(started, tmp_path, "def run(raw): return 1")
    pod.wait_ready()
    other = ScoringPod(tmp_path / "other", None, FILES)
    ports = ("--port", str(other.port), "--health_port", str(pod.port))
    started.append(other.launch("--model-dir", str(other.model_dir), *ports))
    assert other.wait() == 1
    assert f"port {pod.port} cannot be listened on" in other.log


def test_a_port_that_is_taken_is_told(started: list[ScoringPod], tmp_path: Path) -> None:
    pod = start(started, tmp_path, "def run(raw): return 1")
    pod.wait_ready()
    other = ScoringPod(tmp_path / "other", None, FILES)
    started.append(other.launch("--model-dir", str(other.model_dir), "--port", str(pod.port)))
    assert other.wait() == 1
    assert f"port {pod.port} cannot be listened on" in other.log
    assert pod.score({}, PRIMARY).code == 200
