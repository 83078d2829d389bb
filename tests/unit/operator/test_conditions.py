"""Ready, Reconciling and Stalled go together as the API's table says, and a time changes only with a status."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from smalt.api.conditions import (
    MOST_MESSAGE,
    Condition,
    find,
    instant,
    is_ready,
    merged,
    ready,
    serving_previous,
    stalled,
    unknown,
    waiting,
    why_not,
)

Json = dict[str, Any]
EARLIER = "2026-01-01T00:00:00Z"
NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


@pytest.mark.parametrize(
    ("said", "states"),
    [
        (ready("Available", "words"), {"Ready": "True"}),
        (waiting("Queued", "words"), {"Ready": "False", "Reconciling": "True"}),
        (stalled("InvalidSpec", "words"), {"Ready": "False", "Stalled": "True"}),
        (serving_previous("words", "InitFailed", "why", is_users=True), {"Ready": "True", "Stalled": "True"}),
        (serving_previous("words", "Unschedulable", "why", is_users=False), {"Ready": "True", "Reconciling": "True"}),
        (unknown("InternalError", "words"), {"Ready": "Unknown", "Reconciling": "True"}),
    ],
    ids=["ready", "waiting", "stalled", "serving previous for good", "serving previous for now", "unknown"],
)
def test_a_state_is_told_by_these_conditions_and_no_others(said: list[Json], states: dict[str, str]) -> None:
    assert {each["type"]: each["status"] for each in said} == states
    assert all(each["reason"] and each["message"] for each in said)


@pytest.mark.parametrize("is_users", [True, False])
def test_what_serves_and_what_cannot_are_told_apart(is_users: bool) -> None:
    serves, cannot = serving_previous("churn-1 still serves", "InitFailed", "init() raised KeyError", is_users)
    assert (serves["reason"], serves["message"]) == ("ServingPrevious", "churn-1 still serves")
    assert (cannot["reason"], cannot["message"]) == ("InitFailed", "init() raised KeyError")


def condition(status: str, reason: str = "Before", since: str = EARLIER) -> Json:
    return {"type": "Ready", "status": status, "reason": reason, "message": "", "lastTransitionTime": since}


@pytest.mark.parametrize(
    ("sentence", "old", "since"),
    [
        ("the first time is now", [], "2026-01-02T03:04:05Z"),
        ("another reason is no transition", [condition("True")], EARLIER),
        ("another status is one", [condition("False")], "2026-01-02T03:04:05Z"),
        ("a time that was never written is now", [condition("True", since="")], "2026-01-02T03:04:05Z"),
        ("another type's time is another's", [condition("True") | {"type": "Stalled"}], "2026-01-02T03:04:05Z"),
    ],
)
def test_the_time_is_that_of_the_last_transition(sentence: str, old: list[Json], since: str) -> None:
    (made,) = merged(ready("Available", "words"), old, 7, NOW)
    assert made["lastTransitionTime"] == since, sentence
    assert (made["observedGeneration"], made["reason"]) == (7, "Available")


def test_conditions_that_no_longer_hold_are_left_out() -> None:
    before = merged(stalled("InvalidSpec", "words"), [], 1, NOW)
    assert [each["type"] for each in merged(ready("Available", "words"), before, 2, NOW)] == ["Ready"]


def test_merging_what_is_there_already_changes_nothing() -> None:
    once = merged(waiting("Queued", "words"), [], 1, NOW)
    assert merged(waiting("Queued", "words"), once, 1, datetime(2027, 1, 1, tzinfo=UTC)) == once


@pytest.mark.parametrize(
    ("status", "generation", "expected"),
    [
        ({"observedGeneration": 3, "conditions": [condition("True")]}, 3, True),
        ({"observedGeneration": 2, "conditions": [condition("True")]}, 3, True),
        ({"observedGeneration": 2, "conditions": [condition("False")]}, 3, False),
        ({"observedGeneration": 3, "conditions": [condition("False")]}, 3, False),
        ({"observedGeneration": 3, "conditions": [condition("Unknown")]}, 3, False),
        ({"observedGeneration": 3, "conditions": []}, 3, False),
        ({"observedGeneration": 3}, 3, False),
        ({"observedGeneration": -1}, 1, False),
        ({}, 1, False),
    ],
)
def test_ready_is_what_was_last_seen_so_that_an_edit_alone_makes_nothing_unready(
    status: Json, generation: int, expected: bool
) -> None:
    assert is_ready({"metadata": {"generation": generation}, "status": status}) is expected


def test_an_object_without_a_status_is_not_ready_and_says_so() -> None:
    assert is_ready({"metadata": {"generation": 1}}) is False
    assert why_not({"metadata": {}}) == "it has not been looked at yet"


def test_those_who_wait_are_told_the_message_of_ready() -> None:
    status = {"conditions": waiting("Queued", "three runs are before it")}
    assert why_not({"metadata": {}, "status": status}) == "three runs are before it"
    assert find(status, "Reconciling")["reason"] == "Queued"
    assert find(status, "Stalled") == {}


@pytest.mark.parametrize("length", [MOST_MESSAGE - 1, MOST_MESSAGE, MOST_MESSAGE + 1, 100_000])
def test_a_message_is_a_sentence_and_no_book(length: int) -> None:
    (made,) = ready("Available", "x" * length)
    assert len(made["message"]) == min(length, MOST_MESSAGE)
    assert made["message"].endswith("…") is (length > MOST_MESSAGE)


def test_every_condition_is_one_by_its_own_schema() -> None:
    for each in merged(serving_previous("a", "InitFailed", "b", is_users=True), [], 1, NOW):
        assert Condition.model_validate(each).model_dump(by_alias=True) == each


def test_instants_are_written_to_the_second() -> None:
    assert instant(NOW) == "2026-01-02T03:04:05Z"
