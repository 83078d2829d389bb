"""Why a pod does not come to its work: what is read for that, and what is made of it.

From the outside in: no node, volumes that are not there, containers that cannot start, a node that is lost.
"""

from __future__ import annotations

from datetime import datetime

from smalt.api.kinds import CLAIM, NODE, POD
from smalt.api.schema import Json
from smalt.reconcilers.causes import scheduling, starting, volumes
from smalt.reconcilers.causes.finding import Finding
from smalt.reconcilers.diagnosis import statuses
from smalt.reconcilers.world import Live, LiveRead, Occupied, Read, Warnings, World, events_of

# What has been waiting for so long is asked for its events; then ever more rarely, since a namespace without room may
# hold a thousand that wait.
EVENTS_SECONDS = 5.0
MOST_EVENTS_SECONDS = 60.0


def reads(pod: Json, world: World, now: datetime) -> tuple[LiveRead, ...]:
    """What has to be read live to tell the cause; nothing while all goes its way."""
    namespace = pod["metadata"]["namespace"]
    is_refused, waits = scheduling.is_unscheduled(pod), age_seconds(pod, now) >= EVENTS_SECONDS
    if is_refused or (waits and not is_placed(pod)):
        room = (Occupied(),) if is_refused and world.nodes() else ()
        claims = [Read(CLAIM, namespace, name) for name in volumes.claims_of(pod)]
        return (*room, *claims, *([Warnings(namespace, CLAIM)] if claims else []))
    if waits and is_pending(pod) and not has_begun(pod):
        return (Warnings(namespace, POD),)
    return ()


def finding(pod: Json, world: World, live: Live, image_field: str) -> Finding | None:
    """The deepest cause that can be seen; None while all goes its way. `image_field` is where the user names the image."""
    if not is_placed(pod):
        return _unbound(pod, live) or scheduling.unscheduled(pod, world.nodes(), live.get(Occupied()))
    node = world.get(NODE, "", (pod.get("spec") or {}).get("nodeName") or "")
    stopped = starting.not_started(pod, image_field) or starting.on_lost_node(pod, node)
    if stopped or not is_pending(pod):
        return stopped
    events = events_of(live.get(Warnings(pod["metadata"]["namespace"], POD)), pod["metadata"]["uid"])
    return starting.blocked(pod, image_field) or volumes.unmounted(pod, events) or starting.without_sandbox(pod, events)


def _unbound(pod: Json, live: Live) -> Finding | None:
    """The first claim that is in the pod's way."""
    namespace, is_blamed = pod["metadata"]["namespace"], scheduling.blames_a_claim(pod)
    for name in volumes.claims_of(pod):
        read = Read(CLAIM, namespace, name)
        if read not in live:
            continue
        claim = live[read]
        events = events_of(live.get(Warnings(namespace, CLAIM)), claim["metadata"]["uid"]) if claim else []
        found = volumes.unbound(name, claim, events, is_blamed)
        if found:
            return found
    return None


def is_placed(pod: Json) -> bool:
    """It has a node, or reports as only one with a node does."""
    return bool((pod.get("spec") or {}).get("nodeName") or statuses(pod)) and not scheduling.is_unscheduled(pod)


def is_pending(pod: Json) -> bool:
    """At least one of its containers has not started yet."""
    return bool((pod.get("status") or {}).get("phase", "Pending") == "Pending")


def has_begun(pod: Json) -> bool:
    """Its volumes are there and its sandbox: a container runs or has run."""
    return any({"running", "terminated"} & (each.get("state") or {}).keys() for each in statuses(pod))


def age_seconds(it: Json, now: datetime) -> float:
    made = it["metadata"].get("creationTimestamp")
    return (now - datetime.fromisoformat(made)).total_seconds() if made else MOST_EVENTS_SECONDS


def next_look(it: Json, now: datetime) -> float:
    """In as many seconds as it is old, within bounds."""
    age = age_seconds(it, now)
    return min(MOST_EVENTS_SECONDS, max(EVENTS_SECONDS, age)) if age >= EVENTS_SECONDS else EVENTS_SECONDS - age
