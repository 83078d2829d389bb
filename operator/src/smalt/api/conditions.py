"""Conditions: the one place that knows how Ready, Reconciling and Stalled go together (see the table in the API's docs)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from smalt.api.schema import Json, SmaltModel

# A sentence fits easily; a traceback does not belong in a condition.
MOST_MESSAGE = 1024


class Condition(SmaltModel):
    """One fact about the object, in the form that Kubernetes tools read."""

    type: Annotated[str, Field(max_length=63)]
    """Ready, Reconciling, Stalled, or a fact of the kind's own."""
    status: Literal["True", "False", "Unknown"]
    """Whether the condition holds."""
    observed_generation: Annotated[int, Field(ge=0)] = 0
    """The generation of the spec that this speaks of."""
    reason: Annotated[str, Field(max_length=63)] = ""
    """Why, in one CamelCase word."""
    message: Annotated[str, Field(max_length=32768)] = ""
    """A sentence that names the object and the next step."""
    last_transition_time: Annotated[str, Field(json_schema_extra={"format": "date-time"})] = ""
    """When `status` last changed."""


def ready(reason: str, message: str) -> list[Json]:
    """All is as the spec wants it."""
    return [_condition("Ready", "True", reason, message)]


def waiting(reason: str, message: str) -> list[Json]:
    """On the way, or waiting for something that may come by itself."""
    return [_condition("Ready", "False", reason, message), _condition("Reconciling", "True", reason, message)]


def stalled(reason: str, message: str) -> list[Json]:
    """Only somebody's edit can help."""
    return [_condition("Ready", "False", reason, message), _condition("Stalled", "True", reason, message)]


def suspended(message: str) -> list[Json]:
    """Somebody wants it to rest: nothing is on the way, and nothing is wrong."""
    return [_condition("Ready", "False", "Suspended", message)]


def information(kind: str, holds: bool, reason: str, message: str) -> list[Json]:
    """A fact besides Ready, that changes nothing of the object's health."""
    return [_condition(kind, "True" if holds else "False", reason, message)]


def serving_previous(message: str, why: str, explanation: str, is_users: bool) -> list[Json]:
    """What was there before still serves; what is asked for now cannot (`is_users`: only an edit can help), or waits."""
    besides = _condition("Stalled" if is_users else "Reconciling", "True", why, explanation)
    return [_condition("Ready", "True", "ServingPrevious", message), besides]


def unknown(reason: str, message: str) -> list[Json]:
    """A defect of ours: nothing is known, and it is tried again."""
    return [_condition("Ready", "Unknown", reason, message), _condition("Reconciling", "True", reason, message)]


def in_use(users: list[str]) -> list[Json]:
    """Information besides Ready: whether deletion would be refused. It can be waited for, which a list cannot."""
    if users:
        return [
            _condition("InUse", "True", "Deployed", f"needed by Deployment {', '.join(users)}, so it cannot be deleted")
        ]
    return [_condition("InUse", "False", "NotDeployed", "no Deployment needs it")]


def merged(new: list[Json], old: list[Json], generation: int, now: datetime) -> list[Json]:
    """The new conditions with their generation, keeping the transition time of those whose status has not changed."""
    before = {each["type"]: each for each in old}
    return [each | {"observedGeneration": generation} | _since(each, before.get(each["type"]), now) for each in new]


def find(status: Json, kind: str) -> Json:
    """The condition of that type in a status, or an empty one."""
    return next((each for each in status.get("conditions", []) if each.get("type") == kind), {})


def is_ready(resource: Json) -> bool:
    """Ready=True when it was last looked at. An edit that nobody has looked at yet makes nothing unready: those who
    depend on the object would otherwise stop, and go on a moment later, at every edit of it."""
    return bool(find(resource.get("status", {}), "Ready").get("status") == "True")


def why_not(resource: Json) -> str:
    """The message of its Ready condition, for those who wait for it."""
    return str(find(resource.get("status", {}), "Ready").get("message", "")) or "it has not been looked at yet"


def instant(now: datetime) -> str:
    """RFC 3339 to the second, as Kubernetes writes it."""
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")


def _since(new: Json, old: Json | None, now: datetime) -> Json:
    same = old is not None and old.get("status") == new["status"] and old.get("lastTransitionTime")
    return {"lastTransitionTime": old["lastTransitionTime"] if same and old else instant(now)}


def _condition(kind: str, status: str, reason: str, message: str) -> Json:
    if len(message) > MOST_MESSAGE:
        message = message[: MOST_MESSAGE - 1] + "…"
    return {"type": kind, "status": status, "reason": reason, "message": message}
