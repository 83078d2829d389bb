"""Durations as users write them; the schema's pattern and the reader agree on what is one."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from smalt.api.durations import seconds
from smalt.api.schema import RULES, Age, Duration

AGE_PATTERN = re.search(r"r'(.+)'", TypeAdapter(Age).json_schema()[RULES][0]["rule"])
PATTERN = re.search(r"r'(.+)'", TypeAdapter(Duration).json_schema()[RULES][0]["rule"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0s", 0.0),
        ("500ms", 0.5),
        ("30s", 30.0),
        ("10m", 600.0),
        ("2h", 7200.0),
        ("1h30m", 5400.0),
        ("1m500ms", 60.5),
        ("1ms1m", 60.001),
        ("1h1m1s1ms", 3661.001),
        ("30d", 2592000.0),
    ],
)
def test_a_duration_is_the_sum_of_its_parts(text: str, expected: float) -> None:
    assert seconds(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["", "5", "s", "5 s", " 5s", "5s\n", "-5s", "1.5h", "5w", "5S", "5m5", "٣s", "5s,5s"])
def test_what_is_no_duration_is_named_with_good_ones(text: str) -> None:
    with pytest.raises(ValueError, match="500ms, 30s, 10m, 2h or 30d") as refused:
        seconds(text)
    assert f"'{text}'" in str(refused.value)


@given(st.from_regex(r"\A([0-9]{1,5}(ms|s|m|h)){1,4}\Z"))
def test_whatever_the_schema_lets_through_can_be_read(text: str) -> None:
    assert PATTERN is not None and PATTERN[1] == "^([0-9]{1,5}(ms|s|m|h)){1,4}$"
    assert seconds(text) >= 0


@given(st.from_regex(r"\A([0-9]{1,5}(s|m|h|d)){1,4}\Z"))
def test_ages_have_days_and_can_be_read(text: str) -> None:
    assert AGE_PATTERN is not None and AGE_PATTERN[1] == "^([0-9]{1,5}(s|m|h|d)){1,4}$"
    assert timedelta(seconds=seconds(text)) >= timedelta()
