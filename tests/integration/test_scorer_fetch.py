"""From the real tracking server into a pod: what a run stored is what is served, and by the scorer's own user."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from smalt_scorer.digests import manifest, manifest_text
from smalt_trainer.tracking import Tracking
from support.scoring_pod import ScoringPod
from support.tracking import TrackingServer

SCRIPT = """
import os, pathlib
def run(raw_data):
    return pathlib.Path(os.environ["AZUREML_MODEL_DIR"], "model", "sub", "Gewichte ä.txt").read_text()
"""


@pytest.fixture(scope="module")
def server() -> Iterator[TrackingServer]:
    with TrackingServer() as started:
        yield started


@pytest.fixture
def pod(server: TrackingServer, tmp_path: Path) -> Iterator[ScoringPod]:
    """A pod whose model is stored on the server, and not yet in the pod."""
    made = ScoringPod(tmp_path, SCRIPT, {"sub/Gewichte ä.txt": b"seven", "large.bin": os.urandom(3 << 20)})
    folder = made.model_dir / "model"
    tracking = Tracking(server.url, "runs", server.passwords["runs"])
    experiment = tracking.experiment_id("team-a/churn")
    run = tracking.call("POST", "runs/create", {"experiment_id": experiment})["run"]["info"]["run_id"]
    entries = manifest(folder)
    for entry in entries:
        tracking.upload(experiment, run, f"outputs/model/{entry.path}", folder / entry.path)
    tracking.upload(experiment, run, "outputs/model.manifest.json", manifest_text(entries).encode())
    made.contract["model"]["uri"] = f"mlflow-artifacts:/{experiment}/{run}/artifacts/outputs/model"
    folder.parents[2].rename(tmp_path / "stored")
    yield made
    made.end()


def fetch(pod: ScoringPod, server: TrackingServer, password: str | None = None) -> int:
    return pod.fetch(
        SMALT_TRACKING_URI=server.url,
        SMALT_TRACKING_USERNAME="scoring",
        SMALT_TRACKING_PASSWORD=server.passwords["scoring"] if password is None else password,
    )


def test_what_a_run_stored_is_brought_and_served(pod: ScoringPod, server: TrackingServer) -> None:
    assert fetch(pod, server) == 0, pod.log
    assert "Model 'churn-3' is verified" in pod.log
    assert fetch(pod, server) == 0, pod.log
    pod.start()
    pod.wait_ready()
    assert pod.score({}).json == "seven"


def test_what_was_altered_on_the_server_is_not_let_in(pod: ScoringPod, server: TrackingServer) -> None:
    (stored,) = server.data.rglob(f"{pod.contract['model']['uri'].split('/')[2]}/artifacts/outputs/model/large.bin")
    stored.write_bytes(b"another model")
    assert fetch(pod, server) == 1
    assert pod.message["reason"] == "ModelDigestMismatch"
    assert "'large.bin' of Model 'churn-3'" in pod.message["message"]
    assert not (pod.model_dir / "model").exists()


def test_another_digest_than_the_stored_one_names_both(pod: ScoringPod, server: TrackingServer) -> None:
    stored = pod.contract["model"]["digest"]
    pod.contract["model"]["digest"] = "sha256:" + "0" * 64
    assert fetch(pod, server) == 1
    assert pod.message["reason"] == "ModelDigestMismatch"
    assert stored in pod.message["message"]
    assert "sha256:" + "0" * 64 in pod.message["message"]


def test_a_wrong_password_is_told_and_not_printed(pod: ScoringPod, server: TrackingServer) -> None:
    assert fetch(pod, server, "not-the-password") == 1
    assert pod.message["reason"] == "ModelUnavailable"
    assert "401" in pod.message["message"]
    assert "not-the-password" not in pod.log


def test_without_a_server_named_nothing_is_tried(pod: ScoringPod, server: TrackingServer) -> None:
    assert pod.fetch(SMALT_TRACKING_URI="") == 1
    assert pod.message["message"].startswith("SMALT_TRACKING_URI is not set")
