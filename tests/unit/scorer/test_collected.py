"""What is collected waits in a bounded folder for whoever ships it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from smalt_scorer.collected import Collected

ROWS = [{"a": 1}]


def add(spool: Collected, name: str = "inputs") -> bool:
    return spool.add(name, "c", ROWS, "churn", "3")


def test_a_file_is_handed_over_when_it_is_full(tmp_path: Path) -> None:
    spool = Collected(tmp_path / "spool", file_bytes=1)
    assert [add(spool), add(spool)] == [True, True]
    names = sorted(path.name for path in (tmp_path / "spool").iterdir())
    assert [name.endswith(".jsonl") for name in names] == [True, False]
    spool.hand_over()
    files = sorted((tmp_path / "spool").iterdir())
    assert [path.suffix for path in files] == [".jsonl", ".jsonl"]
    assert [json.loads(path.read_text())["rows"] for path in files] == [ROWS, ROWS]


def test_more_than_there_is_room_for_is_lost_and_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spool = Collected(tmp_path, most_bytes=400, file_bytes=1)
    kept = [add(spool) for _ in range(10)]
    assert kept[0] and not kept[-1]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 400
    assert capsys.readouterr().err.count("collected data is lost") == 1
    for path in tmp_path.glob("*.jsonl"):
        path.unlink()  # what a shipper does
    assert add(spool)


def test_a_disk_that_takes_nothing_is_no_error_of_the_scripts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert not add(Collected(tmp_path / "file/below"))
    assert "collected data is lost: [Errno 20] Not a directory" in capsys.readouterr().err


def test_without_a_folder_nothing_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    assert not add(Collected(None))
    assert "nothing is collected, because SMALT_COLLECTED names no folder" in capsys.readouterr().err
