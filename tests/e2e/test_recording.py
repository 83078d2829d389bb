"""What runs record on the real node: by every way of logging, without the password, and when the kernel takes the script."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.cluster_namespace import Json, Namespace, condition, tracking
from e2e.test_bad_runs import experiment, run, workspace

SAMPLE = Path(__file__).resolve().parents[2] / "manifests/samples/logging"

# The kernel kills all of the container at once where the node says so, else the script alone: the results are the same.
GROWS = """
import os, pathlib
from smalt_trainer import run
for step in range(1000): run.log("loss", 1 / (step + 1), step)
print("begin", flush=True)
pathlib.Path(os.environ["SMALT_OUTPUTS_model"], "part").write_text("half")
hold = []
while True: hold.append(b"x" * (16 << 20))
"""
PRIES = """
import os, pathlib, urllib.request
assert not [name for name in os.environ if "PASSWORD" in name]
assert not pathlib.Path("/smalt/tracking").exists()
os.symlink("/smalt/tracking/runs-password", os.environ["SMALT_OUTPUTS_model"] + "/stolen")
pathlib.Path(os.environ["SMALT_OUTPUTS_model"], "fine").write_text("fine")
"""
LINGERS = """
import time
from smalt_trainer import run
run.log("auc", 0.5)
print("said", flush=True)
time.sleep(600)
"""
MODEL = {"outputs": {"model": {"type": "customModel"}}}


@pytest.fixture(scope="module")
def lab(shared: Namespace) -> Iterator[Namespace]:
    sample = [
        yaml.safe_load((SAMPLE / f"{name}.yaml").read_text()) for name in ("workspace", "experiment", "trainingrun")
    ]
    shared.apply(workspace("recording"), experiment("recorded", "recording"), *sample)
    shared.ready("experiment", "recorded", 180)
    own = {"experiment": "recorded"}
    shared.apply(run("grows", GROWS, **MODEL | own), run("pries", PRIES, **MODEL | own), run("lingers", LINGERS, **own))
    yield shared


def recorded(lab: Namespace, name: str, of: str = "recording") -> dict[str, Any]:
    run_id = lab.get("trainingrun", name)["status"]["tracking"]["runId"]
    with tracking(lab, of) as ask:
        found = json.loads(ask(f"api/2.0/mlflow/runs/get?run_id={run_id}"))["run"]
    assert isinstance(found, dict)
    return found


def test_the_sample_logs_in_every_way_there_is(lab: Namespace) -> None:
    status: Json = lab.ready("trainingrun", "digits-1", 300)["status"]
    assert {"accuracy", "classes", "summary/rows", "summary/columns"} <= status["metrics"].keys()
    assert not any(name.startswith("system/") for name in status["metrics"])
    found = recorded(lab, "digits-1", "logging")
    tags = {each["key"]: each["value"] for each in found["data"]["tags"]}
    assert "./mlruns" in tags["smalt.warning.tracking_uri"]
    assert any(each["key"] == "system/system_memory_usage_megabytes" for each in found["data"]["metrics"])


def test_a_script_taken_by_the_kernel_has_left_what_it_had(lab: Namespace) -> None:
    status = lab.stalled("trainingrun", "grows", 240)["status"]
    ready = condition(lab.get("trainingrun", "grows"), "Ready")
    assert ready["reason"] == "OutOfMemory" and "256Mi" in ready["message"]
    assert status["metrics"] == {"loss": 0.001}
    assert status["outputs"]["model"]["bytes"] == 4
    found = recorded(lab, "grows")
    assert found["info"]["status"] == "FAILED"


def test_a_script_finds_no_password_and_cannot_have_the_recorder_fetch_it(lab: Namespace) -> None:
    found = lab.stalled("trainingrun", "pries", 240)
    assert condition(found, "Ready")["reason"] == "ResultsNotStored"
    assert "'stolen'" in condition(found, "Ready")["message"]


def test_the_log_of_a_job_is_the_scripts_and_the_page_shows_its_latest_value(lab: Namespace) -> None:
    found = lab.until("trainingrun", "lingers", lambda it: it.get("status", {}).get("metrics") == {"auc": 0.5}, 180)
    job = found["status"]["job"]
    assert lab("logs", f"job/{job}").splitlines()[0] == "said"
    assert "said" not in lab("logs", f"job/{job}", "-c", "recorder")
    lab("delete", "trainingrun", "lingers", "--wait=false")
