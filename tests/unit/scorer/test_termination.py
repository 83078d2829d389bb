"""The last words of a pod: always JSON, never longer than the kubelet keeps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from smalt_scorer.failures import Failure, last_line
from smalt_scorer.termination import leave, text_of


def test_the_message_names_reason_and_cause() -> None:
    found = json.loads(text_of(Failure("InitFailed", "init() raised ValueError: ä")))
    assert found == {"version": 1, "reason": "InitFailed", "message": "init() raised ValueError: ä"}


@pytest.mark.parametrize("letter", ["x", "ä", "😀", "\0", "\ud800", '"'], ids=ascii)
@pytest.mark.parametrize("length", [999, 1000, 1001, 100_000])
def test_whatever_the_message_is_it_parses_and_fits(letter: str, length: int) -> None:
    text = text_of(Failure("InitFailed", letter * length))
    assert len(text.encode()) <= 4096
    assert len(json.loads(text)["message"].encode()) <= 1000


def test_of_a_long_message_the_cause_and_the_next_step_stay() -> None:
    message = json.loads(text_of(Failure("InitFailed", "the cause " + "x" * 5000 + " the next step")))["message"]
    assert message.startswith("the cause")
    assert message.endswith("the next step")


def test_on_a_laptop_nothing_is_written(tmp_path: Path) -> None:
    leave(Failure("InitFailed", "x"), tmp_path / "termination-log")
    assert list(tmp_path.iterdir()) == []


def test_an_error_is_told_in_one_line_with_its_class() -> None:
    assert last_line(ValueError("12 features,\nthe model takes 2")) == "ValueError: 12 features, the model takes 2"
    assert last_line(SyntaxError("invalid syntax", ("score.py", 3, 1, "def", 3, 4))).endswith("(score.py, line 3)")
    assert last_line(KeyError("x")) == "KeyError: 'x'"
    assert last_line(ModuleNotFoundError("No module named 'x'")) == "ModuleNotFoundError: No module named 'x'"
