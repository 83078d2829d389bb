"""Finished runs are deleted when they are old enough; their history and their Models stay."""

from __future__ import annotations

from datetime import datetime

from smalt.api import conditions
from smalt.api.durations import seconds
from smalt.api.kinds import MODEL, TRAINING_RUN, WORKSPACE
from smalt.api.references import Address, address
from smalt.api.schema import Json
from smalt.reconcilers import queueing
from smalt.reconcilers.plan import Deletion
from smalt.reconcilers.world import World

# So many at a time: whoever comes back after a long time, or sets a short one, does not hold up everybody else.
MOST = 50
NEXT_SECONDS = 1.0


def due(workspace: Json, age: str | None, world: World, now: datetime) -> tuple[tuple[Deletion, ...], float | None]:
    """The runs to delete now, and the seconds until the next ones are due."""
    if age is None:
        return (), None
    at = address(WORKSPACE, workspace)
    kept_for = seconds(age)
    found: list[Deletion] = []
    for ended, name in world.runs.finished(at):
        left = kept_for - (now - datetime.fromisoformat(ended)).total_seconds()
        if left > 0:
            return tuple(found), left
        run = world.get(TRAINING_RUN, at.namespace, name)
        if run is None or is_needed(run, workspace, world):
            continue
        if len(found) == MOST:
            return tuple(found), NEXT_SECONDS
        metadata = run["metadata"]
        found.append(Deletion(TRAINING_RUN, at.namespace, name, metadata["uid"], metadata["resourceVersion"]))
    return tuple(found), None


def is_needed(run: Json, workspace: Json, world: World) -> bool:
    """Somebody still has to read what the run left: another run, a Model that is not registered yet, its Workspace."""
    at = Address(TRAINING_RUN, run["metadata"]["namespace"], run["metadata"]["name"])
    if at.name in queueing.admitted(workspace):
        return True
    if any(not (other.get("status") or {}).get("completionTime") for other in world.referrers(TRAINING_RUN, at)):
        return True
    return any(map(is_unregistered, world.referrers(MODEL, at)))


def is_unregistered(model: Json) -> bool:
    """It has not taken over what the run left, and may still do so."""
    status = model.get("status") or {}
    return not status.get("artifact") and conditions.find(status, "Stalled").get("status") != "True"
