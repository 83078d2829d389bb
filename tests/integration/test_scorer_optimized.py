"""A pod that serves a Model's ONNX: brought from the registry by its own digest, with the schema that lies beside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas
import pytest
from sklearn.linear_model import LogisticRegression

from smalt_scorer.digests import Entry, manifest_text, text_digest
from smalt_trainer.registration.conversion import convert
from support.file_server import FileServer
from support.scoring_pod import PRIMARY, ScoringPod

STORE = "/api/2.0/mlflow-artifacts/artifacts/7/b/artifacts"
ROWS = pandas.DataFrame({"age": [20.0, 30.0, 60.0, 70.0], "pay": [1.0, 2.0, 3.0, 4.0]})
MODEL = LogisticRegression().fit(ROWS, ["no", "no", "yes", "yes"])
SCHEMA = json.dumps(
    {"inputs": [{"name": "age", "type": "integer", "nullable": False}, {"name": "pay", "type": "number"}]}
).encode()
ASKED = {"data": [{"pay": 4.0, "age": 70}, {"pay": 1.0, "age": 20}]}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def server() -> Iterator[FileServer]:
    content = bytes(convert(MODEL, ROWS, False).SerializeToString())
    manifest = manifest_text([Entry("model.onnx", len(content), sha256(content))])
    held = {
        f"{STORE}/onnx/model.onnx": content,
        f"{STORE}/onnx.manifest.json": manifest.encode(),
        f"{STORE}/schema.json": SCHEMA,
    }
    with FileServer(held) as started:
        yield started


@pytest.fixture
def pod(server: FileServer, tmp_path: Path) -> Iterator[ScoringPod]:
    made = ScoringPod(tmp_path, None, {"model.joblib": b"the original, which nobody asks for"}, output="onnx")
    made.contract["model"] |= {
        "uri": "mlflow-artifacts:/7/b/artifacts/onnx",
        "digest": text_digest(server.files[f"{STORE}/onnx.manifest.json"].decode()),
        "format": "onnx",
    }
    made.contract["schema"] = {
        "uri": "mlflow-artifacts:/7/b/artifacts/schema.json",
        "digest": f"sha256:{sha256(SCHEMA)}",
    }
    (tmp_path / "model").rename(tmp_path / "elsewhere")
    yield made
    made.end()


def fetch(pod: ScoringPod, server: FileServer) -> int:
    return pod.fetch(SMALT_TRACKING_URI=server.url, SMALT_TRACKING_USERNAME="scoring", SMALT_TRACKING_PASSWORD="x")


def ask(pod: ScoringPod, body: Any) -> Any:
    return pod.request("POST", "/score", json.dumps(body).encode(), Authorization=f"Bearer {PRIMARY}")


def test_it_answers_as_the_original_and_checks_requests_by_the_models_schema(
    pod: ScoringPod, server: FileServer
) -> None:
    assert fetch(pod, server) == 0, (pod.folder / "log").read_text()
    with pod:
        assert ask(pod, ASKED).json == {"predictions": ["yes", "no"]}
        refused = ask(pod, {"data": [{"age": 31.5, "pay": 1.0}]})
        assert refused.code == 400 and "column 'age'" in refused.json["message"]
        missing = ask(pod, {"data": [{"age": None, "pay": 1.0}]})
        assert missing.code == 400 and "'age'" in missing.json["message"]


def test_a_schema_that_was_altered_is_not_brought(pod: ScoringPod, server: FileServer) -> None:
    server.files[f"{STORE}/schema.json"] = SCHEMA.replace(b"integer", b"any")
    assert fetch(pod, server) == 1
    said = json.loads((pod.folder / "termination-log").read_text())
    assert said["reason"] == "ModelDigestMismatch" and "schema.json" in said["message"]


def test_a_schema_that_is_altered_in_the_pod_is_not_used(pod: ScoringPod, server: FileServer) -> None:
    assert fetch(pod, server) == 0
    (pod.folder / "model/schema.json").write_bytes(SCHEMA.replace(b"integer", b"any"))
    pod.start()
    assert pod.process is not None and pod.process.wait(60) == 1
    assert json.loads((pod.folder / "termination-log").read_text())["reason"] == "ModelDigestMismatch"
