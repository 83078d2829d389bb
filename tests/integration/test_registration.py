"""The step `register` against the real tracking server: killed at any call and tried again it ends with one run, one version."""

from __future__ import annotations

import hashlib
import json
import math
import struct
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import joblib
import pandas as pd
import pytest
from integration.test_profile_report import Browser
from sklearn.linear_model import LogisticRegression

from cluster.paths import REPOSITORY
from smalt_trainer import environment_record
from smalt_trainer.digests import manifest, manifest_digest
from smalt_trainer.lock import Entry as LockEntry
from smalt_trainer.lock import Lock
from smalt_trainer.registration.contract import contract_of
from smalt_trainer.registration.refused import NotRegistered
from smalt_trainer.registration.register import run_register
from smalt_trainer.registration.source import run_source
from smalt_trainer.termination import LIMIT, encode
from smalt_trainer.tracking import Tracking
from support.s3_server import S3Server
from support.tracking import TrackingServer
from support.tracking_client import ask
from support.virtualenvs import python_of

LOCK = Lock.of([LockEntry("numpy==2.4.6", ("sha256:" + "1" * 64,)), LockEntry("own==1", is_images=True)])
HOSTILE = "<script>alert(1)</script> | `x` [a](javascript:alert(2))"
PICTURES = REPOSITORY / "build/card"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"


@pytest.fixture(scope="module")
def server() -> Iterator[TrackingServer]:
    with TrackingServer() as started:
        yield started


@pytest.fixture(scope="module")
def registrar() -> str:
    """Whoever owns the registry."""
    return "registry"


