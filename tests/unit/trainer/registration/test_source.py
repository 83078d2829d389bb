"""The step `source` over files on a server: what is proven and of a known format lies there afterwards, all else is refused."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import pytest
from sklearn.linear_model import LogisticRegression

from smalt_trainer.digests import Entry, manifest_digest, manifest_text
from smalt_trainer.registration.command import Folders, run_step
from smalt_trainer.registration.contract import read_contract
from smalt_trainer.registration.refused import NotRegistered
from smalt_trainer.registration.register import run_register
from support.file_server import FileServer

MODEL = io.BytesIO()
joblib.dump(LogisticRegression().fit([[0.0], [1.0]], [0, 1]), MODEL)
CONTENT = MODEL.getvalue()
SHA = hashlib.sha256(CONTENT).hexdigest()
ENTRIES = [Entry("model.joblib", len(CONTENT), SHA)]
SIGNED = "?signature=secret"
STORE = "/api/2.0/mlflow-artifacts/artifacts"
STORED = {
    f"{STORE}/1/abc/artifacts/outputs/model.manifest.json": manifest_text(ENTRIES).encode(),
    f"{STORE}/1/abc/artifacts/outputs/model/model.joblib": CONTENT,
}


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer({f"/churn.joblib{SIGNED}": CONTENT, f"/cut.joblib{SIGNED}": CONTENT[:-5], **STORED}) as serving:
        yield serving


def run(
    tmp_path: Path, source: dict[str, Any], tracking: str = "", more: dict[str, Any] | None = None, **model: Any
) -> dict[str, Any]:
    """source.json, or the report of what is wrong."""
    contract = {
        "version": 1,
        "model": {"name": "churn", "version": 3, "object": "churn-3", "uid": "u", "namespace": "n", **model},
        "source": source,
        "allowedFormats": ["joblib", "onnx", "skops"],
        "tracking": {"uri": tracking},
        **(more or {}),
    }
    (tmp_path / "registration.json").write_text(json.dumps(contract))
    into = tmp_path / "source"
    folders = Folders(into, tmp_path / "converted", into)
    if run_step("source", tmp_path / "registration.json", folders, tmp_path / "termination"):
        assert not (into / "source.json").exists()
        report: dict[str, Any] = json.loads((tmp_path / "termination").read_text())
        return report
    found: dict[str, Any] = json.loads((into / "source.json").read_text())
    return found


def imported(server: FileServer, name: str, digest: str | None = None) -> dict[str, Any]:
    return {"uri": f"{server.url}/{name}{SIGNED}", "digest": digest, "credentials": "import"}


def stored(digest: str) -> dict[str, Any]:
    return {"uri": "mlflow-artifacts:/1/abc/artifacts/outputs/model", "digest": digest, "credentials": "scoring"}


@pytest.mark.parametrize("digest", [f"sha256:{SHA}", manifest_digest([Entry("churn.joblib", len(CONTENT), SHA)])])
def test_a_file_elsewhere_is_imported_by_either_digest(tmp_path: Path, server: FileServer, digest: str) -> None:
    found = run(tmp_path, imported(server, "churn.joblib", digest))
    assert (found["format"], found["file"], found["bytes"]) == ("joblib", "churn.joblib", len(CONTENT))
    assert (tmp_path / "source/model/churn.joblib").read_bytes() == CONTENT


def test_an_output_of_a_run_is_brought_from_the_store(tmp_path: Path, server: FileServer) -> None:
    found = run(tmp_path, stored(manifest_digest(ENTRIES)), server.url, format="joblib")
    assert found["digest"] == manifest_digest(ENTRIES)
    assert (tmp_path / "source/model/model.joblib").read_bytes() == CONTENT


def test_rows_of_the_training_data_come_along_where_the_model_is_to_be_converted(
    tmp_path: Path, server: FileServer
) -> None:
    server.files[f"{STORE}/1/abc/artifacts/profiles/inputs/train/sample.json"] = b'{"version": 1}'
    server.files[f"{STORE}/1/abc/artifacts/profiles/inputs/wide/sample.json"] = b"x" * ((4 << 20) + 1)
    profiles = {each: f"mlflow-artifacts:/1/abc/artifacts/profiles/inputs/{each}" for each in ("none", "train", "wide")}
    run(tmp_path, stored(manifest_digest(ENTRIES)), server.url, more={"convert": True, "profiles": profiles})
    assert [each.read_bytes() for each in (tmp_path / "source/samples").iterdir()] == [b'{"version": 1}']


@pytest.mark.parametrize("has_lock", [True, False])
def test_the_record_of_the_runs_packages_comes_along_where_they_are_installed_again(
    tmp_path: Path, server: FileServer, has_lock: bool
) -> None:
    server.files[f"{STORE}/1/abc/artifacts/environment/requirements.lock"] = b"lightgbm==4.5.0"
    ran = {"name": "first", "trackingRunId": "abc", "experimentId": "1"}
    more = {"convert": True, "hasLock": has_lock, "run": ran}
    run(tmp_path, stored(manifest_digest(ENTRIES)), server.url, more=more)
    brought = tmp_path / "source/environment/requirements.lock"
    assert brought.read_bytes() == b"lightgbm==4.5.0" if has_lock else not brought.exists()


def test_a_record_of_packages_that_is_gone_is_no_reason_not_to_register(tmp_path: Path, server: FileServer) -> None:
    more = {"convert": True, "hasLock": True, "run": {"name": "first", "trackingRunId": "abc", "experimentId": "1"}}
    found = run(tmp_path, stored(manifest_digest(ENTRIES)), server.url, more=more)
    assert found["format"] == "joblib" and not (tmp_path / "source/environment/requirements.lock").exists()


def test_a_second_try_begins_anew(tmp_path: Path, server: FileServer) -> None:
    (tmp_path / "source/model").mkdir(parents=True)
    (tmp_path / "source/model/left").write_text("x")
    (tmp_path / "source/source.json").write_text("{}")
    run(tmp_path, imported(server, "churn.joblib"))
    assert [each.name for each in (tmp_path / "source/model").iterdir()] == ["churn.joblib"]


def test_one_changed_byte_in_the_store_is_told(tmp_path: Path, server: FileServer) -> None:
    name = next(each for each in STORED if each.endswith(".joblib"))
    server.files[name] = CONTENT[:100] + bytes([CONTENT[100] ^ 1]) + CONTENT[101:]
    report = run(tmp_path, stored(manifest_digest(ENTRIES)), server.url)
    assert report["reason"] == "DigestMismatch"
    assert "model.joblib" in report["message"]


@pytest.mark.parametrize(
    ("name", "digest", "model", "reason", "words"),
    [
        ("churn.joblib", "sha256:" + "0" * 64, {}, "DigestMismatch", f"sha256:{SHA}"),
        ("none.joblib", None, {}, "SourceUnreachable", "404"),
        ("cut.joblib", None, {}, "ModelDamaged", "cut.joblib"),
        ("churn.joblib", None, {"format": "onnx"}, "FormatMismatch", "format: joblib"),
        ("churn.joblib", None, {"type": "mlflowModel"}, "FormatMismatch", "type: customModel"),
    ],
)
def test_what_is_wrong_is_the_container_s_last_word(
    tmp_path: Path, server: FileServer, name: str, digest: str | None, model: dict[str, str], reason: str, words: str
) -> None:
    report = run(tmp_path, imported(server, name, digest), **model)
    assert report["reason"] == reason
    assert words in report["message"]
    assert "signature=secret" not in report["message"]


def packed(members: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return made.getvalue()


FOLDER = packed({"model.joblib": CONTENT, "sub/labels.json": b"{}"})
IN_IT = [Entry("model.joblib", len(CONTENT), SHA), Entry("sub/labels.json", 2, hashlib.sha256(b"{}").hexdigest())]


# By name: gzip writes the time into the archive, and with it its digest would name another test in every process.
@pytest.mark.parametrize(
    "digest",
    [f"sha256:{hashlib.sha256(FOLDER).hexdigest()}", manifest_digest(IN_IT)],
    ids=["the archive", "the files"],
)
def test_an_archive_becomes_the_folder_of_what_is_in_it_by_either_digest(
    tmp_path: Path, server: FileServer, digest: str
) -> None:
    server.files[f"/churn.tar.gz{SIGNED}"] = FOLDER
    source = imported(server, "churn.tar.gz", digest) | {"unpack": True}
    found = run(tmp_path, source)
    assert (found["format"], found["file"], found["digest"]) == ("joblib", "model.joblib", manifest_digest(IN_IT))
    assert sorted(each.name for each in (tmp_path / "source").iterdir()) == ["model", "source.json", "trusted"]
    (tmp_path / "source/model/sub/labels.json").write_text("[]")
    contract = read_contract(tmp_path / "registration.json")
    with pytest.raises(NotRegistered, match="changed within the pod"):
        run_register(contract, tmp_path / "source", tmp_path / "converted", {})


OUTSIDE = packed({"../model.joblib": CONTENT})


@pytest.mark.parametrize(
    ("content", "digest", "reason", "words"),
    [
        (FOLDER, "sha256:" + "0" * 64, "DigestMismatch", "is declared"),
        (FOLDER[:-20], None, "ModelRefused", "broken off"),
        (OUTSIDE, None, "ModelRefused", "../model.joblib"),
        (CONTENT, None, "ModelRefused", "no archive"),
    ],
    ids=["another digest", "cut short", "a way out", "no archive"],
)
def test_an_archive_that_is_none_or_another_is_refused(
    tmp_path: Path, server: FileServer, content: bytes, digest: str | None, reason: str, words: str
) -> None:
    server.files[f"/churn.tar.gz{SIGNED}"] = content
    report = run(tmp_path, imported(server, "churn.tar.gz", digest) | {"unpack": True})
    assert report["reason"] == reason and words in report["message"] and "secret" not in report["message"]


def test_an_artifact_without_a_digest_is_not_taken(tmp_path: Path, server: FileServer) -> None:
    source = {"uri": "mlflow-artifacts:/1/abc/artifacts/outputs/model", "credentials": "scoring"}
    assert run(tmp_path, source, server.url)["reason"] == "SourceUnavailable"


def test_a_secret_that_is_not_there_yet_is_named_before_anything_is_asked(tmp_path: Path, server: FileServer) -> None:
    source = imported(server, "churn.joblib") | {"secret": "login"}
    report = run(tmp_path, source)
    assert report["reason"] == "CredentialsMissing" and "Secret 'login'" in report["message"]
    assert server.ranges == []
