"""Who is admitted, also while a key is being changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from smalt_scorer.keys import Keys


class Clock:
    """A time that goes on when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def written(folder: Path, primary: str, secondary: str) -> Path:
    (folder / "primaryKey").write_text(primary)
    (folder / "secondaryKey").write_text(secondary)
    return folder


@pytest.mark.parametrize(
    ("header", "admitted"),
    [
        (b"Bearer first", True),
        (b"bearer second", True),
        (b"Bearer  first ", True),
        (b"Bearer firs", False),
        (b"Bearer first2", False),
        (b"Basic first", False),
        (b"first", False),
        (b"Bearer ", False),
        (b"Bearer", False),
        (b"", False),
        (b"Bearer \xff", False),
    ],
)
def test_either_key_as_bearer_is_admitted_and_nothing_else(header: bytes, admitted: bool, tmp_path: Path) -> None:
    assert Keys(written(tmp_path, "first", "second\n")).admit(header) is admitted


@pytest.mark.parametrize("content", ["", "\n", None], ids=["empty", "blank", "no file"])
def test_a_key_that_is_not_there_admits_nobody(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        written(tmp_path, content, content)
    keys = Keys(tmp_path)
    assert not any(keys.admit(header) for header in (b"Bearer ", b"Bearer", b"", b"Bearer \n"))


def test_a_changed_key_holds_after_a_second(tmp_path: Path) -> None:
    clock = Clock()
    keys = Keys(written(tmp_path, "old", "other"), clock)
    assert keys.admit(b"Bearer old")
    written(tmp_path, "new", "other")
    clock.now += 1.0
    assert [keys.admit(b"Bearer " + key) for key in (b"old", b"new", b"other")] == [False, True, True]


def test_a_flood_of_requests_reads_the_files_once_a_second(tmp_path: Path) -> None:
    clock = Clock()
    keys = Keys(written(tmp_path, "old", "other"), clock)
    keys.admit(b"Bearer old")
    written(tmp_path, "new", "other")
    clock.now += 0.9
    assert keys.admit(b"Bearer old")
