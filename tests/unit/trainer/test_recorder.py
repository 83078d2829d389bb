"""The recorder beside the wrapper: whatever happens to either of them, what is there is stored and told."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from smalt_trainer.exchange import leave
from support.fake_tracking import FakeTracking
from support.run_pod import RunPod, mlflow_variables, wait_until

# Each has a recorder and a script as threads and processes of their own.
pytestmark = pytest.mark.slow

LOGS_AND_WAITS = """
import os, pathlib, time
from smalt_trainer import run
run.log("auc", 0.5)
print("said", flush=True)
pathlib.Path(os.environ["SMALT_OUTPUTS_model"], "part").write_text("half")
pathlib.Path("pid").write_text(str(os.getpid()))
pathlib.Path("started").touch()
while not os.path.exists("go"): time.sleep(0.02)
"""
MODEL = {"model": {"type": "customModel"}}


@pytest.fixture
def server() -> Iterator[FakeTracking]:
    with FakeTracking() as started:
        yield started


@pytest.fixture
def it(server: FakeTracking, tmp_path: Path) -> Iterator[RunPod]:
    made = pod(server, tmp_path, LOGS_AND_WAITS, outputs=MODEL)
    yield made
    made.kill()


def pod(server: FakeTracking, folder: Path, script: str, **changes: Any) -> RunPod:
    return RunPod(folder, mlflow_variables(server.url, "runs", "secret"), script, **changes)


def has_started(it: RunPod) -> bool:
    return (it.folder / "work/code/started").exists()


def test_a_container_killed_as_a_whole_leaves_what_it_had_and_the_run_failed(server: FakeTracking, it: RunPod) -> None:
    """As the kernel does for memory: no process of the container is left to say anything."""
    it.start()
    wait_until(lambda: has_started(it), "the script's start")
    log = it.folder / "exchange/logs/stdout.txt"
    wait_until(lambda: log.read_text() == "said\n", "what it printed")
    assert it.training is not None
    it.training.kill()
    os.kill(int((it.folder / "work/code/pid").read_text()), signal.SIGKILL)
    message = it.finish()
    assert (message["outcome"], message["reason"], message["provisional"]) == ("failed", "Interrupted", True)
    assert "'training' was killed while the script ran" in message["message"]
    assert message["metrics"] == {"auc": 0.5} and message["outputs"]["model"]["bytes"] == 4
    assert message["digests"].keys() == {"parameters", "code", "environment", "data"}
    assert server.artifacts["logs/stdout.txt"] == b"said\n"
    assert server.artifacts.keys() >= {"outputs/model/part", "code/train.py", "summary.json"}
    assert server.runs["r1"]["status"] == "FAILED"


def test_a_recorder_that_is_killed_leaves_the_script_to_its_end_and_its_words(it: RunPod) -> None:
    it.start()
    wait_until(lambda: has_started(it), "the script's start")
    assert it.recorder is not None and it.training is not None
    it.recorder.kill()
    (it.folder / "work/code/go").touch()
    assert it.training.wait(30) == 0
    assert it.training_message["outcome"] == "succeeded"
    assert it.training_message["tracking"] == {"runId": "r1", "experimentId": "1"}
    assert (it.message["reason"], it.message["provisional"]) == ("ResultsNotStored", True)
    for words in ("'recorder' was killed while the script ran", "-c recorder", "under another name"):
        assert words in it.message["message"]


def test_a_recorder_that_ends_before_the_script_may_start_is_not_waited_for(server: FakeTracking, it: RunPod) -> None:
    server.answers["get-by-name"] = (503, {}, b"starting")
    it.start_recorder()
    lock = it.folder / "exchange/recorder.lock"
    wait_until(lock.exists, "the recorder's coming")
    it.start_training()
    assert it.recorder is not None and it.training is not None
    it.recorder.kill()
    assert it.training.wait(30) == 1
    assert "'recorder' ended before the script could start" in it.training_message["message"]
    assert not has_started(it)


@pytest.mark.parametrize("first", ["training", "recorder"])
def test_it_does_not_matter_which_container_is_there_first(server: FakeTracking, it: RunPod, first: str) -> None:
    it.folder.joinpath("work/code").mkdir(parents=True)
    it.folder.joinpath("work/code/go").touch()
    if first == "training":
        it.start_training()
        wait_until(lambda: (it.folder / "exchange/facts.json").exists(), "the wrapper's preparation")
        assert not has_started(it)
        it.start_recorder()
    else:
        it.start_recorder()
        wait_until(lambda: "r1" in server.runs, "the run in the tracking server")
        it.start_training()
    assert it.finish()["outcome"] == "succeeded"
    assert server.runs["r1"]["status"] == "FINISHED"


def test_a_pod_whose_script_never_starts_is_waited_for_until_it_has_to_end(server: FakeTracking, it: RunPod) -> None:
    """As when the user's image cannot be pulled."""
    it.start_recorder()
    wait_until(lambda: "r1" in server.runs, "the run in the tracking server")
    assert it.recorder is not None and it.recorder.poll() is None
    it.terminate()
    assert it.recorder.wait(20) == 1
    assert it.message["reason"] == "Terminated" and "before the script started" in it.message["message"]
    assert server.runs["r1"]["status"] == "KILLED"


