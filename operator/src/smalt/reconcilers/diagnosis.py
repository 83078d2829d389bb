"""Why a pod does not do its work, in a reason and a sentence."""

from __future__ import annotations

import json
import re
from typing import NamedTuple

from smalt.api.schema import Json

IMAGE_REASONS = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"}
)
# As the API server's admission says it.
_NO_PRIORITY_CLASS = re.compile(r"no PriorityClass with name (\S+) was found")
CONFIG_REASONS = frozenset({"CreateContainerConfigError", "CreateContainerError"})


class Finding(NamedTuple):
    """A cause; `is_users` when only an edit can help, else it may pass by itself."""

    reason: str
    message: str
    is_users: bool = False


def statuses(pod: Json) -> list[Json]:
    """The statuses of all containers, those that run first in front."""
    report = pod.get("status") or {}
    return [*(report.get("initContainerStatuses") or []), *(report.get("containerStatuses") or [])]


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


def unscheduled(pod: Json) -> Finding | None:
    """No node takes the pod."""
    for each in (pod.get("status") or {}).get("conditions") or []:
        if each.get("type") == "PodScheduled" and each.get("status") == "False":
            words = each.get("message") or each.get("reason") or "no reason given"
            return Finding(
                "Unschedulable",
                f"no node fits pod '{pod['metadata']['name']}': {words}. Choose a smaller instanceType, or add a node",
            )
    return None


def blocked(pod: Json, image_field: str) -> Finding | None:
    """A container that cannot start; `image_field` is where the user names the image."""
    for each in statuses(pod):
        waiting = (each.get("state") or {}).get("waiting") or {}
        reason, words = waiting.get("reason", ""), _brief(waiting.get("message") or "")
        if reason in IMAGE_REASONS:
            return Finding(
                "ImagePullFailed",
                f"image '{each.get('image')}' cannot be pulled: {words or reason}. Correct {image_field}, or make the "
                "image reachable for the nodes",
                is_users=True,
            )
        if reason in CONFIG_REASONS:
            return Finding(
                "PodRefused",
                f"container '{each.get('name')}' cannot be made: {words or reason}. Mend what it names; it is tried again",
            )
    return None


def evicted(pod: Json) -> Finding | None:
    """The node ended the pod as a whole, for what the pod itself did: else the attempt is made again."""
    found = pod.get("status") or {}
    if found.get("phase") == "Failed" and found.get("reason"):
        words = f": {found['message']}" if found.get("message") else ""
        return Finding(
            "PodLost",
            f"pod '{pod['metadata']['name']}' was ended by its node ({found['reason']}{words}): name a larger one in "
            "instanceType, or let the script write less",
        )
    return None


def refused(events: list[Json]) -> Finding | None:
    """Why a controller may not make a pod, from the newest of its events."""
    failed = [each for each in events if each.get("reason") == "FailedCreate"]
    if not failed:
        return None
    return _refusal(max(failed, key=_time_of).get("message") or "")


def unmade(server: Json) -> Finding | None:
    """Why the controller of an apps/v1 Deployment may not make its pods."""
    for each in (server.get("status") or {}).get("conditions") or []:
        if each.get("type") == "ReplicaFailure" and each.get("status") == "True":
            return _refusal(each.get("message") or each.get("reason") or "no reason given")
    return None


def _refusal(words: str) -> Finding:
    if "exceeded quota" in words or "must specify" in words:
        return Finding(
            "QuotaExceeded", f"the namespace's quota leaves no room: {_brief(words)}. It goes on when there is"
        )
    missing = _NO_PRIORITY_CLASS.search(words)
    if missing:
        return Finding(
            "UnknownPriorityClass",
            f"PriorityClass '{missing[1]}' of spec.priorityClassName does not exist in the cluster: make it, and the run "
            "follows by itself, or name one of `kubectl get priorityclasses`",
        )
    return Finding("PodRefused", f"the cluster refuses the pod: {_brief(words)}. Mend what it names; it is tried again")


def _time_of(event: Json) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp") or "")


def _brief(words: str) -> str:
    """One line, at most 400 characters."""
    line = " ".join(words.split())
    return line if len(line) <= 400 else line[:399] + "…"
