"""The digest rule, to the byte: the operator and the model server compute the same one."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smalt_trainer.digests import canonical_digest, manifest, manifest_digest, manifest_text


def test_a_manifest_is_compact_json_sorted_by_path_and_its_digest_is_that_of_its_text(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b/ä.txt").write_text("hi")
    (tmp_path / "a.txt").write_text("")
    text = manifest_text(manifest(tmp_path))
    assert text == (
        '[{"bytes":0,"path":"a.txt","sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},'
        '{"bytes":2,"path":"b/ä.txt","sha256":"8f434346648f6b96df89dda901c5176b10a6d83961dd3c1ac88b59b2dc327aa4"}]'
    )
    assert manifest_digest(manifest(tmp_path)) == "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def test_a_single_file_is_a_manifest_of_one_entry_under_its_own_name(tmp_path: Path) -> None:
    file = tmp_path / "churn.csv"
    file.write_text("x")
    assert [(one.path, one.size) for one in manifest(file)] == [("churn.csv", 1)]
    assert manifest_digest(manifest(file)) == manifest_digest(manifest(tmp_path))


def test_a_mounted_config_map_has_the_digest_of_its_files(tmp_path: Path) -> None:
    plain, mounted = tmp_path / "plain", tmp_path / "mounted"
    plain.mkdir()
    (plain / "train.py").write_text("1")
    (mounted / "..2026_01_01").mkdir(parents=True)
    (mounted / "..2026_01_01/train.py").write_text("1")
    (mounted / "..data").symlink_to("..2026_01_01")
    (mounted / "train.py").symlink_to("..data/train.py")
    assert manifest_digest(manifest(mounted)) == manifest_digest(manifest(plain))


def test_links_to_folders_are_followed_so_that_what_lies_behind_them_counts(tmp_path: Path) -> None:
    (tmp_path / "data/deep").mkdir(parents=True)
    (tmp_path / "data/deep/rows.csv").write_text("1")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "linked").symlink_to(tmp_path / "data")
    (folder / "again").symlink_to(tmp_path / "data")
    (folder / "gone").symlink_to(tmp_path / "nowhere")
    assert [one.path for one in manifest(folder)] == ["again/deep/rows.csv", "linked/deep/rows.csv"]
    before = manifest_digest(manifest(folder))
    (tmp_path / "data/deep/rows.csv").write_text("2")
    assert manifest_digest(manifest(folder)) != before


@pytest.mark.parametrize("target", [".", "..", "circle"])
def test_a_link_that_leads_in_a_circle_is_an_error_with_its_name(tmp_path: Path, target: str) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/circle").symlink_to(target)
    with pytest.raises(OSError, match="link") as failed:
        manifest(tmp_path)
    assert failed.value.filename == str(tmp_path / "sub/circle")


@pytest.fixture
def nobody() -> Iterator[None]:
    """For root everything is readable: the test goes on as somebody who is not."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    yield
    os.seteuid(before)


def test_a_folder_that_cannot_be_read_is_an_error_with_its_name(nobody: None) -> None:
    with tempfile.TemporaryDirectory() as made:
        closed = Path(made) / "data/closed"
        closed.mkdir(parents=True)
        closed.chmod(0)
        with pytest.raises(PermissionError, match="data/closed"):
            manifest(Path(made))


def test_neither_order_nor_times_of_files_matter_but_names_and_content_do(tmp_path: Path) -> None:
    digests = []
    for number, files in enumerate(({"a": "1", "b": "2"}, {"b": "2", "a": "1"}, {"a": "2", "b": "1"}, {"a": "12"})):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text)
        digests.append(manifest_digest(manifest(folder)))
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


@pytest.mark.parametrize(("left", "right"), [({"C": 1.0}, {"C": 1}), ({"a": 1, "b": 2}, {"b": 2.0, "a": 1})])
def test_numbers_of_one_value_have_one_digest(left: object, right: object) -> None:
    assert canonical_digest(left) == canonical_digest(right)


def test_texts_and_truths_are_not_numbers() -> None:
    assert len({canonical_digest({"C": value}) for value in (1, "1", True, 1.5, None)}) == 5


@given(st.dictionaries(st.text(), st.one_of(st.booleans(), st.integers(), st.floats(allow_nan=False), st.text())))
def test_a_round_trip_through_json_changes_no_digest(parameters: dict[str, object]) -> None:
    assert canonical_digest(json.loads(json.dumps(parameters))) == canonical_digest(parameters)
