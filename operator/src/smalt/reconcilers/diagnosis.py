"""What a pod's status says: its containers' states and their last words."""

from __future__ import annotations

import json
import math
from datetime import datetime

from smalt.api.schema import Json


def statuses(pod: Json) -> list[Json]:
    """The statuses of all containers, those that run first in front."""
    report = pod.get("status") or {}
    return [*(report.get("initContainerStatuses") or []), *(report.get("containerStatuses") or [])]


def running(pod: Json) -> frozenset[str]:
    """The names of the containers that run."""
    return frozenset(str(each.get("name")) for each in statuses(pod) if "running" in (each.get("state") or {}))


def terminated(pod: Json, container: str) -> Json | None:
    """How the container ended, or None while it has not."""
    for each in statuses(pod):
        if each.get("name") == container:
            found = (each.get("state") or {}).get("terminated")
            return dict(found) if found else None
    return None


def report(state: Json) -> Json:
    """The JSON that our own programs leave as their last words; empty when there is none.

    Anybody in the pod can write it: it may be nested too deeply to be read, and half a surrogate, which no status can
    hold, becomes a question mark.
    """
    try:
        found = json.loads(state.get("message") or "")
        found = json.loads(json.dumps(found, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def end(job: Json) -> Json | None:
    """The condition with which a Job has ended, Complete or Failed; None while it has not."""
    for each in (job.get("status") or {}).get("conditions") or []:
        if each.get("type") in ("Complete", "Failed") and each.get("status") == "True":
            return dict(each)
    return None


def seconds_since(condition: Json | None, now: datetime) -> float:
    """For how long a condition has been what it is; for ever when that is not told."""
    at = (condition or {}).get("lastTransitionTime")
    return (now - datetime.fromisoformat(at)).total_seconds() if at else math.inf
