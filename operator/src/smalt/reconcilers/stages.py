"""Where an attempt is between its pod's start and its end: by what the node reports, and by the recorder's own words."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from smalt.api.schema import Json
from smalt.builders import fetching, preparing
from smalt.builders.training_job import CONTAINER, RECORDER
from smalt.reconcilers import diagnosis
from smalt.reconcilers.world import StatusOf

# The environment is prepared before the script runs, and the recorder says when. Where it cannot be reached, the script
# counts as running when its container has been there for so long.
SILENCE_SECONDS = 10.0
# Most environments are made before anybody could read that they are being made.
PREPARING_SECONDS = 5.0
# Most results are stored before anybody could read that they are being stored.
FINALIZING_SECONDS = 5.0
# What of a run's status is the recorder's word alone.
SAID = ("progress", "metrics")


@dataclass(frozen=True)
class Stage:
    """What a run is doing."""

    phase: str
    reason: str
    message: str


@dataclass(frozen=True)
class NotYetTold:
    """It has only just begun; in so many seconds at the latest it is worth a word."""

    seconds: float


def live_status(pod: Json) -> StatusOf | None:
    """Whom to ask: the recorder as long as it runs, and before it what fetches, then what makes the environment."""
    return talking(pod, RECORDER) or talking(pod, fetching.CONTAINER) or talking(pod, preparing.CONTAINER)


def talking(pod: Json, container: str) -> StatusOf | None:
    """The container of a pod that tells how it goes, as long as it runs; what another one said is no word of its."""
    metadata, report = pod["metadata"], pod.get("status") or {}
    if "running" not in _state(pod, container) or not report.get("podIP") or metadata.get("deletionTimestamp"):
        return None
    return StatusOf(metadata["uid"] if container == RECORDER else f"{metadata['uid']}/{container}", report["podIP"])


def stage(pod: Json, job: str, said: Json | None, age: float, now: datetime) -> Stage | NotYetTold | None:
    """What the pod of a Job of that age does; None while it is on its way."""
    training, name = _state(pod, CONTAINER), pod["metadata"]["name"]
    if not {"running", "terminated"} & training.keys():
        return _before_the_script(pod, job, age, said)
    phase = said["phase"] if said else "Running"
    if phase == "Finalizing" or ("terminated" in training and _state(pod, RECORDER)):
        # The node may know it before the recorder does, and the other way round.
        reason, words = _words(said, "Finalizing", "the script has ended and what it left is being stored")
        patience = _left(FINALIZING_SECONDS, (training.get("terminated") or {}).get("finishedAt"), now)
        if reason == "Finalizing" and patience > 0:
            return NotYetTold(patience)
        return Stage("Finalizing", reason, f"{words}: see `kubectl logs job/{job} -c {RECORDER}`")
    if phase == "Preparing":
        reason, words = _words(said, phase, "the environment is being prepared")
        return Stage(phase, reason, f"{words}: see `kubectl logs job/{job}`")
    silence = _left(SILENCE_SECONDS, (training.get("running") or {}).get("startedAt"), now)
    if said is None and live_status(pod) and silence > 0:
        return NotYetTold(silence)
    return Stage("Running", "Running", f"the script runs in pod '{name}': see `kubectl logs job/{job}`")


def _before_the_script(pod: Json, job: str, age: float, said: Json | None) -> Stage | NotYetTold | None:
    name = pod["metadata"]["name"]
    if "running" in _state(pod, fetching.CONTAINER):
        _, words = _words(said, "Preparing", f"pod '{name}' fetches what the run needs")
        return Stage("Preparing", "Fetching", f"{words}: see `kubectl logs job/{job} -c {fetching.CONTAINER}`")
    if "running" in _state(pod, preparing.CONTAINER):
        if age < PREPARING_SECONDS:
            return NotYetTold(PREPARING_SECONDS - age)
        _, words = _words(said, "Preparing", f"pod '{name}' installs the packages of spec.environment")
        return Stage(
            "Preparing", "PreparingEnvironment", f"{words}: see `kubectl logs job/{job} -c {preparing.CONTAINER}`"
        )
    return None


def told(status: Json, attempt: int, said: Json | None) -> Json:
    """Progress and metrics for the attempt's status: what is there, until the percentage or a metric has changed. When
    the script expects to end moves all the time, and alone is no write worth."""
    before = known(status, attempt)
    if said is None:
        return before
    new = {name: said.get(name) or before.get(name) for name in SAID}
    made = {name: fact for name, fact in new.items() if fact is not None}
    return before if _numbers(made) == _numbers(before) else made


def known(status: Json, attempt: int) -> Json:
    """What the recorder of that attempt has said according to the status."""
    return {name: status[name] for name in SAID if name in status} if status.get("attempt") == attempt else {}


def only_words_changed(present: Json, new: Json) -> bool:
    """The two differ in what the recorder says alone: numbers and sentences, but neither phase nor reason."""
    return _without_words(present) == _without_words(new)


def _without_words(status: Json) -> Json:
    conditions = [{**each, "message": ""} for each in status.get("conditions") or []]
    return {name: fact for name, fact in status.items() if name not in SAID} | {"conditions": conditions}


def _numbers(facts: Json) -> tuple[object, object]:
    return (facts.get("progress") or {}).get("percent"), facts.get("metrics")


def _words(said: Json | None, phase: str, otherwise: str) -> tuple[str, str]:
    """Reason and sentence of the recorder, if it speaks of that phase."""
    if said is None or said["phase"] != phase:
        return phase, otherwise
    return said["reason"], said["message"].rstrip(".") or otherwise


def _left(seconds: float, since: str | None, now: datetime) -> float:
    """What is left of so many seconds."""
    return seconds - (now - datetime.fromisoformat(since)).total_seconds() if since else 0.0


def _state(pod: Json, container: str) -> Json:
    """The container's present state; empty without such a container."""
    for each in diagnosis.statuses(pod):
        if each.get("name") == container:
            return dict(each.get("state") or {})
    return {}