def test_a_preparation_that_failed_is_recorded_with_the_code_it_was_for(server: FakeTracking, tmp_path: Path) -> None:
    environment = {"conda": "dependencies:\n- python=3.6\n"}
    message = pod(server, tmp_path, "print(1)", environment=environment).run()
    assert message["reason"] == "PythonMismatch" and "provisional" not in message
    assert server.runs["r1"]["status"] == "FAILED"
    assert server.artifacts.keys() >= {"code/train.py", "summary.json"}


def test_the_script_is_told_of_no_password_and_no_server_but_its_own_pod(server: FakeTracking, tmp_path: Path) -> None:
    server.password = "secret"
    script = (
        "import json, os, urllib.request\n"
        "assert 'secret' not in json.dumps(dict(os.environ))\n"
        "uri, run = os.environ['MLFLOW_TRACKING_URI'], os.environ['MLFLOW_RUN_ID']\n"
        "assert uri.startswith('http://127.0.0.1:'), uri\n"
        "body = {'run_id': run, 'tags': [{'key': 'seen', 'value': 'yes'}]}\n"
        "urllib.request.urlopen(uri + '/api/2.0/mlflow/runs/log-batch', json.dumps(body).encode())\n"
    )
    it = pod(server, tmp_path, script)
    assert it.run()["outcome"] == "succeeded", it.err
    assert server.runs["r1"]["tags"]["seen"] == "yes"


def test_an_output_that_links_to_what_only_the_script_could_see_is_stored_and_nothing_of_the_recorders(
    server: FakeTracking, tmp_path: Path
) -> None:
    (tmp_path / "tracking").mkdir()
    (tmp_path / "tracking/runs-password").write_text("secret")
    home = tmp_path / "home"
    script = (
        "import os, pathlib\n"
        "model = pathlib.Path(os.environ['SMALT_OUTPUTS_model'])\n"
        "home = pathlib.Path(os.environ['HOME'])\n"
        "(home / 'deep').mkdir(); (home / 'deep/w.bin').write_text('weights'); (home / 'one').write_text('1')\n"
        "(model / 'folder').symlink_to(home / 'deep'); (model / 'one').symlink_to(home / 'one')\n"
        "(model / 'kept').write_text('2'); (model / 'near').symlink_to('kept')\n"
    )
    it = pod(server, tmp_path / "pod", script, outputs=MODEL)
    it.variables["HOME"] = str(home)
    home.mkdir()
    message = it.run()
    assert message["outcome"] == "succeeded", it.err
    stored = {name: content for name, content in server.artifacts.items() if name.startswith("outputs/model/")}
    assert stored == {
        "outputs/model/folder/w.bin": b"weights",
        "outputs/model/one": b"1",
        "outputs/model/kept": b"2",
        "outputs/model/near": b"2",
    }


