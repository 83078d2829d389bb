"""A training run from contract to termination message, against the real tracking server."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from smalt_trainer.digests import manifest, manifest_digest
from smalt_trainer.tracking import Tracking
from support.fake_tracking import FakeTracking
from support.file_server import FileServer
from support.run_pod import RunPod, mlflow_variables, wait_until
from support.tracking import TrackingServer, free_port

THREE_WAYS = """
import json, os, pathlib
from smalt_trainer import run
import mlflow

run.log("auc", 0.8)
run.log("auc", 0.91)
print(json.dumps({"metric": "f1", "value": 0.5, "step": 7}))
mlflow.log_metric("plain", 0.25)
mlflow.log_param("depth", 3)
print("the data:", open(os.environ["SMALT_INPUTS_train"]).read())
pathlib.Path(os.environ["SMALT_OUTPUTS_model"], "sub").mkdir()
pathlib.Path(os.environ["SMALT_OUTPUTS_model"], "sub", "weights ä.bin").write_bytes(b"w" * 1000)
pathlib.Path(os.environ["SMALT_OUTPUTS_report"]).write_text("fine")
pathlib.Path("left-behind.txt").write_text("written beside the code")
"""


@pytest.fixture(scope="module")
def server() -> Iterator[TrackingServer]:
    with TrackingServer() as started:
        yield started


@pytest.fixture
def mlflow(server: TrackingServer) -> dict[str, str]:
    return mlflow_variables(server.url, "runs", server.passwords["runs"])


def client(server: TrackingServer) -> Tracking:
    return Tracking(server.url, "runs", server.passwords["runs"])


def recorded(server: TrackingServer, message: dict[str, Any]) -> dict[str, Any]:
    run: dict[str, Any] = client(server).call("GET", "runs/get", run_id=message["tracking"]["runId"])["run"]
    return run


def as_map(items: list[dict[str, Any]]) -> dict[str, Any]:
    return {item["key"]: item["value"] for item in items}


def artifacts(server: TrackingServer, message: dict[str, Any]) -> dict[str, Path]:
    run = message["tracking"]
    root = server.data / "artifacts" / run["experimentId"] / run["runId"] / "artifacts"
    return {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}


def test_a_run_records_metrics_logged_in_three_ways_and_stores_its_outputs_with_digests(
    server: TrackingServer, mlflow: dict[str, str], tmp_path: Path
) -> None:
    data = tmp_path / "churn.csv"
    data.write_text("a,b\n1,2\n")
    pod = RunPod(
        tmp_path,
        mlflow,
        THREE_WAYS,
        command='python train.py --C "${SMALT_PARAMETERS_C}" && test "$REGION" = eu',
        environmentVariables={"REGION": "eu"},
        parameters={"C": 0.1, "fit": True, "word": "a b"},
        inputs={"train": {"type": "uriFile", "path": "configmap://d/churn.csv", "source": {"mount": str(data)}}},
        outputs={"model": {"type": "customModel"}, "report": {"type": "uriFile"}},
        environment={"conda": "dependencies:\n- python>=3.9\n- pip:\n  - mlflow-skinny>=3\n"},
    )
    message = pod.run()

    assert (message["outcome"], message["reason"], message["exitCode"]) == ("succeeded", "", 0)
    assert message["metrics"] == {"auc": 0.91, "f1": 0.5, "plain": 0.25}
    assert message["nonFinite"] == []
    assert message["digests"]["data"]["train"] == manifest_digest(manifest(data))
    assert "the data: a,b" in pod.out
    assert not (tmp_path / "environment/bin").exists()

    run = recorded(server, message)
    assert run["info"]["status"] == "FINISHED"
    assert run["info"]["run_name"] == "churn-1"
    assert as_map(run["data"]["params"]) == {"C": "0.1", "fit": "true", "word": "a b", "depth": "3"}
    tags = as_map(run["data"]["tags"])
    assert (tags["smalt.run.uid"], tags["smalt.run.attempt"]) == (pod.contract["run"]["uid"], "1")
    history = client(server).call("GET", "metrics/get-history", run_id=message["tracking"]["runId"], metric_key="auc")
    assert [(point["step"], point["value"]) for point in history["metrics"]] == [(0, 0.8), (1, 0.91)]

    stored = artifacts(server, message)
    assert set(stored) == {
        "profiles/inputs/train/profile.json",
        "profiles/inputs/train/report.html",
        "profiles/inputs/train/sample.json",
        "code/train.py",
        "environment/build.log",
        "environment/installed.txt",
        "environment/requirements.lock",
        "environment/versions.json",
        "logs/stdout.txt",
        "logs/stderr.txt",
        "summary.json",
        "outputs/model/sub/weights ä.bin",
        "outputs/model.manifest.json",
        "outputs/report/report",
        "outputs/report.manifest.json",
    }
    text = stored["outputs/model.manifest.json"].read_bytes()
    model = message["outputs"]["model"]
    assert model["digest"] == "sha256:" + hashlib.sha256(text).hexdigest()
    assert (model["bytes"], model["files"]) == (1000, 1)
    assert json.loads(text)[0]["sha256"] == hashlib.sha256(b"w" * 1000).hexdigest()
    experiment, identity = message["tracking"]["experimentId"], message["tracking"]["runId"]
    assert model["uri"] == f"mlflow-artifacts:/{experiment}/{identity}/artifacts/outputs/model"
    assert json.loads(stored["summary.json"].read_text())["metrics"] == message["metrics"]
    assert '{"metric": "f1"' in stored["logs/stdout.txt"].read_text()


@pytest.mark.parametrize(
    ("script", "code", "cause"),
    [
        ("def f():\n    raise ValueError('no column churned')\nf()", 1, "ValueError: no column churned"),
        ("import sys; print('cannot go on', file=sys.stderr); sys.exit(3)", 3, "cannot go on"),
        ("x = (", 1, "SyntaxError: "),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", 139, "exit code 139"),
    ],
)
def test_a_script_that_fails_is_reported_by_its_last_error_and_exit_code(
    server: TrackingServer, mlflow: dict[str, str], tmp_path: Path, script: str, code: int, cause: str
) -> None:
    message = RunPod(tmp_path, mlflow, script).run()
    assert (message["reason"], message["exitCode"]) == ("ScriptFailed", code)
    assert cause in message["message"]
    assert "kubectl logs -n team-a job/churn-1-1" in message["message"]
    assert recorded(server, message)["info"]["status"] == "FAILED"
    assert "logs/stderr.txt" in artifacts(server, message)


def test_a_script_that_takes_too_long_is_ended_with_everything_it_started_and_keeps_what_it_logged(
    server: TrackingServer, mlflow: dict[str, str], tmp_path: Path
) -> None:
    script = (
        "import subprocess, time; from smalt_trainer import run\n"
        "run.log('loss', 2.0)\n"
        "child = subprocess.Popen(['sleep', '600'])\n"
        "open('child.pid', 'w').write(str(child.pid))\n"
        "time.sleep(600)"
    )
    message = RunPod(tmp_path, mlflow, script, limits={"timeoutSeconds": 2, "finalizingSeconds": 30}).run()
    assert message["reason"] == "TimedOut"
    assert "limits.timeout, 2s" in message["message"]
    assert message["metrics"] == {"loss": 2.0}
    child = int((tmp_path / "work/code/child.pid").read_text())
    wait_until(lambda: not _alive(child), "the end of the script's child")


def _alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "State:\tZ" not in status.read_text()


def test_values_that_are_no_finite_numbers_are_named_and_the_run_succeeds(
    server: TrackingServer, mlflow: dict[str, str], tmp_path: Path
) -> None:
    script = (
        "from smalt_trainer import run\n"
        "run.log('auc', 0.9); run.log('loss', float('nan')); run.log('odds', float('-inf'))\n"
        'print(\'{"metric": "ratio", "value": NaN}\')'
    )
    message = RunPod(tmp_path, mlflow, script).run()
    assert message["outcome"] == "succeeded"
    assert message["metrics"] == {"auc": 0.9}
    assert message["nonFinite"] == ["loss", "odds", "ratio"]


def test_a_declared_output_that_was_not_written_fails_the_run_by_name(mlflow: dict[str, str], tmp_path: Path) -> None:
    message = RunPod(tmp_path, mlflow, "print(1)", outputs={"model": {"type": "customModel"}}).run()
    assert (message["reason"], message["exitCode"]) == ("OutputMissing", 0)
    assert "outputs.model" in message["message"]
    assert "${{outputs.model}}" in message["message"]


def test_data_of_another_digest_stops_the_run_before_its_script(mlflow: dict[str, str], tmp_path: Path) -> None:
    data = tmp_path / "d.csv"
    data.write_text("changed")
    declared = "sha256:" + hashlib.sha256(b"original").hexdigest()
    source = {"type": "uriFile", "path": "pvc://d/d.csv", "source": {"mount": str(data)}, "digest": declared}
    message = RunPod(tmp_path, mlflow, "open('started', 'w')", inputs={"train": source}).run()
    assert message["reason"] == "DigestMismatch"
    assert "inputs.train" in message["message"]
    assert declared in message["message"]
    assert hashlib.sha256(b"changed").hexdigest() in message["message"]
    assert not (tmp_path / "work/code/started").exists()


def test_a_package_that_does_not_exist_is_named(server: TrackingServer, mlflow: dict[str, str], tmp_path: Path) -> None:
    with FileServer({}) as index:
        pod = RunPod(tmp_path, mlflow, "print(1)", environment={"pip": ["no-such-package-at-all==1.0"]})
        pod.variables["UV_INDEX_URL"] = f"{index.url}/simple"
        message = pod.run()
    assert message["reason"] == "PackageNotFound"
    assert "no-such-package-at-all" in message["message"]
    assert "apply the run under another name" in message["message"]
    assert recorded(server, message)["info"]["status"] == "FAILED"


def test_another_python_than_the_image_has_is_named_with_both(mlflow: dict[str, str], tmp_path: Path) -> None:
    message = RunPod(tmp_path, mlflow, "print(1)", environment={"conda": "dependencies:\n- python=3.6\n"}).run()
    assert message["reason"] == "PythonMismatch"
    assert "python=3.6" in message["message"]
    assert f"{sys.version_info[0]}.{sys.version_info[1]}" in message["message"]


def test_an_input_that_breaks_off_twice_is_taken_up_where_it_ended(mlflow: dict[str, str], tmp_path: Path) -> None:
    content = bytes(range(256)) * 20000
    script = "import os; print(len(open(os.environ['SMALT_INPUTS_train'], 'rb').read()))"
    with FileServer({"/churn.bin": content}, {"/churn.bin": [1_000_000, 2_000_000]}) as files:
        url = f"{files.url}/churn.bin"
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        inputs = {"train": {"type": "uriFile", "path": url, "source": {"url": url}, "digest": digest}}
        pod = RunPod(tmp_path, mlflow, script, inputs=inputs)
        assert pod.fetch()["outcome"] == "succeeded"
    message = pod.run()
    assert message["outcome"] == "succeeded", message
    assert str(len(content)) in pod.out
    assert files.ranges == [None, "bytes=1000000-", "bytes=3000000-"]


def test_a_server_that_is_away_while_the_script_works_gets_everything_when_it_is_back(
    server: TrackingServer, mlflow: dict[str, str], tmp_path: Path
) -> None:
    script = (
        "import os, time, pathlib; from smalt_trainer import run\n"
        "pathlib.Path('started').touch()\n"
        "while not os.path.exists('go'): time.sleep(0.05)\n"
        "[run.log('loss', i) for i in range(2500)]\n"
        "pathlib.Path(os.environ['SMALT_OUTPUTS_model'], 'm').write_text('m')"
    )
    pod = RunPod(tmp_path, mlflow, script, outputs={"model": {"type": "customModel"}}).start()
    wait_until((tmp_path / "work/code/started").exists, "the script's start")
    server.stop()
    try:
        (tmp_path / "work/code/go").touch()
        wait_until(lambda: "trying again" in pod.err, "the first failed try to store")
    finally:
        server.start()
    message = pod.finish()
    assert message["outcome"] == "succeeded", pod.err
    assert message["metrics"] == {"loss": 2499.0}
    identity = message["tracking"]["runId"]
    query = {"run_id": identity, "metric_key": "loss", "max_results": "5000"}
    assert len(client(server).call("GET", "metrics/get-history", **query)["metrics"]) == 2500
    assert recorded(server, message)["info"]["status"] == "FINISHED"


def test_a_server_that_stays_away_fails_a_script_that_succeeded_as_not_stored(
    server: TrackingServer, mlflow: dict[str, str], tmp_path: Path
) -> None:
    script = "import os, time; open('started', 'w')\nwhile not os.path.exists('go'): time.sleep(0.05)"
    pod = RunPod(tmp_path, mlflow, script, limits={"timeoutSeconds": 60, "finalizingSeconds": 2}).start()
    wait_until((tmp_path / "work/code/started").exists, "the script's start")
    server.stop()
    try:
        (tmp_path / "work/code/go").touch()
        message = pod.finish()
    finally:
        server.start()
    assert message["reason"] == "ResultsNotStored"
    assert "limits.finalizing, 2 s" in message["message"]
    assert message["exitCode"] == 0


def test_without_a_server_the_script_does_not_start(tmp_path: Path) -> None:
    away = mlflow_variables(f"http://127.0.0.1:{free_port()}", "runs", "x")
    limits = {"timeoutSeconds": 60, "finalizingSeconds": 1}
    message = RunPod(tmp_path, away, "open('started', 'w')", limits=limits).run()
    assert message["reason"] == "TrackingUnavailable"
    assert "deployment/lab-tracking" in message["message"]
    assert not (tmp_path / "work/code/started").exists()


def test_a_pod_that_starts_again_after_its_node_was_lost_goes_on_in_the_same_mlflow_run(
    server: TrackingServer, mlflow: dict[str, str], tmp_path: Path
) -> None:
    script = (
        "import os, time; from smalt_trainer import run; run.log('auc', 0.5); open('started', 'w')\n"
        "while not os.path.exists(os.environ['GO']): time.sleep(0.05)"
    )
    go = tmp_path / "go"
    first, second = (
        RunPod(tmp_path / name, mlflow, script, environmentVariables={"GO": str(go)}) for name in ("first", "second")
    )
    second.contract["run"] = first.contract["run"]
    first.start()
    wait_until((tmp_path / "first/work/code/started").exists, "the script's start")
    first.kill()
    go.touch()
    message = second.run()
    assert message["outcome"] == "succeeded"
    identity = {"smalt.run.uid": first.contract["run"]["uid"], "smalt.run.attempt": "1"}
    runs = client(server).find_runs(message["tracking"]["experimentId"], identity)
    assert [run["info"]["run_id"] for run in runs] == [message["tracking"]["runId"]]
    assert runs[0]["info"]["status"] == "FINISHED"


def test_a_pod_that_is_deleted_says_so_and_keeps_what_was_logged(
    server: TrackingServer, mlflow: dict[str, str], tmp_path: Path
) -> None:
    script = "import time; from smalt_trainer import run; run.log('loss', 1.0); open('started', 'w'); time.sleep(600)"
    pod = RunPod(tmp_path, mlflow, script).start()
    wait_until((tmp_path / "work/code/started").exists, "the script's start")
    pod.terminate()
    message = pod.finish(30)
    assert message["reason"] == "Terminated"
    assert message["metrics"] == {"loss": 1.0}
    assert recorded(server, message)["info"]["status"] == "KILLED"


def test_an_upload_that_hangs_is_broken_off_when_the_pod_has_to_end(tmp_path: Path) -> None:
    script = "import os; from smalt_trainer import run; run.log('auc', 1); open(os.environ['SMALT_OUTPUTS_report'], 'w').write('x')"
    with FakeTracking() as server:
        server.hangs = "report"
        mlflow = mlflow_variables(server.url, "runs", "x")
        pod = RunPod(tmp_path, mlflow, script, outputs={"report": {"type": "uriFile"}}).start()
        assert server.hanging.wait(30)
        pod.terminate()
        message = pod.finish(25)
    assert (message["reason"], message["exitCode"]) == ("Terminated", 0)
    assert "while its results were being stored" in message["message"]
    assert (message["metrics"], server.runs["r1"]["status"]) == ({"auc": 1.0}, "KILLED")
    assert "provisional" not in message and "summary.json" in server.artifacts


def test_a_file_name_that_the_real_server_refuses_is_named_and_the_rest_is_stored(
    server: TrackingServer, mlflow: dict[str, str], tmp_path: Path
) -> None:
    script = (
        "import os; from smalt_trainer import run; run.log('auc', 1)\n"
        "[open(os.path.join(os.environ['SMALT_OUTPUTS_model'], name), 'w') for name in ('class C#.joblib', 'D')]"
    )
    message = RunPod(tmp_path, mlflow, script, outputs={"model": {"type": "customModel"}}).run()
    assert (message["reason"], message["metrics"], message["outputs"]) == ("ResultsNotStored", {"auc": 1.0}, {})
    assert "'outputs/model/class C#.joblib' is refused" in message["message"] and "rename it" in message["message"]
    assert recorded(server, message)["info"]["status"] == "FAILED"
    assert artifacts(server, message).keys() >= {"outputs/model/D", "logs/stdout.txt", "summary.json"}


def test_a_script_killed_for_its_memory_is_told_the_limit(mlflow: dict[str, str], tmp_path: Path) -> None:
    group = tmp_path / "cgroup"
    group.mkdir()
    (group / "memory.events").write_text("low 0\nhigh 0\nmax 3\noom 0\noom_kill 0\n")
    (group / "memory.max").write_text(f"{512 << 20}\n")
    events = "low 0\\nhigh 0\\nmax 9\\noom 1\\noom_kill 1\\n"
    script = f"import os; open({str(group / 'memory.events')!r}, 'w').write('{events}'); os.kill(os.getpid(), 9)"
    message = RunPod(tmp_path, mlflow, script).run()
    assert (message["reason"], message["exitCode"]) == ("OutOfMemory", 137)
    assert "its limit of 512Mi" in message["message"]


def test_metrics_can_be_watched_while_the_script_still_works(
    server: TrackingServer, mlflow: dict[str, str], tmp_path: Path
) -> None:
    script = (
        "import os, time; from smalt_trainer import run; run.log('loss', 3.0)\n"
        "while not os.path.exists('go'): time.sleep(0.05)"
    )
    pod = RunPod(tmp_path, mlflow, script).start()
    spool = tmp_path / "exchange/metrics.jsonl"
    wait_until(lambda: spool.exists() and spool.stat().st_size > 0, "the first logged value")
    experiment = client(server).experiment_id("team-a/churn")
    identity = {"smalt.run.uid": pod.contract["run"]["uid"]}
    wait_until(
        lambda: client(server).find_runs(experiment, identity)[0]["data"].get("metrics") is not None,
        "the value at the server",
        3,
    )
    (tmp_path / "work/code/go").touch()
    assert pod.finish()["metrics"] == {"loss": 3.0}
