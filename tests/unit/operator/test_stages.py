"""What a run is doing, by the node's report and the recorder's words; and which of these words are worth a write."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from smalt.reconcilers.stages import (
    FINALIZING_SECONDS,
    PREPARING_SECONDS,
    SILENCE_SECONDS,
    NotYetTold,
    Stage,
    known,
    live_status,
    only_words_changed,
    stage,
    told,
)
from smalt.reconcilers.world import StatusOf
from support.resources import NOW, job, pod, run

Json = dict[str, Any]
RUNNING: Json = {"running": {"startedAt": "2026-01-02T03:04:00Z"}}
JUST_NOW: Json = {"running": {"startedAt": "2026-01-02T03:04:03Z"}}
WAITING: Json = {"waiting": {"reason": "PodInitializing"}}
ENDED: Json = {"terminated": {"exitCode": 0}}


def in_state(ip: str = "10.0.0.7", fetch: Json | None = None, **states: Json) -> Json:
    statuses = [{"name": name, "state": state} for name, state in states.items()]
    init = [{"name": "fetch", "state": fetch}] if fetch else []
    about = {"podIP": ip} if ip else {}
    return pod(job(run()), phase="Running", containerStatuses=statuses, initContainerStatuses=init, **about)


def saying(phase: str, message: str = "", reason: str = "", **more: Any) -> Json:
    return {"phase": phase, "reason": reason or phase, "message": message, "metrics": {}} | more


@pytest.mark.parametrize(
    ("found", "said", "phase", "words"),
    [
        (in_state(training=WAITING), None, None, ""),
        (in_state(fetch=RUNNING, training=WAITING, recorder=WAITING), None, "Preparing", "-c fetch"),
        (
            in_state(fetch=RUNNING, training=WAITING, recorder=WAITING),
            saying("Preparing", "what the run needs is being fetched: train: 1.2 GiB of 10 GiB (12%), 80 MiB/s"),
            "Preparing",
            "1.2 GiB of 10 GiB (12%), 80 MiB/s: see `kubectl logs job/first-1 -c fetch`",
        ),
        (in_state(training=RUNNING), None, "Running", "the script runs in pod 'pod'"),
        (in_state(training=RUNNING, recorder=RUNNING), None, "Running", "the script runs"),
        (in_state(training=RUNNING, recorder=RUNNING), saying("Running", "ignored"), "Running", "the script runs"),
        (in_state(training=RUNNING, recorder=RUNNING), saying("Preparing"), "Preparing", "environment is being"),
        (
            in_state(training=RUNNING, recorder=RUNNING),
            saying("Preparing", "packages are being installed."),
            "Preparing",
            "packages are being installed: see `kubectl logs job/first-1`",
        ),
        (in_state(training=RUNNING, recorder=RUNNING), saying("Finalizing"), "Finalizing", "being stored"),
        (in_state(training=ENDED, recorder=RUNNING), saying("Running"), "Finalizing", "the script has ended"),
        (in_state(training=ENDED, recorder=RUNNING), None, "Finalizing", "-c recorder"),
        (in_state(training=ENDED, recorder=ENDED), None, "Finalizing", "-c recorder"),
        (in_state(training=ENDED), None, "Running", "the script runs"),
        (in_state("", training=JUST_NOW, recorder=RUNNING), None, "Running", "the script runs"),
        (in_state(training=JUST_NOW, recorder=WAITING), None, "Running", "the script runs"),
    ],
)
def test_the_stage_is_what_node_and_recorder_say(found: Json, said: Json | None, phase: str | None, words: str) -> None:
    made = stage(found, "first-1", said, 60, NOW + timedelta(seconds=60))
    if phase is None:
        assert made is None
    else:
        assert isinstance(made, Stage) and made.phase == phase and words in made.message


def test_the_recorders_reason_counts_for_the_phase_it_speaks_of() -> None:
    found = in_state(training=ENDED, recorder=RUNNING)
    unavailable = saying("Finalizing", "the tracking server does not answer", "TrackingUnavailable")
    made = stage(found, "first-1", unavailable, 60, NOW)
    assert isinstance(made, Stage) and (made.reason, made.phase) == ("TrackingUnavailable", "Finalizing")
    made = stage(found, "first-1", saying("Running", reason="Odd"), 60, NOW)
    assert isinstance(made, Stage) and made.reason == "Finalizing"


@pytest.mark.parametrize(
    ("reason", "seconds", "told_"),
    [("Finalizing", 2, False), ("Finalizing", 6, True), ("TrackingUnavailable", 2, True)],
)
def test_results_that_are_stored_at_once_are_not_told_to_be_on_their_way(
    reason: str, seconds: int, told_: bool
) -> None:
    ended = {"terminated": {"exitCode": 0, "finishedAt": (NOW - timedelta(seconds=seconds)).isoformat()}}
    made = stage(in_state(training=ended, recorder=RUNNING), "first-1", saying("Finalizing", reason=reason), 60, NOW)
    assert isinstance(made, Stage) if told_ else made == NotYetTold(FINALIZING_SECONDS - seconds)


def test_before_the_recorder_has_spoken_nothing_is_said_for_a_moment() -> None:
    found = in_state(training=JUST_NOW, recorder=JUST_NOW)
    assert stage(found, "first-1", None, 60, NOW) == NotYetTold(SILENCE_SECONDS - 2)
    made = stage(found, "first-1", None, 60, NOW + timedelta(seconds=SILENCE_SECONDS))
    assert isinstance(made, Stage) and made.phase == "Running"


@pytest.mark.parametrize(("age", "expected"), [(2, NotYetTold(PREPARING_SECONDS - 2)), (6, "PreparingEnvironment")])
def test_an_environment_that_takes_its_time_is_told(age: float, expected: object) -> None:
    found = in_state(training=WAITING)
    found["status"]["initContainerStatuses"] = [{"name": "environment", "state": RUNNING}]
    made = stage(found, "first-1", None, age, NOW)
    assert (made.reason if isinstance(made, Stage) else made) == expected
    assert isinstance(made, NotYetTold) or (made and made.phase == "Preparing" and "-c environment" in made.message)


@pytest.mark.parametrize(
    ("found", "asked"),
    [
        (in_state(training=RUNNING, recorder=RUNNING), True),
        (in_state(training=ENDED, recorder=RUNNING), True),
        (in_state(training=RUNNING), False),
        (in_state(training=RUNNING, recorder=WAITING), False),
        (in_state(training=RUNNING, recorder=ENDED), False),
        (in_state("", training=RUNNING, recorder=RUNNING), False),
    ],
)
def test_a_recorder_is_asked_while_it_runs_and_has_an_address(found: Json, asked: bool) -> None:
    assert live_status(found) == (StatusOf("uid-pods-pod", "10.0.0.7") if asked else None)


def test_a_pod_on_its_way_out_is_not_asked() -> None:
    found = in_state(training=RUNNING, recorder=RUNNING)
    found["metadata"]["deletionTimestamp"] = "2026-01-02T03:04:05Z"
    assert live_status(found) is None


AT_40: Json = {"percent": 40, "estimatedCompletionTime": "2026-01-02T04:00:00Z"}
LATER: Json = {"percent": 40, "estimatedCompletionTime": "2026-01-02T05:00:00Z"}
STATUS: Json = {"attempt": 1, "progress": AT_40, "metrics": {"auc": 0.5}, "phase": "Running"}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (None, {"progress": AT_40, "metrics": {"auc": 0.5}}),
        (saying("Running", progress=LATER, metrics={"auc": 0.5}), {"progress": AT_40, "metrics": {"auc": 0.5}}),
        (saying("Running", progress=LATER, metrics={"auc": 0.6}), {"progress": LATER, "metrics": {"auc": 0.6}}),
        (
            saying("Running", progress={"percent": 41}, metrics={"auc": 0.5}),
            {"progress": {"percent": 41}, "metrics": {"auc": 0.5}},
        ),
        (saying("Running"), {"progress": AT_40, "metrics": {"auc": 0.5}}),
    ],
    ids=["silence", "another end", "another metric", "another percentage", "nothing yet, as after a restart"],
)
def test_numbers_stay_until_a_percentage_or_a_metric_has_changed(said: Json | None, expected: Json) -> None:
    assert told(STATUS, 1, said) == expected


def test_another_attempt_begins_with_nothing() -> None:
    assert known(STATUS, 2) == told(STATUS, 2, None) == {}
    assert told(STATUS, 2, saying("Running", metrics={"auc": 0.1})) == {"metrics": {"auc": 0.1}}


def condition(reason: str, message: str) -> Json:
    return {"type": "Ready", "status": "False", "reason": reason, "message": message}


@pytest.mark.parametrize(
    ("changes", "only"),
    [
        ({"metrics": {"auc": 0.6}, "progress": {"percent": 50}}, True),
        ({"conditions": [condition("Preparing", "1 of 2")]}, True),
        ({"conditions": [condition("Running", "1 of 2")]}, False),
        ({"phase": "Finalizing"}, False),
        ({"attempt": 2}, False),
    ],
)
def test_words_alone_are_told_from_what_the_operator_knows(changes: Json, only: bool) -> None:
    present = STATUS | {"conditions": [condition("Preparing", "")]}
    assert only_words_changed(present, present | changes) == only


def test_what_makes_the_environment_is_asked_before_the_recorder_and_its_words_are_not_taken_for_the_recorders() -> (
    None
):
    making = pod(
        job(run()), podIP="10.0.0.7", initContainerStatuses=[{"name": "environment", "state": {"running": {}}}]
    )
    whom = live_status(making)
    assert whom is not None and whom != live_status(in_state(training=RUNNING, recorder=RUNNING))
    found = stage(making, "first-1", saying("Preparing", "the environment is being made: Downloading torch"), 60.0, NOW)
    assert isinstance(found, Stage) and found.reason == "PreparingEnvironment"
    assert found.message.startswith("the environment is being made: Downloading torch: see ")