def test_a_link_into_the_recorders_own_files_is_refused(server: FakeTracking, tmp_path: Path) -> None:
    """In a cluster the script's container has no such file, so that its link stays one."""
    (tmp_path / "tracking").mkdir()
    (tmp_path / "tracking/runs-password").write_text("secret")
    script = LOGS_AND_WAITS + (
        "\nos.symlink(os.path.abspath('../../tracking/runs-password'), os.environ['SMALT_OUTPUTS_model'] + '/stolen')\n"
        "pathlib.Path('linked').touch()\nwhile True: time.sleep(0.02)"
    )
    it = pod(server, tmp_path, script, outputs=MODEL).start()
    (tmp_path / "work/code").mkdir(parents=True, exist_ok=True)
    (tmp_path / "work/code/go").touch()
    wait_until((tmp_path / "work/code/linked").exists, "the link")
    assert it.training is not None
    it.training.kill()
    os.kill(int((tmp_path / "work/code/pid").read_text()), signal.SIGKILL)
    it.finish()
    assert "'stolen' cannot be read (it is a link that leads out of the run's folders)" in it.err
    assert not any(b"secret" in content for content in server.artifacts.values())


@pytest.mark.parametrize(
    "words",
    [
        {"reason": 5, "message": ["x"], "exitCode": True, "digests": [1]},
        {"reason": "Whatever", "exitCode": 10**30, "digests": {"code": {"a": 1}, "data": "x"}},
        {},
    ],
)
def test_whatever_stands_in_the_wrappers_words_the_run_ends(
    server: FakeTracking, tmp_path: Path, words: dict[str, Any]
) -> None:
    """A script can write there, and be killed right after."""
    script = (
        f"import json, os\nopen('../../exchange/outcome.json', 'w').write(json.dumps({words!r}))\n" + LOGS_AND_WAITS
    )
    it = pod(server, tmp_path, script, outputs=MODEL).start()
    wait_until(lambda: has_started(it), "the script's start")
    assert it.training is not None
    it.training.kill()
    os.kill(int((tmp_path / "work/code/pid").read_text()), signal.SIGKILL)
    message = it.finish()
    assert (message["outcome"], message["reason"], message["exitCode"]) == ("failed", "InternalError", None)


def test_what_a_run_logs_says_and_prints_can_be_watched_while_it_goes_on(server: FakeTracking, tmp_path: Path) -> None:
    script = LOGS_AND_WAITS + "print('over')"
    script = "from smalt_trainer import run; run.progress(40)\nprint('{\"progress\": 50}')\n" + script
    it = pod(server, tmp_path, script, outputs=MODEL)
    it.start_recorder()
    wait_until(lambda: "Preparing" in it.page("/status.json"), "the page of a run that is being prepared")
    it.start_training()
    wait_until(lambda: "auc" in it.page("/status.json"), "the metric on the page")
    wait_until(lambda: json.loads(it.page("/status.json")).get("progress", {}).get("percent") == 50, "its progress")
    status = json.loads(it.page("/status.json"))
    assert (status["phase"], status["metrics"]) == ("Running", {"auc": 0.5})
    assert 'smalt_run_metric{namespace="team-a",run="churn-1"' in it.page("/metrics")
    wait_until(lambda: b"said\n" in server.artifacts.get("logs/stdout.txt", b""), "the log at the server")
    wait_until(lambda: server.runs["r1"]["metrics"].get("system/system_memory_usage_megabytes", 0) > 0, "its memory")
    assert server.metrics() == {"auc": 0.5}
    (tmp_path / "work/code/go").touch()
    message = it.finish()
    assert (message["outcome"], message["metrics"]) == ("succeeded", {"auc": 0.5})
    assert server.artifacts["logs/stdout.txt"].endswith(b"over\n")


def test_what_is_known_before_the_scripts_end_is_stored_before_it_and_once(server: FakeTracking, it: RunPod) -> None:
    it.start()
    early = {"environment/versions.json", "logs/stdout.txt", "logs/stderr.txt"}
    wait_until(lambda: early <= server.artifacts.keys(), "what is known")
    wait_until(lambda: "smalt.digest.environment" in server.runs["r1"]["tags"], "its digests")
    (it.folder / "work/code/go").touch()
    assert it.finish()["outcome"] == "succeeded"
    assert {name: server.stored.count(name) for name in early} == dict.fromkeys(early, 1)
    assert server.artifacts["logs/stdout.txt"] == b"said\n"
    digests = [name for names in server.tagged for name in names if name.startswith("smalt.digest.")]
    assert sorted(digests) == [f"smalt.digest.{name}" for name in ("code", "environment", "parameters")]