@pytest.fixture(scope="module")
def trained(server: TrackingServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A run's record, with an output, a profile of its input and its packages."""
    folder = tmp_path_factory.mktemp("run")
    rows = pd.DataFrame({"income": range(200), HOSTILE: ["a", "b"] * 100, "churned": [0] * 100 + [1] * 100})
    rows.to_csv(folder / "train.csv", index=False)
    command = [sys.executable, "-m", "smalt_profile", str(folder / "train.csv"), "--out", str(folder / "profile")]
    subprocess.run(command, env={"PYTHONPATH": str(REPOSITORY / "trainer_image/src")}, check=True, capture_output=True)
    (folder / "model").mkdir()
    joblib.dump(LogisticRegression().fit(rows[["income"]], rows.churned), folder / "model/model.joblib")
    (folder / "model/labels.json").write_text("{}")
    runs = Tracking(server.url, "runs", server.passwords["runs"])
    experiment = runs.experiment_id("ns/churn")
    run = runs.call("POST", "runs/create", {"experiment_id": experiment})["run"]["info"]["run_id"]
    entries = manifest(folder / "model")
    for entry in entries:
        runs.upload(experiment, run, f"outputs/model/{entry.path}", folder / "model" / entry.path)
    from smalt_trainer.digests import manifest_text

    runs.upload(experiment, run, "outputs/model.manifest.json", manifest_text(entries).encode())
    for name in ("profile.json", "report.html"):
        runs.upload(experiment, run, f"profiles/inputs/train/{name}", folder / "profile" / name)
    runs.upload(experiment, run, "environment/installed.txt", b"numpy==2.4.6\nscikit-learn==1.9.1\n")
    runs.upload(
        experiment,
        run,
        "environment/versions.json",
        environment_record.versions({"numpy": "2.4.6", "other": "1"}).encode(),
    )
    runs.upload(experiment, run, "environment/requirements.lock", LOCK.text.encode())
    place = f"mlflow-artifacts:/{experiment}/{run}/artifacts"
    return {
        "experiment": experiment,
        "run": run,
        "place": place,
        "digest": manifest_digest(entries),
        "folder": folder / "model",
    }


def described(server: TrackingServer, trained: dict[str, Any], version: int, **more: Any) -> dict[str, Any]:
    name = more.pop("name", "churn")
    return {
        "version": 1,
        "model": {
            "name": name,
            "version": version,
            "object": f"{name}-{version}",
            "uid": f"uid-{name}-{version}",
            "namespace": "ns",
            "type": "customModel",
            "format": "joblib",
            "stage": "Production",
            "tags": {"owner": HOSTILE},
        },
        "source": {"uri": f"{trained['place']}/outputs/model", "digest": trained["digest"], "credentials": "scoring"},
        "allowedFormats": ["joblib"],
        "lineage": {"run": "churn-lr", "code": {"commit": "abc"}, "data": {"train": "sha256:" + "1" * 64}},
        "metrics": {"auc": 0.91, "loss": 12.5, HOSTILE: 0.5},
        "parameters": {"C": 0.1, "penalty": HOSTILE},
        "run": {"name": "churn-lr", "trackingRunId": trained["run"], "experimentId": trained["experiment"]},
        "profiles": {"train": f"{trained['place']}/profiles/inputs/train"},
        "tracking": {"uri": server.url},
        "convert": False,
        "signing": False,
        **more,
    }


def as_user(server: TrackingServer, user: str) -> dict[str, str]:
    return {"SMALT_TRACKING_USERNAME": user, "SMALT_TRACKING_PASSWORD": server.passwords[user]}


class Registration:
    """Both steps, in a folder of their own."""

    def __init__(self, server: TrackingServer, registrar: str, folder: Path, contract: dict[str, Any]) -> None:
        self.server, self.registrar, self.folder, self.contract = server, registrar, folder, contract_of(contract)
        self.converted = folder / "converted"
        self.keys = folder / "keys"
        self.patience = 5.0
        run_source(self.contract, folder / "source", as_user(server, "scoring"))

    def __call__(self) -> dict[str, Any]:
        user = as_user(self.server, self.registrar)
        return run_register(self.contract, self.folder / "source", self.converted, user, self.keys, self.patience)


def artifact(server: TrackingServer, uri: str) -> bytes:
    found = ask(server, "scoring", "GET", f"{ARTIFACTS}/{uri.partition(':/')[2]}")
    assert found.status == 200, (uri, found.body)
    return found.body


def versions(server: TrackingServer, name: str) -> list[dict[str, Any]]:
    filter_ = f"/api/2.0/mlflow/model-versions/search?filter=name%3D%27{name}%27"
    return list(ask(server, "scoring", "GET", filter_).json().get("model_versions") or [])


def test_a_model_is_copied_byte_by_byte_and_stands_in_mlflow_s_registry(
    server: TrackingServer, registrar: str, trained: dict[str, Any], tmp_path: Path
) -> None:
    report = Registration(server, registrar, tmp_path, described(server, trained, 1))()
    assert len(encode(report)) <= LIMIT
    assert report["artifact"]["digest"] == trained["digest"]
    uri = report["artifact"]["uri"]
    assert artifact(server, f"{uri}/model.joblib") == (trained["folder"] / "model.joblib").read_bytes()
    text = artifact(server, f"{uri}.manifest.json")
    assert "sha256:" + hashlib.sha256(text).hexdigest() == trained["digest"]
    place = uri.removesuffix("/model")
    assert json.loads(artifact(server, f"{place}/profiles/inputs/train/profile.json"))["rows"] == 200
    lineage = json.loads(artifact(server, f"{place}/lineage.json"))
    assert lineage["lineage"]["code"] == {"commit": "abc"}
    assert b"Smalt model card" in artifact(server, report["card"])
    (version,) = versions(server, "churn")
    tags = {each["key"]: each["value"] for each in version["tags"]}
    assert (version["version"], version["source"], tags["smalt.run.id"]) == ("1", uri, trained["run"])
    assert report["registry"] == {"version": "1", "runId": place.split("/")[2]}
    assert (tags["smalt.version"], tags["smalt.model"], tags["smalt.digest"]) == ("1", "churn-1", trained["digest"])
    alias = ask(server, "scoring", "GET", "/api/2.0/mlflow/registered-models/alias?name=churn&alias=production").json()
    assert alias["model_version"]["version"] == "1"


class Killed(BaseException):
    """As SIGKILL: nothing of ours runs after it."""


def test_a_registration_that_is_killed_at_any_call_registers_once(
    server: TrackingServer, registrar: str, trained: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registration = Registration(server, registrar, tmp_path, described(server, trained, 1, name="killed"))
    real = Tracking._send
    calls, at, is_after = 0, 0, False

    def send(self: Tracking, *arguments: Any) -> bytes:
        nonlocal calls
        calls += 1
        if calls == at and not is_after:
            raise Killed
        answer = real(self, *arguments)
        if calls == at:
            raise Killed
        return answer

    monkeypatch.setattr(Tracking, "_send", send)
    report = None
    killed = 0
    while report is None:
        at += 1
        for is_after in (False, True):  # noqa: B007 — `send` reads it
            calls = 0
            try:
                report = registration()
            except Killed:
                killed += 1
    assert killed > 20
    monkeypatch.undo()
    (version,) = versions(server, "killed")
    assert report["registry"]["version"] == version["version"]
    body = {
        "experiment_ids": [report["artifact"]["uri"].split("/")[1]],
        "filter": "tags.`smalt.model.uid` = 'uid-killed-1'",
    }
    found = ask(server, "scoring", "POST", "/api/2.0/mlflow/runs/search", body).json()["runs"]
    assert [each["info"]["run_id"] for each in found] == [report["registry"]["runId"]]
    assert found[0]["info"]["status"] == "FINISHED"


def test_what_runs_may_write_is_not_where_models_lie(
    server: TrackingServer, registrar: str, trained: dict[str, Any], tmp_path: Path
) -> None:
    report = Registration(server, registrar, tmp_path, described(server, trained, 1, name="guarded"))()
    path = f"{ARTIFACTS}/{report['artifact']['uri'].partition(':/')[2]}/model.joblib"
    assert ask(server, "runs", "PUT", path, "other").status == 403
    assert ask(server, "scoring", "PUT", path, "other").status == 403
    assert {ask(server, user, "DELETE", path).status for user in ("runs", "scoring")} == {403}
    assert ask(server, "runs", "GET", path).status == 200


def test_files_that_change_within_the_pod_are_not_registered(
    server: TrackingServer, registrar: str, trained: dict[str, Any], tmp_path: Path
) -> None:
    registration = Registration(server, registrar, tmp_path, described(server, trained, 1, name="changed"))
    with (tmp_path / "source/model/labels.json").open("a") as file:
        file.write(" ")
    with pytest.raises(NotRegistered, match="have digest") as caught:
        registration()
    assert caught.value.reason == "DigestMismatch"
    assert not versions(server, "changed")


def test_a_server_that_is_away_is_waited_for_and_then_named(
    registrar: str, server: TrackingServer, trained: dict[str, Any], tmp_path: Path
) -> None:
    registration = Registration(server, registrar, tmp_path, described(server, trained, 1, name="away"))
    registration.contract = contract_of(
        described(server, trained, 1, name="away") | {"tracking": {"uri": "http://127.0.0.1:9"}}
    )
    with pytest.raises(NotRegistered) as caught:
        registration()
    assert caught.value.reason == "TrackingUnavailable"


def keys(folder: Path) -> Path:
    """A pair as docs/signing.md has it made."""
    folder.mkdir()
    private, public = folder / "private.pem", folder / "public.pem"
    subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", private], check=True)
    subprocess.run(["openssl", "ec", "-in", private, "-pubout", "-out", public], check=True, capture_output=True)
    return folder


def test_a_model_is_signed_over_all_its_files(
    server: TrackingServer, registrar: str, trained: dict[str, Any], tmp_path: Path
) -> None:
    from model_signing import hashing, verifying

    registration = Registration(server, registrar, tmp_path, described(server, trained, 1, name="signed", signing=True))
    keys(registration.keys)
    report = registration()
    assert report["signature"]["keyDigest"].startswith("sha256:")
    (tmp_path / "signature.json").write_bytes(artifact(server, report["signature"]["uri"]))
    every_file = hashing.Config().set_ignored_paths(paths=[], ignore_git_paths=False)
    proving = verifying.Config().use_elliptic_key_verifier(public_key=registration.keys / "public.pem")
    proving.set_hashing_config(every_file)
    proving.verify(tmp_path / "source/model", tmp_path / "signature.json")
    more = tmp_path / "source/model/.gitattributes"
    more.write_text("not signed")
    with pytest.raises(ValueError, match="gitattributes"):
        proving.verify(tmp_path / "source/model", tmp_path / "signature.json")
    more.unlink()
    changed = bytearray((tmp_path / "source/model/model.joblib").read_bytes())
    changed[-1] ^= 1
    (tmp_path / "source/model/model.joblib").write_bytes(changed)
    with pytest.raises(ValueError, match=r"model\.joblib"):
        proving.verify(tmp_path / "source/model", tmp_path / "signature.json")


def test_keys_that_are_none_are_named(
    server: TrackingServer, registrar: str, trained: dict[str, Any], tmp_path: Path
) -> None:
    registration = Registration(
        server, registrar, tmp_path, described(server, trained, 1, name="unsigned", signing=True)
    )
    with pytest.raises(NotRegistered, match="are not there") as caught:
        registration()
    assert caught.value.reason == "SigningFailed"
    keys(registration.keys)
    other = keys(tmp_path / "other")
    (registration.keys / "public.pem").write_bytes((other / "public.pem").read_bytes())
    with pytest.raises(NotRegistered, match=r"is not the public key of private\.pem"):
        registration()
    assert not versions(server, "unsigned")


def converted(folder: Path, described_: Any, onnx: bytes | None = None) -> None:
    (folder / "onnx").mkdir(parents=True)
    (folder / "converted.json").write_text(described_ if isinstance(described_, str) else json.dumps(described_))
    if onnx is not None:
        (folder / "onnx/model.onnx").write_bytes(onnx)


def onnx_model() -> bytes:
    from skl2onnx import to_onnx

    return bytes(
        to_onnx(
            LogisticRegression().fit([[0.0], [1.0]], [0, 1]), pd.DataFrame({"a": [0.0]}).to_numpy()
        ).SerializeToString()
    )


EQUAL = {"file": "onnx/model.onnx", "tolerance": 1e-5, "rows": 200, "maxDifference": 1e-7}
SCHEMA = {"inputs": [{"name": "income", "type": "number"}], "outputs": [{"name": "predictions", "type": "integer"}]}


def test_what_was_converted_is_stored_beside_the_original(
    server: TrackingServer, registrar: str, trained: dict[str, Any], tmp_path: Path
) -> None:
    registration = Registration(
        server, registrar, tmp_path, described(server, trained, 1, name="converted", convert=True)
    )
    content = onnx_model()
    converted(registration.converted, {"inspection": {"library": "sklearn"}, "schema": SCHEMA, "onnx": EQUAL}, content)
    report = registration()
    assert report["schema"] == SCHEMA
    assert report["onnx"]["rows"] == 200
    assert artifact(server, f"{report['onnx']['uri']}/model.onnx") == content
    assert json.loads(artifact(server, report["schemaUri"])) == SCHEMA


@pytest.mark.parametrize(
    ("said", "content", "words"),
    [
        ("not json", None, "no JSON"),
        ({"onnx": {"reason": "NotConvertible", "message": "no converter"}}, None, "no converter"),
        ({"onnx": {**EQUAL, "file": "../../etc/passwd"}}, None, "where it belongs"),
        ({"onnx": EQUAL}, None, "is not there"),
        ({"onnx": EQUAL}, b"\x08\x09no model", "damaged"),
        ({"onnx": {**EQUAL, "maxDifference": math.inf}}, b"", "not all numbers"),
        ({"onnx": {**EQUAL, "maxDifference": 1.0}}, None, "is not there"),
    ],
)
def test_what_cannot_be_used_of_a_conversion_is_left_out_with_its_reason(
    server: TrackingServer,
    registrar: str,
    trained: dict[str, Any],
    tmp_path: Path,
    said: Any,
    content: bytes | None,
    words: str,
) -> None:
    name = f"left-{hashlib.sha256(repr((said, content)).encode()).hexdigest()[:8]}"
    registration = Registration(server, registrar, tmp_path, described(server, trained, 1, name=name, convert=True))
    converted(registration.converted, said, content)
    report = registration()
    assert words in report["onnx"]["message"]
    assert report["artifact"]["digest"] == trained["digest"]


def test_links_in_what_was_converted_are_not_followed(
    server: TrackingServer, registrar: str, trained: dict[str, Any], tmp_path: Path
) -> None:
    registration = Registration(server, registrar, tmp_path, described(server, trained, 1, name="linked", convert=True))
    (tmp_path / "real.onnx").write_bytes(onnx_model())
    converted(registration.converted, {"onnx": EQUAL})
    (registration.converted / "onnx/model.onnx").symlink_to(tmp_path / "real.onnx")
    assert "no plain file" in registration()["onnx"]["message"]


def test_mlflow_loads_the_registered_version(
    server: TrackingServer, registrar: str, trained: dict[str, Any], tmp_path: Path
) -> None:
    report = Registration(server, registrar, tmp_path, described(server, trained, 1, name="loaded"))()
    script = (
        "import mlflow, sys; mlflow.set_tracking_uri(sys.argv[1]);"
        "print(sorted(p.name for p in __import__('pathlib').Path("
        "mlflow.artifacts.download_artifacts('models:/loaded/' + sys.argv[2], dst_path=sys.argv[3])).iterdir()))"
    )
    listed = subprocess.run(
        [str(python_of("tracking")), "-c", script, server.url, report["registry"]["version"], str(tmp_path / "got")],
        env={
            "MLFLOW_TRACKING_USERNAME": "scoring",
            "MLFLOW_TRACKING_PASSWORD": server.passwords["scoring"],
            "HOME": str(tmp_path),
            "PATH": "/usr/bin:/bin",
        },
        capture_output=True,
        text=True,
    )
    assert "['labels.json', 'model.joblib']" in listed.stdout, listed.stderr


def test_a_browser_shows_the_card_and_asks_nobody_for_anything(
    server: TrackingServer, registrar: str, trained: dict[str, Any], tmp_path: Path, chromium: str
) -> None:
    registration = Registration(server, registrar, tmp_path, described(server, trained, 1, name="shown", convert=True))
    converted(
        registration.converted, {"inspection": {"library": "sklearn"}, "schema": SCHEMA, "onnx": EQUAL}, onnx_model()
    )
    report = registration()
    card = tmp_path / "card.html"
    card.write_bytes(artifact(server, report["card"]))
    browser = Browser(chromium, tmp_path)
    shown = browser(card.as_uri(), "--dump-dom")
    assert browser.complaints(shown) == []
    for section in ("About", "Metrics", "Parameters", "Lineage", "Inputs", "Data: train", "Environment", "ONNX"):
        assert f">{section}<" in shown.stdout, section
    assert "<script" not in shown.stdout
    assert "&lt;script&gt;alert(1)" in shown.stdout
    assert "scikit-learn==1.9.1" in shown.stdout
    assert shown.stdout.count("<svg") > 5
    PICTURES.mkdir(parents=True, exist_ok=True)
    picture = PICTURES / "card.png"
    browser(card.as_uri(), f"--screenshot={picture}", "--window-size=1300,4000")
    assert struct.unpack(">II", picture.read_bytes()[16:24]) == (1300, 4000)
    markdown = artifact(server, report["card"].replace("card.html", "card.md")).decode()
    assert "<script>" not in markdown
    assert "](javascript" not in markdown


def test_many_that_register_at_once_each_get_a_version(
    server: TrackingServer, registrar: str, trained: dict[str, Any], tmp_path: Path
) -> None:
    count = 12
    registrations = [
        Registration(server, registrar, tmp_path / str(each), described(server, trained, each, name="crowd"))
        for each in range(1, count + 1)
    ]
    for each in registrations:
        each.patience = 120.0
    with ThreadPoolExecutor(count) as workers:
        reports = list(workers.map(lambda each: each(), registrations))
    found = versions(server, "crowd")
    assert sorted(int(each["version"]) for each in found) == list(range(1, count + 1))
    assert {each["registry"]["version"] for each in reports} == {each["version"] for each in found}
    assert len({each["registry"]["runId"] for each in reports}) == count
    told = {tag["value"] for each in found for tag in each["tags"] if tag["key"] == "smalt.version"}
    assert told == {str(each) for each in range(1, count + 1)}


def test_a_folder_in_s3_is_imported_with_its_own_credentials(
    server: TrackingServer, registrar: str, trained: dict[str, Any], tmp_path: Path
) -> None:
    with S3Server("models") as s3:
        for path in trained["folder"].iterdir():
            s3.put("models", f"churn/v3/{path.name}", path.read_bytes())
        secret = tmp_path / "secret"
        secret.mkdir()
        for key, value in s3.credentials.items():
            (secret / key).write_text(value)
        source = {"uri": "s3://models/churn/v3", "digest": trained["digest"], "credentials": "import"}
        contract = described(server, trained, 1, name="imported", source=source, run=None, profiles={}, lineage={})
        run_source(contract_of(contract), tmp_path / "source", {}, secret)
    user = as_user(server, registrar)
    report = run_register(contract_of(contract), tmp_path / "source", tmp_path / "converted", user)
    assert report["artifact"]["digest"] == trained["digest"]
    (version,) = versions(server, "imported")
    assert version["source"] == report["artifact"]["uri"]


def test_the_packages_of_the_training_are_registered_with_the_model(
    server: TrackingServer, registrar: str, trained: dict[str, Any], tmp_path: Path
) -> None:
    contract = described(server, trained, 1, name="packaged")
    contract["lineage"]["environment"] = LOCK.digest
    found = Registration(server, registrar, tmp_path, contract)()["environment"]
    assert found["versions"] == {"numpy": "2.4.6"}
    content = artifact(server, found["uri"])
    assert content.decode() == LOCK.text and found["digest"] == f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert "/artifacts/environment/requirements.lock" in found["uri"] and trained["run"] not in found["uri"]


def test_packages_that_the_run_did_not_have_are_registered_with_no_model(
    server: TrackingServer, registrar: str, trained: dict[str, Any], tmp_path: Path
) -> None:
    """Whoever has a run's credentials could otherwise have anything installed where the model is served."""
    contract = described(server, trained, 1, name="swapped")
    contract["lineage"]["environment"] = Lock.of([LockEntry("numpy==2.4.6", ("sha256:" + "2" * 64,))]).digest
    with pytest.raises(NotRegistered, match=r"environment/requirements.lock of TrainingRun 'churn-lr'") as refused:
        Registration(server, registrar, tmp_path, contract)()
    assert refused.value.reason == "DigestMismatch"
