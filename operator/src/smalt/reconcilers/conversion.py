"""Where a Model is converted to ONNX: in its run's environment, else in the trainer image, else not at all.

A registration does not fail because of it: an attempt whose conversion took the pod along, or cannot start, is followed
by one that converts elsewhere, and in the end by one that says why it does not convert.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from smalt.api.model import ModelSpec
from smalt.api.schema import Json
from smalt.builders.conversion import CONTAINERS, Conversion
from smalt.builders.registration_job import CONVERSION_ANNOTATION, STOPPED
from smalt.reconcilers import diagnosis
from smalt.reconcilers.causes import starting
from smalt.reconcilers.causes.finding import brief
from smalt.reconcilers.causes.starting import CONFIG_REASONS, IMAGE_REASONS
from smalt.reconcilers.run_results import is_digest, is_text

# The formats, by all of their names, that skl2onnx converts; where the spec says none, the files are looked at.
CONVERTIBLE = ("joblib", "pickle", "sklearn", "skops")
# So long an image that cannot be pulled is waited for: most that cannot be had in it cannot be had at all.
PATIENCE_SECONDS = 120.0
# So many attempts of which nothing is known are made the same way.
MOST_UNEXPLAINED = 3
# Columns that a status has room for.
MOST_COLUMNS = 64
_UNAVAILABLE = "ConverterUnavailable"


@dataclass(frozen=True)
class Way:
    """How an attempt converts, or why it does not; neither where nothing needs to be said."""

    conversion: Conversion | None = None
    unconverted: Json | None = None


def environment_of(run: Json) -> Json:
    """What of a run's environment is needed to convert its model; of one that has ended the text of it is not at hand."""
    spec, report = run["spec"], run.get("status") or {}
    asked = spec.get("environment") or {}
    built = (report.get("environment") or {}).get("image")
    packages = any(asked.get(each) for each in ("conda", "condaFile", "pip", "requirementsFile"))
    return {"image": built or asked.get("image") or "", "hasLock": packages and not built}


def first(spec: ModelSpec, trained: Json | None, trainer_image: str) -> Way:
    """The first attempt's way; `trained` is the environment of its run, where it comes from one."""
    if (spec.format or CONVERTIBLE[0]) not in CONVERTIBLE:
        return Way()
    if trained is None:
        words = "an imported model comes without rows of its training data, on which it could be proven"
        return Way(unconverted={"reason": "NoRows", "message": words})
    return Way(_ways(trained, trainer_image)[0])


def again(job: Json, trained: Json | None, trainer_image: str, why: str) -> Way:
    """The way of the attempt after `job`: another one where the conversion has failed it, as `why` says."""
    last = _of(job)
    if not why or last.conversion is None:
        return last
    ways = _ways(trained or {}, trainer_image)
    left = ways[ways.index(last.conversion) + 1 :] if last.conversion in ways else []
    if left:
        return Way(left[0])
    return Way(unconverted={"reason": _UNAVAILABLE, "message": f"it cannot be converted: {why}"})


def _ways(trained: Json, trainer_image: str) -> list[Conversion]:
    """The run's own image first."""
    has_lock = bool(trained.get("hasLock"))
    own = Conversion(str(trained.get("image") or trainer_image), has_lock)
    return [own] if own.image == trainer_image else [own, Conversion(trainer_image, has_lock)]


def _of(job: Json) -> Way:
    """The way that a Job goes, as it says itself."""
    told = json.loads((job["metadata"].get("annotations") or {}).get(CONVERSION_ANNOTATION) or "null")
    if told is None:
        return Way()
    return Way(Conversion(told["image"], told["hasLock"])) if "image" in told else Way(unconverted=told)


def stopped(job: Json) -> str:
    """Why we have suspended it, so that another attempt follows; empty where we have not."""
    return str((job["metadata"].get("annotations") or {}).get(STOPPED) or "")


def took_along(job: Json, pods: Sequence[Json], attempt: int) -> str:
    """How the conversion ended an attempt that left no word; empty when it was something else. Where nobody can tell it is
    the conversion's fault in the end."""
    if why := stopped(job):
        return why
    for pod in pods:
        for each in diagnosis.statuses(pod):
            state = (each.get("state") or {}).get("terminated") or {}
            if each.get("name") in CONTAINERS and state.get("exitCode"):
                how = f"{state.get('reason') or 'Error'}, exit code {state['exitCode']}"
                return f"container '{each['name']}' of image '{each.get('image')}' failed ({how})"
        if found := starting.evicted(pod):
            return found.message
    end = diagnosis.end(job) or {}
    if end.get("reason") == "DeadlineExceeded" or attempt >= MOST_UNEXPLAINED:
        return str(end.get("message") or end.get("reason") or "nobody can tell why its pod was gone")
    return ""


def hopeless(pods: Sequence[Json], now: datetime) -> str:
    """Why the conversion will not start; empty as long as it may."""
    for pod in pods:
        ended = (diagnosis.terminated(pod, "source") or {}).get("finishedAt")
        if not ended or (now - datetime.fromisoformat(ended)).total_seconds() < PATIENCE_SECONDS:
            continue
        for each in diagnosis.statuses(pod):
            waiting = (each.get("state") or {}).get("waiting") or {}
            if each.get("name") in CONTAINERS and waiting.get("reason") in IMAGE_REASONS | CONFIG_REASONS:
                words = brief(str(waiting.get("message") or waiting["reason"]))
                return f"container '{each['name']}' of image '{each.get('image')}' does not start: {words}"
    return ""


def told(found: object) -> Json:
    """What the registration says of the ONNX, or of why there is none, in the form that the status has."""
    if not isinstance(found, dict):
        return {}
    if all(is_text(found.get(key), 1024) for key in ("reason", "message")):
        return {"onnx": {"reason": found["reason"][:63], "message": found["message"]}}
    numbers = {key: found.get(key) for key in ("bytes", "rows", "tolerance", "maxDifference")}
    is_placed = is_text(found.get("uri")) and is_digest(found.get("digest"))
    if not is_placed or not all(map(_is_number, numbers.values())):
        return {}
    return {"onnx": {"uri": found["uri"], "digest": found["digest"]} | numbers}


def request_schema(words: Json) -> Json:
    """What it says of the columns: the whole lies in the registry, and small ones stand in the status, too."""
    place: Json = {"uri": words.get("schemaUri"), "digest": words.get("schemaDigest")}
    if not is_text(place["uri"]) or not is_digest(place["digest"]):
        return {}
    found = words.get("schema")
    parts = {key: _columns(found.get(key)) for key in ("inputs", "outputs")} if isinstance(found, dict) else {}
    return {"schema": place | {key: columns for key, columns in parts.items() if columns}}


def _columns(found: object) -> list[Json]:
    """Columns in so many words; none where one of them is of another form."""
    if not isinstance(found, list) or len(found) > MOST_COLUMNS:
        return []
    if not all(
        isinstance(each, dict) and is_text(each.get("name"), 256) and is_text(each.get("type"), 63) for each in found
    ):
        return []
    no_holes = [{"nullable": False} if each.get("nullable") is False else {} for each in found]
    return [{"name": each["name"], "type": each["type"]} | more for each, more in zip(found, no_holes, strict=True)]


def _is_number(found: object) -> bool:
    return isinstance(found, (int, float)) and not isinstance(found, bool) and math.isfinite(found) and found >= 0