def test_a_record_that_is_half_written_is_not_stored_yet(server: FakeTracking, it: RunPod) -> None:
    """The wrapper names its digest when it has written it; here there is none, and the test writes in its place."""
    name = "environment/versions.json"
    for path, text in {
        "work/code/train.py": "pass",
        "exchange/logs/stdout.txt": "",
        f"exchange/{name}": "half",
    }.items():
        (it.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (it.folder / path).write_text(text)
    leave(it.folder / "exchange/facts.json", {"digests": {"code": "sha256:1"}})
    it.start_recorder()
    wait_until(lambda: "logs/stdout.txt" in server.stored, "the first round")
    time.sleep(0.3)
    (it.folder / "exchange" / name).write_text("whole")
    leave(it.folder / "exchange/facts.json", {"digests": {"code": "sha256:1", "environment": "sha256:2"}})
    wait_until(lambda: name in server.stored, "the record")
    assert server.artifacts[name] == b"whole"
    it.terminate()
    assert it.recorder is not None and it.recorder.wait(20) == 1
    assert server.stored.count(name) == 1


def test_what_could_not_be_stored_early_is_stored_at_the_end(server: FakeTracking, it: RunPod) -> None:
    it.start()
    wait_until(lambda: has_started(it), "the script's start")
    server.answers = {"/log-batch": (503, {}, b"busy"), "/stdout.txt": (503, {}, b"busy")}
    wait_until(lambda: "environment/versions.json" in server.artifacts, "what could be stored")
    server.answers = {}
    (it.folder / "work/code/go").touch()
    assert it.finish()["outcome"] == "succeeded"
    assert server.artifacts["logs/stdout.txt"] == b"said\n"
    assert "smalt.digest.code" in server.runs["r1"]["tags"]


def test_while_the_server_is_away_the_page_shows_what_it_does_not_have_yet(
    server: FakeTracking, tmp_path: Path
) -> None:
    script = (
        "import os, pathlib, time\nfrom smalt_trainer import run\n"
        "pathlib.Path('started').touch()\n"
        "while not os.path.exists('away'): time.sleep(0.02)\n"
        "for step in range(3000): run.log('loss', step)\n"
        "while not os.path.exists('go'): time.sleep(0.02)\n"
    )
    it = pod(server, tmp_path, script).start()
    wait_until(lambda: has_started(it), "the script's start")
    server.answers["log-batch"] = (503, {}, b"starting")
    (tmp_path / "work/code/away").touch()
    wait_until(lambda: '"loss": 2999' in it.page("/status.json"), "the latest value")
    assert "loss" not in server.metrics()
    del server.answers["log-batch"]
    (tmp_path / "work/code/go").touch()
    assert it.finish()["metrics"] == {"loss": 2999.0}


ASKS = """
import json, os, urllib.request
def ask(call, **body):
    uri = os.environ["MLFLOW_TRACKING_URI"] + "/api/2.0/mlflow/" + call
    with urllib.request.urlopen(uri, json.dumps(body).encode() if body else None) as answer:
        return json.load(answer)
"""


def test_a_warning_stands_in_the_scripts_own_log_and_with_the_run(server: FakeTracking, tmp_path: Path) -> None:
    script = ASKS + "ask('experiments/get-by-name?experiment_name=Mine')"
    it = pod(server, tmp_path, script)
    assert it.run()["outcome"] == "succeeded"
    told = "experiment 'Mine' is not used: the run stays in its own, 'team-a/churn'"
    assert told in (tmp_path / "err.log").read_text()
    assert told in server.runs["r1"]["tags"]["smalt.warning.experiment"]


def test_runs_that_a_killed_script_left_open_are_ended_with_its_own(server: FakeTracking, tmp_path: Path) -> None:
    script = ASKS + (
        "child = ask('runs/create', experiment_id='0')['run']['info']['run_id']\n"
        "tags = [{'key': 'mlflow.parentRunId', 'value': child}]\n"
        "ask('runs/create', experiment_id='0', tags=tags)\n"
        "done = ask('runs/create', experiment_id='0')['run']['info']['run_id']\n"
        "ask('runs/update', run_id=done, status='FINISHED')\n"
        "ask('runs/update', run_id=os.environ['MLFLOW_RUN_ID'], status='FINISHED')\n"
        "os._exit(3)"
    )
    assert pod(server, tmp_path, script).run()["reason"] == "ScriptFailed"
    assert [run["status"] for run in server.runs.values()] == ["FAILED", "FAILED", "FAILED", "FINISHED"]
    assert server.runs["r2"]["tags"]["mlflow.parentRunId"] == "r1"


def test_a_further_attempt_and_the_one_before_it_are_children_of_one_run(server: FakeTracking, tmp_path: Path) -> None:
    first = pod(server, tmp_path / "1", "raise ValueError('no')")
    second = pod(server, tmp_path / "2", "print('yes')")
    second.contract["run"] = {**first.contract["run"], "attempt": 2}
    assert first.run()["reason"] == "ScriptFailed"
    assert second.run()["outcome"] == "succeeded"
    one, two, parent = server.runs.values()
    assert (one["status"], two["status"], parent["status"]) == ("FAILED", "FINISHED", "FINISHED")
    assert one["tags"]["mlflow.parentRunId"] == two["tags"]["mlflow.parentRunId"] == "r3"
    assert (one["tags"]["mlflow.runName"], two["tags"]["mlflow.runName"]) == ("churn-1-1", "churn-1-2")
    assert parent["tags"]["mlflow.runName"] == "churn-1" and "mlflow.parentRunId" not in parent["tags"]


def test_tables_among_inputs_and_outputs_are_profiled_and_the_profiles_kept(
    server: FakeTracking, tmp_path: Path
) -> None:
    rows = "a,b,churned\n" + "".join(f"{number},{number % 3},{number % 2}\n" for number in range(40))
    (tmp_path / "mounts/train").mkdir(parents=True)
    (tmp_path / "mounts/train/train.csv").write_text(rows)
    (tmp_path / "mounts/odd.csv").write_bytes(bytes(range(256)))
    inputs = {
        "train": {
            "type": "uriFile",
            "path": "pvc://data/train.csv",
            "target": "churned",
            "source": {"mount": str(tmp_path / "mounts/train/train.csv")},
        },
        "odd": {"type": "uriFile", "path": "pvc://data/odd.csv", "source": {"mount": str(tmp_path / "mounts/odd.csv")}},
    }
    script = """
import os
open(os.environ["SMALT_OUTPUTS_clean"], "w").write("x\\ty\\n1\\t2\\n3\\t\\n")
open(os.path.join(os.environ["SMALT_OUTPUTS_model"], "notes.csv"), "w").write("a,b\\n1,2\\n")
"""
    outputs = MODEL | {"clean": {"type": "uriFile"}}
    message = pod(server, tmp_path, script, inputs=inputs, outputs=outputs).run()
    found = message["profiles"]
    assert message["outcome"] == "succeeded"
    assert {key: found["inputs"]["train"][key] for key in ("rows", "columns", "missing")} == {
        "rows": 40,
        "columns": 3,
        "missing": 0,
    }
    assert "is binary" in found["inputs"]["odd"]["message"]
    assert found["outputs"].keys() == {"clean"}
    assert (found["outputs"]["clean"]["rows"], found["outputs"]["clean"]["missing"]) == (2, 1)
    kept = {name for name in server.artifacts if name.startswith("profiles/")}
    places = ("inputs/train", "outputs/clean")
    files = {f"profiles/{place}/{file}" for place in places for file in ("profile.json", "report.html")}
    assert kept == files | {"profiles/inputs/train/sample.json"}
    assert json.loads(server.artifacts["profiles/inputs/train/profile.json"])["target"]["name"] == "churned"
    assert json.loads(server.artifacts["summary.json"])["profiles"] == found


def test_a_variable_of_the_run_keeps_its_rows_out_of_what_is_stored(tmp_path: Path, server: FakeTracking) -> None:
    (tmp_path / "mounts").mkdir()
    (tmp_path / "mounts/train.csv").write_text("a,b\n1,2\n3,4\n")
    source = {"mount": str(tmp_path / "mounts/train.csv")}
    inputs = {"train": {"type": "uriFile", "path": "pvc://data/train.csv", "source": source}}
    message = pod(server, tmp_path, "", inputs=inputs, environmentVariables={"SMALT_PROFILE_SAMPLE": "0"}).run()
    assert message["profiles"]["inputs"]["train"]["rows"] == 2
    kept = {name for name in server.artifacts if name.startswith("profiles/")}
    assert kept == {f"profiles/inputs/train/{file}" for file in ("profile.json", "report.html")}
