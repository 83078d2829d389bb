"""Whole runs on bad days: what can be stored is stored, and the last words are true whenever the pod ends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.fake_tracking import FakeTracking
from support.run_pod import RunPod, mlflow_variables, wait_until

# Each starts a script, as the wrapper does in a pod.
pytestmark = pytest.mark.slow

TWO_OUTPUTS = {"model": {"type": "customModel"}, "report": {"type": "uriFile"}}
WRITES_BOTH = """
import os, pathlib
from smalt_trainer import run
run.log("auc", 0.9)
model = pathlib.Path(os.environ["SMALT_OUTPUTS_model"])
(model / "class C#.joblib").write_text("C")
(model / "class D.joblib").write_text("D")
pathlib.Path(os.environ["SMALT_OUTPUTS_report"]).write_text("fine")
"""


@pytest.fixture
def server() -> Iterator[FakeTracking]:
    with FakeTracking() as started:
        yield started


def pod(server: FakeTracking, folder: Path, script: str, **changes: Any) -> RunPod:
    return RunPod(folder, mlflow_variables(server.url, "runs", "secret"), script, **changes)


def outcome(message: dict[str, Any]) -> tuple[str, str, int | None]:
    return message["outcome"], message["reason"], message["exitCode"]


@pytest.mark.parametrize(("how", "told"), [("refuses", "Invalid path"), ("forbids", "Permission denied")])
def test_a_file_that_the_server_refuses_costs_nothing_but_its_output(
    server: FakeTracking, tmp_path: Path, how: str, told: str
) -> None:
    setattr(server, how, "#")
    message = pod(server, tmp_path, WRITES_BOTH, outputs=TWO_OUTPUTS).run()
    assert outcome(message) == ("failed", "ResultsNotStored", 0)
    for words in ("outputs/model/class C#.joblib", told, "rename it", "under another name"):
        assert words in message["message"]
    assert (message["metrics"], list(message["outputs"])) == ({"auc": 0.9}, ["report"])
    run = server.runs["r1"]
    assert (run["status"], server.metrics()) == ("FAILED", {"auc": 0.9})
    assert run["tags"].keys() >= {"smalt.digest.code", "smalt.digest.environment"}
    stored = set(server.artifacts)
    assert stored >= {"logs/stdout.txt", "outputs/model/class D.joblib", "outputs/report/report", "summary.json"}
    assert "outputs/model.manifest.json" not in stored


@pytest.mark.parametrize(("target", "name"), [("/proc/self/mem", "broken"), (".", "again")])
def test_an_output_that_cannot_be_read_is_named_and_the_others_are_stored(
    server: FakeTracking, tmp_path: Path, target: str, name: str
) -> None:
    script = WRITES_BOTH + f'(model / "{name}").symlink_to("{target}")'
    message = pod(server, tmp_path, script, outputs=TWO_OUTPUTS).run()
    assert outcome(message) == ("failed", "ResultsNotStored", 0)
    for words in ("outputs.model", f"'{name}'", "cannot be read", "under another name"):
        assert words in message["message"]
    assert (message["metrics"], list(message["outputs"])) == ({"auc": 0.9}, ["report"])
    assert server.runs["r1"]["status"] == "FAILED"
    assert server.artifacts.keys() >= {"logs/stdout.txt", "outputs/report/report", "summary.json"}


def test_a_file_beside_the_declared_outputs_that_cannot_be_read_is_named_at_once(
    server: FakeTracking, tmp_path: Path
) -> None:
    script = WRITES_BOTH + "pathlib.Path('outputs').mkdir()\npathlib.Path('outputs/x').symlink_to('/proc/self/mem')"
    message = pod(server, tmp_path, script, outputs=TWO_OUTPUTS).run(30)
    assert outcome(message) == ("failed", "ResultsNotStored", 0)
    assert "'undeclared_outputs/x' cannot be read" in message["message"]
    assert sorted(message["outputs"]) == ["model", "report"]


def test_a_script_that_failed_is_told_as_such_whatever_else_went_wrong(server: FakeTracking, tmp_path: Path) -> None:
    server.refuses = "#"
    message = pod(server, tmp_path, WRITES_BOTH + "raise ValueError('no')", outputs=TWO_OUTPUTS).run()
    assert outcome(message) == ("failed", "ScriptFailed", 1)
    assert (message["metrics"], list(message["outputs"])) == ({"auc": 0.9}, ["report"])


def test_a_file_of_the_code_that_the_server_refuses_is_named_before_the_script_starts(
    server: FakeTracking, tmp_path: Path
) -> None:
    server.refuses = "odd"
    code = {"inline": {"train.py": "open('started', 'w')", "odd.py": ""}}
    message = pod(server, tmp_path, "", code=code).run()
    assert message["reason"] == "CodeInvalid" and "code/odd.py" in message["message"]
    assert not (tmp_path / "work/code/started").exists()


def test_what_a_script_writes_to_outputs_beside_its_code_is_kept_apart_from_what_was_declared(
    server: FakeTracking, tmp_path: Path
) -> None:
    script = (
        WRITES_BOTH + 'pathlib.Path("outputs/model").mkdir(parents=True)\nopen("outputs/model/x.pkl", "w").write("x")'
    )
    message = pod(server, tmp_path, script, outputs=TWO_OUTPUTS).run()
    assert message["outcome"] == "succeeded"
    assert server.artifacts["undeclared_outputs/model/x.pkl"] == b"x"
    assert "outputs/model/x.pkl" not in server.artifacts


WAITS = "import os, time; open('started', 'w')\nwhile not os.path.exists('go'): time.sleep(0.02)"


def test_a_pod_killed_while_its_script_runs_has_left_where_to_find_it(server: FakeTracking, tmp_path: Path) -> None:
    it = pod(server, tmp_path, WAITS, parameters={"C": 1}).start()
    wait_until((tmp_path / "work/code/started").exists, "the script's start")
    it.kill()
    (tmp_path / "work/code/go").touch()
    message = it.training_message
    assert (message["outcome"], message["reason"], message["provisional"]) == ("failed", "Interrupted", True)
    assert message["tracking"] == it.message["tracking"] == {"runId": "r1", "experimentId": "1"}
    assert (it.message["reason"], it.message["provisional"]) == ("ResultsNotStored", True)
    assert message["digests"].keys() == {"parameters", "code", "environment", "data"}
    for words in ("while the script ran", "memory", "kubectl logs -n team-a job/churn-1-1", "under another name"):
        assert words in message["message"]


def test_a_pod_killed_while_it_stores_does_not_claim_success(server: FakeTracking, tmp_path: Path) -> None:
    server.hangs = "outputs/model"
    it = pod(server, tmp_path, WRITES_BOTH, outputs=TWO_OUTPUTS).start()
    assert server.hanging.wait(30)
    it.kill()
    message = it.message
    assert (*outcome(message), message["provisional"]) == ("failed", "ResultsNotStored", 0, True)
    assert "while its results were being stored" in message["message"]


@pytest.mark.parametrize("body", [b"<html>", b"[" * 100_000, b"[]", b'{"run": 3}'])
def test_an_answer_that_is_none_ends_in_true_last_words(server: FakeTracking, tmp_path: Path, body: bytes) -> None:
    server.answers["runs/get"] = (200, {}, body)
    limits = {"timeoutSeconds": 60, "finalizingSeconds": 1}
    message = pod(server, tmp_path, WRITES_BOTH, outputs=TWO_OUTPUTS, limits=limits).run()
    assert outcome(message) == ("failed", "ResultsNotStored", 0)
    assert "provisional" not in message and sorted(message["outputs"]) == ["model", "report"]
    assert server.runs["r1"]["status"] == "FAILED"


def test_an_answer_of_something_in_between_is_asked_for_again(server: FakeTracking, tmp_path: Path) -> None:
    server.answers["runs/get"] = (200, {}, b"<html>")
    it = pod(server, tmp_path, WRITES_BOTH, outputs=TWO_OUTPUTS).start()
    wait_until(lambda: "which is no JSON; trying again" in it.err, "the first answer that was none")
    del server.answers["runs/get"]
    message = it.finish()
    assert (message["outcome"], message["metrics"]) == ("succeeded", {"auc": 0.9})


def test_whatever_stands_in_the_file_of_metrics_the_run_goes_on(server: FakeTracking, tmp_path: Path) -> None:
    script = WRITES_BOTH + (
        "\nspool = open(os.environ['SMALT_METRICS_SPOOL'], 'a')\n"
        'spool.write(\'{"metric":"a","value":1,"step":Infinity,"time":1}\\n\')\n'
        'spool.write(\'{"metric":"a","value":1,"step":1e30,"time":1}\\n\')\n'
        "spool.write('[' * 100000 + '\\n')\n"
        "spool.close()\n"
        'print(\'{"metric": "a", "note": \' + "[" * 3000 + "]" * 3000 + "}")\n'
        "print('x' * 200000)\n"
        "run.log('last', 1)\n"
    )
    message = pod(server, tmp_path, script, outputs=TWO_OUTPUTS).run(30)
    assert (message["outcome"], message["metrics"]) == ("succeeded", {"auc": 0.9, "last": 1.0})


def test_a_redirect_is_not_followed_with_the_password(server: FakeTracking, tmp_path: Path) -> None:
    with FakeTracking() as elsewhere:
        elsewhere.password = "of nobody"
        server.answers["get-by-name"] = (
            302,
            {"Location": f"{elsewhere.url}/api/2.0/mlflow/experiments/get-by-name"},
            b"",
        )
        limits = {"timeoutSeconds": 60, "finalizingSeconds": 1}
        message = pod(server, tmp_path, "", limits=limits).run()
        assert elsewhere.refused_passwords == []
    assert message["reason"] == "TrackingUnavailable"
    assert "302, a redirect, which is not followed" in message["message"]


def test_a_password_drawn_anew_while_the_script_runs_is_taken_from_its_file(
    server: FakeTracking, tmp_path: Path
) -> None:
    server.password = "first"
    (tmp_path / "tracking").mkdir()
    (tmp_path / "tracking/runs-password").write_text("first\n")
    it = pod(server, tmp_path, WAITS + "\nfrom smalt_trainer import run; run.log('auc', 1)").start()
    wait_until((tmp_path / "work/code/started").exists, "the script's start")
    server.password = "second"
    (tmp_path / "work/code/go").touch()
    wait_until(lambda: "first" in server.refused_passwords, "a request with the old password")
    (tmp_path / "tracking/runs-password").write_text("second")
    message = it.finish()
    assert (message["outcome"], message["metrics"]) == ("succeeded", {"auc": 1.0})
    assert "secret" not in server.refused_passwords


def test_what_the_image_has_on_its_path_of_modules_the_script_has_too(server: FakeTracking, tmp_path: Path) -> None:
    (tmp_path / "spark").mkdir()
    (tmp_path / "spark/pyspark_of_the_image.py").write_text("answer = 42")
    it = pod(server, tmp_path, "import pyspark_of_the_image as p, smalt_trainer; print(p.answer)")
    it.variables["PYTHONPATH"] = str(tmp_path / "spark")
    assert it.run()["outcome"] == "succeeded"
    assert it.out == "42\n"


@pytest.mark.parametrize(
    ("bundle", "problem"), [(None, "has no key 'ca.crt'"), (b"no certificate", "no PEM"), (b"\xff\xfe", "no PEM")]
)
def test_a_trust_bundle_without_certificates_is_told_with_its_key(
    server: FakeTracking, tmp_path: Path, bundle: bytes | None, problem: str
) -> None:
    (tmp_path / "trust").mkdir()
    if bundle is not None:
        (tmp_path / "trust/ca.crt").write_bytes(bundle)
    it = pod(server, tmp_path, "")
    it.variables["SMALT_TRUST_BUNDLE"] = str(tmp_path / "trust/ca.crt")
    message = it.run()
    assert message["reason"] == "TrustBundleInvalid"
    for words in (problem, "spec.trustBundle.configMap", "'ca.crt'", "under another name"):
        assert words in message["message"]
    assert server.runs["r1"]["status"] == "FAILED"


def test_signatures_in_addresses_are_shown_nowhere(server: FakeTracking, tmp_path: Path) -> None:
    url = f"{server.url}/data/churn.csv?sv=1&sig=SIGNATURE"
    server.answers["churn.csv"] = (302, {"Location": "http://user:SIGNATURE@example.org/a?sig=SIGNATURE"}, b"")
    inputs = {"train": {"type": "uriFile", "path": url, "source": {"url": url}}}
    it = pod(server, tmp_path, "", inputs=inputs)
    message = it.fetch()
    assert message["reason"] == "InputFailed"
    assert "/data/churn.csv" in message["message"] and "redirects to http://example.org/a" in message["message"]
    assert "SIGNATURE" not in (tmp_path / "termination-log").read_text() + it.err
