"""Which names files from elsewhere may have, and what a declared digest is the digest of."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import pytest

from smalt_trainer.contract import Input
from smalt_trainer.digests import entries_of, inside, manifest, manifest_digest, manifest_text
from smalt_trainer.failures import ANOTHER_NAME, RunFailed
from smalt_trainer.fetched_inputs import check_names
from smalt_trainer.inputs import prepare_inputs
from smalt_trainer.s3 import Found
from smalt_trainer.transfer import FetchFailed


@pytest.mark.parametrize("path", ["a", "a/b c.csv", "ä/'x'/$(y)", "-rf", ".hidden", "a/.b"])
def test_a_name_below_its_folder_is_taken(path: str) -> None:
    assert inside(path) == path


@pytest.mark.parametrize(
    "path", ["", "/a", "a//b", "a/", ".", "..", "a/../b", "./a", "a/./b", "..data", "a/..b", "a\0b"]
)
def test_a_name_that_would_lie_elsewhere_or_under_another_name_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="below its folder"):
        inside(path)


def test_a_stored_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/ä.csv").write_text("x")
    entries = manifest(tmp_path)
    assert entries_of(manifest_text(entries)) == entries


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "[1]",
        "null",
        '[{"path": 1, "bytes": 1, "sha256": "x"}]',
        '[{"path": "../a", "bytes": 1, "sha256": "x"}]',
        "[",
    ],
)
def test_what_is_no_manifest_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        entries_of(text)


def found(*names: str) -> list[Found]:
    return [Found(name, f"all/{name}", 1) for name in names]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["..hidden"], "'all/..hidden' cannot be a file"),
        (["a//b"], "'all/a//b' cannot be a file"),
        (["a/b/c", "a"], "'all/a/b/c' lies below another object"),
    ],
)
def test_keys_that_cannot_be_files_of_one_folder_are_named(names: list[str], words: str) -> None:
    with pytest.raises(FetchFailed, match=words):
        check_names(found(*names))


def test_keys_that_are_files_of_one_folder_are_taken() -> None:
    check_names(found("a", "ab/c", "ab/d/e", "-x"))


def mounted(path: Path, digest: str | None = None, kind: str = "uriFile") -> dict[str, Input]:
    return {"train": Input("train", kind, f"pvc://data/{path.name}", mount=str(path), digest=digest)}


def test_a_declared_digest_is_that_of_the_manifest_or_of_a_single_files_content(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("x")
    content = "sha256:" + hashlib.sha256(b"x").hexdigest()
    whole = manifest_digest(manifest(file))
    for declared in (None, content, whole):
        ready = prepare_inputs(mounted(file, declared), {})["train"]
        assert (ready.path, ready.digest, ready.size) == (str(file), whole, {"bytes": 1, "files": 1})
    with pytest.raises(RunFailed, match=content) as failed:
        prepare_inputs(mounted(file, "sha256:" + "0" * 64), {})
    assert failed.value.reason == "DigestMismatch"


def test_a_further_attempt_says_so_when_the_data_has_changed_meanwhile(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("x")
    before = manifest_digest(manifest(file))
    (wanted,) = mounted(file).values()
    pinned = {"train": dataclasses.replace(wanted, pinned=before)}
    assert prepare_inputs(pinned, {})["train"].digest == before
    file.write_text("y")
    with pytest.raises(RunFailed, match=f"an earlier attempt of this run has read {before}.*changed") as failed:
        prepare_inputs(pinned, {})
    assert failed.value.reason == "DigestMismatch" and ANOTHER_NAME in failed.value.message


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("none.csv", "uriFile", "'none.csv' does not exist in what is mounted"),
        ("folder", "uriFile", "type uriFile wants a file"),
        ("rows.csv", "uriFolder", "type uriFolder wants a folder"),
    ],
)
def test_what_is_mounted_is_what_was_declared(tmp_path: Path, name: str, kind: str, words: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "rows.csv").write_text("x")
    with pytest.raises(RunFailed, match=words) as failed:
        prepare_inputs(mounted(tmp_path / name, kind=kind), {})
    assert failed.value.reason == "InputFailed"


def test_what_was_fetched_is_where_the_facts_say() -> None:
    wanted = {"train": Input("train", "uriFile", "https://h/a", url="https://h/a")}
    fact = {"path": "/smalt/fetched/inputs/train/a", "digest": "sha256:0", "bytes": 3, "files": 1}
    ready = prepare_inputs(wanted, {"train": fact})["train"]
    assert (ready.path, ready.digest, ready.as_json()) == (fact["path"], fact["digest"], fact)
