"""What run() may give back."""

from __future__ import annotations

import datetime
import json
import math
from typing import Any

import numpy
import pandas
import pytest

from smalt_scorer import answers
from smalt_scorer.answers import TooLong, body_of

WHEN = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("result", "answer"),
    [
        (None, {}),
        ({"a": [1, None, True]}, {"a": [1, None, True]}),
        ('{"a": 1}', '{"a": 1}'),
        ("ä", "ä"),
        (numpy.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        ({"p": numpy.float32(0.5), "n": numpy.int64(7), "t": numpy.bool_(True)}, {"p": 0.5, "n": 7, "t": True}),
        (pandas.DataFrame({"a": [1, 2], "b": ["x", "y"]}), [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]),
        (pandas.Series([1.5, 2.5]), [1.5, 2.5]),
        (b"\xc3\xa4", "ä"),
        ((1, 2), [1, 2]),
        ({1}, [1]),
        (WHEN, "2026-01-02T03:04:05+00:00"),
        (pandas.Timestamp(WHEN), "2026-01-02T03:04:05+00:00"),
        ({numpy.int64(3): [{numpy.float32(0.5): 1}], None: 2}, {"3": [{"0.5": 1}], "null": 2}),
        ("half a \ud800 pair", "half a \ud800 pair"),
    ],
    ids=repr,
)
def test_what_scripts_give_back_has_a_form_in_json(result: Any, answer: Any) -> None:
    assert json.loads(body_of(result)) == answer


def test_nan_stays_nan_as_on_azure() -> None:
    assert body_of([math.nan, math.inf]) == b"[NaN, Infinity]"


def test_what_has_no_form_is_named_by_its_class() -> None:
    with pytest.raises(TypeError, match="gave back a object"):
        body_of({"a": object()})


def test_keys_that_have_no_form_are_refused() -> None:
    with pytest.raises(TypeError, match="keys must be str"):
        body_of({(1, 2): 3})


@pytest.mark.parametrize(
    "result", ["x" * 101, b"x" * 101, memoryview(b"x" * 101), ["x"] * 30], ids=["text", "bytes", "view", "list"]
)
def test_an_answer_that_is_too_long_is_refused(result: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "MOST_BYTES", 100)
    with pytest.raises(TooLong, match="send the result in parts"):
        body_of(result)
