"""The digest of an artifact stands in three places, because images and commands know nothing of each other: all compute the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smalt.cli import digests as cli
from smalt_scorer import digests as scorer
from smalt_trainer import digests as trainer

FILES = {
    "one file": {"model.joblib": b"\x80weights"},
    "nothing in a file": {"empty": b""},
    "folders, whose order is not that of their names with a slash": {"a/b": b"1", "a.txt": b"2", "a-b/c": b"3"},
    "names beyond ASCII": {"models/Modell ä ☃.bin": b"x", "B": b"y", "a": b"z", 'quo"te\\': b"w"},
    "hidden files": {".config": b"1", ".cache/x": b"2"},
    "more than a piece of reading": {"large": bytes(range(256)) * 5000},
}


@pytest.mark.parametrize("files", FILES.values(), ids=FILES)
def test_all_find_the_digest_that_the_trainer_recorded(files: dict[str, bytes], tmp_path: Path) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    recorded = trainer.manifest_text(trainer.manifest(tmp_path))
    assert scorer.manifest_text(scorer.manifest(tmp_path)) == recorded
    assert scorer.manifest_digest(scorer.manifest(tmp_path)) == trainer.manifest_digest(trainer.manifest(tmp_path))
    assert {entry.path for entry in scorer.entries_of(recorded)} == set(files)
    assert trainer.entries_of(recorded) == trainer.manifest(tmp_path)
    assert cli.manifest(cli.entries(tmp_path, lambda _: None)).decode() == recorded
    assert "sha256:" + cli.digest(recorded.encode()) == trainer.manifest_digest(trainer.manifest(tmp_path))


def test_an_output_that_is_one_file_has_one_digest_too(tmp_path: Path) -> None:
    file = tmp_path / "model"
    file.write_bytes(b"weights")
    recorded = trainer.manifest_text(trainer.manifest(file))
    assert scorer.manifest_text(scorer.manifest(file)) == recorded
    assert cli.manifest(cli.entries(file, lambda _: None)).decode() == recorded


def test_a_file_name_that_is_no_utf_8_has_one_digest_too(tmp_path: Path) -> None:
    with open(bytes(tmp_path) + b"/\xff.bin", "wb") as file:
        file.write(b"x")
    recorded = trainer.manifest_digest(trainer.manifest(tmp_path))
    assert scorer.manifest_digest(scorer.manifest(tmp_path)) == recorded
    assert "sha256:" + cli.digest(cli.manifest(cli.entries(tmp_path, lambda _: None))) == recorded


@given(st.dictionaries(st.text(min_size=1), st.tuples(st.integers(0, 2**60), st.binary(min_size=32, max_size=32))))
def test_any_manifest_is_one_text(lines: dict[str, tuple[int, bytes]]) -> None:
    recorded = trainer.manifest_text([trainer.Entry(name, size, sha.hex()) for name, (size, sha) in lines.items()])
    mine = scorer.manifest_text([scorer.Entry(name, size, sha.hex()) for name, (size, sha) in lines.items()])
    assert mine == recorded
    assert json.loads(mine) == sorted(json.loads(recorded), key=lambda line: line["path"])
