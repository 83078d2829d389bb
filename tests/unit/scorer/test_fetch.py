"""Bringing a model: only what was registered passes, and what passes once does not have to come again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from smalt_scorer.contract import Model
from smalt_scorer.digests import Entry, manifest_text, text_digest
from smalt_scorer.failures import Failure
from smalt_scorer.fetch import Server, fetch, verify
from support.file_server import FileServer

ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts/1/abc/artifacts/outputs"
FILES = {"model.joblib": b"w" * 5000, "sub/Spalten ä.json": b"[]", "empty": b""}
QUOTED = {"sub/Spalten ä.json": "sub/Spalten%20%C3%A4.json"}


def stored(files: dict[str, bytes]) -> tuple[Model, dict[str, bytes]]:
    """A model with these files, and what the tracking server holds of it by path."""
    text = manifest_text(Entry(name, len(data), hashlib.sha256(data).hexdigest()) for name, data in files.items())
    held = {f"{ARTIFACTS}/model/{QUOTED.get(name, name)}": data for name, data in files.items()}
    held[f"{ARTIFACTS}/model.manifest.json"] = text.encode()
    uri = "mlflow-artifacts:/1/abc/artifacts/outputs/model"
    return Model("churn", 3, "churn-3", uri, text_digest(text), "model"), held


MODEL, HELD = stored(FILES)


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer(dict(HELD)) as started:
        yield started


def bring(server: FileServer, into: Path, model: Model = MODEL, patience: float = 0.0) -> Path:
    return fetch(model, into, Server(server.url, "scoring", "secret"), patience)


def test_the_files_lie_under_the_models_name_version_and_output(server: FileServer, tmp_path: Path) -> None:
    folder = bring(server, tmp_path)
    assert folder == tmp_path / "azureml-models/churn/3/model"
    assert {name: (folder / name).read_bytes() for name in FILES} == FILES
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_a_folder_stays_one_when_it_holds_a_single_file_of_its_own_name(tmp_path: Path) -> None:
    model, held = stored({"model": b"weights"})
    with FileServer(held) as server:
        folder = bring(server, tmp_path, model)
        assert bring(server, tmp_path, model) == folder
    assert folder == tmp_path / "azureml-models/churn/3/model"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"model": b"weights"}
    verify(model, folder)


def test_a_second_time_nothing_is_asked_for(server: FileServer, tmp_path: Path) -> None:
    bring(server, tmp_path)
    asked = len(server.ranges)
    bring(server, tmp_path)
    assert len(server.ranges) == asked


def test_what_an_earlier_attempt_left_unfinished_does_not_stay(server: FileServer, tmp_path: Path) -> None:
    left = tmp_path / "azureml-models/churn/3/.model.unfinished"
    left.mkdir(parents=True)
    (left / "foreign").write_text("x")
    assert not (bring(server, tmp_path) / "foreign").exists()


def test_another_manifest_than_the_registered_one_names_the_model_and_both_digests(
    server: FileServer, tmp_path: Path
) -> None:
    other = dataclasses.replace(MODEL, digest="sha256:" + "0" * 64)
    with pytest.raises(Failure, match="register the model again") as caught:
        bring(server, tmp_path, other)
    assert caught.value.reason == "ModelDigestMismatch"
    for part in ("'churn-3'", MODEL.digest, other.digest):
        assert part in str(caught.value)


@pytest.mark.parametrize("altered", [b"v" * 5000, b"w" * 4999, b"w" * 5001, b""])
def test_an_altered_file_is_named_and_does_not_get_its_name(altered: bytes, server: FileServer, tmp_path: Path) -> None:
    server.files[f"{ARTIFACTS}/model/model.joblib"] = altered
    with pytest.raises(Failure, match=r"'model\.joblib' of Model 'churn-3'") as caught:
        bring(server, tmp_path)
    assert caught.value.reason == "ModelDigestMismatch"
    assert not MODEL.artifact(tmp_path).exists()


@pytest.mark.parametrize("path", ["../outside", "/etc/outside", "a/../../outside", "", ".", "a\0b"])
def test_a_manifest_that_names_a_path_outside_is_refused(path: str, tmp_path: Path) -> None:
    text = json.dumps([{"path": path, "bytes": 1, "sha256": "0"}], separators=(",", ":"))
    model = dataclasses.replace(MODEL, digest=text_digest(text))
    with FileServer({f"{ARTIFACTS}/model.manifest.json": text.encode()}) as server, pytest.raises(Failure) as caught:
        bring(server, tmp_path, model)
    assert "outside of the artifact" in str(caught.value)
    assert "register the model again" in str(caught.value)
    assert [item for item in tmp_path.rglob("*") if item.is_file()] == []


def test_a_connection_that_breaks_off_is_no_altered_file(server: FileServer, tmp_path: Path) -> None:
    server.breaks[f"{ARTIFACTS}/model/model.joblib"] = [100]
    assert (bring(server, tmp_path, patience=10) / "model.joblib").read_bytes() == FILES["model.joblib"]


def test_a_model_that_is_not_there_is_unavailable_at_once(server: FileServer, tmp_path: Path) -> None:
    server.files.clear()
    with pytest.raises(Failure, match=r"'churn-3' cannot be had .* 404") as caught:
        bring(server, tmp_path, patience=60)
    assert caught.value.reason == "ModelUnavailable"


def test_the_password_is_not_taken_to_where_an_answer_points(server: FileServer, tmp_path: Path) -> None:
    with FileServer(dict(HELD)) as elsewhere:
        place = f"{ARTIFACTS}/model/model.joblib"
        server.redirects[place] = elsewhere.url + place
        with pytest.raises(Failure, match="answers 302") as caught:
            bring(server, tmp_path)
        assert elsewhere.ranges == []
    assert caught.value.reason == "ModelUnavailable"


def test_a_proxy_of_the_environment_is_not_asked(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert bring(server, tmp_path).exists()


def test_a_server_that_is_not_there_is_asked_until_the_patience_ends(tmp_path: Path) -> None:
    with FileServer({}) as gone:
        pass
    with pytest.raises(Failure, match="Connection refused") as caught:
        bring(gone, tmp_path, patience=0.6)
    assert caught.value.reason == "ModelUnavailable"


def test_the_disk_is_checked_again_before_serving(server: FileServer, tmp_path: Path) -> None:
    folder = bring(server, tmp_path)
    (folder / "more").write_text("x")
    with pytest.raises(Failure, match="altered") as caught:
        verify(MODEL, folder)
    assert caught.value.reason == "ModelDigestMismatch"
