"""By which a caller finds its request again."""

from __future__ import annotations

import pytest

from smalt_scorer.identifiers import identifiers

LONG = "x" * 101


@pytest.mark.parametrize(
    ("given", "made"),
    [
        (
            {"x-request-id": "a", "x-ms-client-request-id": "b", "traceid": "t"},
            {"x-request-id": "a", "TraceId": "t", "x-ms-request-id": "b", "x-ms-client-request-id": "b"},
        ),
        (
            {"x-request-id": "a", "x-ms-request-id": "b"},
            {"x-request-id": "a", "x-ms-request-id": "b", "x-ms-client-request-id": "b"},
        ),
        ({"x-request-id": "a"}, {"x-request-id": "a", "x-ms-request-id": "a"}),
        ({"x-request-id": ""}, {}),
        (
            {"x-request-id": "a", "x-ms-request-id": "b", "x-ms-client-request-id": "c"},
            {"x-request-id": "a", "x-ms-request-id": "b", "x-ms-client-request-id": "c"},
        ),
    ],
)
def test_each_stands_in_for_the_other(given: dict[str, str], made: dict[str, str]) -> None:
    assert identifiers(given) == (made, None)


def test_without_any_one_is_made_up() -> None:
    first, second = identifiers({})[0], identifiers({})[0]
    assert first["x-request-id"] == first["x-ms-request-id"] != second["x-request-id"]
    assert "x-ms-client-request-id" not in first


@pytest.mark.parametrize("name", ["x-request-id", "x-ms-request-id", "x-ms-client-request-id"])
def test_one_that_is_too_long_is_refused_and_not_sent_back(name: str) -> None:
    made, refusal = identifiers({name: LONG})
    assert refusal is not None
    assert name in refusal
    assert "100 characters" in refusal
    assert LONG not in made.values()
