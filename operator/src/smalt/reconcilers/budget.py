"""What a Workspace's runs used of its compute, and whether its budget lets new ones start.

An attempt that has ended stands in its run's status. The Workspace adds those up, and keeps the part of runs that were
deleted, so that its sum never falls. What is at work now counts for the decision, and is written down when it ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from smalt.api import conditions
from smalt.api.hours import MILLIONTHS, Hours
from smalt.api.kinds import JOB, POD, TRAINING_RUN, WORKSPACE
from smalt.api.policy import Budget
from smalt.api.references import address
from smalt.api.schema import Json
from smalt.reconcilers import attempts, queueing
from smalt.reconcilers.world import World

EXCEEDED = "BudgetExceeded"
# The deleted runs that one status write takes in; the rest follows with the next.
MOST_DELETED = 100


def usage(workspace: Json, world: World) -> Json:
    """The Workspace's `usage`: what is there, and what was of runs that are deleted, each counted once.

    Runs that were deleted while nobody watched show as a sum that is less than what was written before.
    """
    at = address(WORKSPACE, workspace)
    before = (workspace.get("status") or {}).get("usage") or {}
    deleted = Hours.read(before.get("deletedRuns"))
    departed = world.runs.departed(at)
    newly = dict(list(departed.items())[:MOST_DELETED])
    known = sum(departed.values(), deleted + world.runs.usage(at))
    total = Hours.read(before).at_least(known)
    deleted = sum(newly.values(), deleted + (total - known))
    made = total.written()
    if deleted != Hours():
        made["deletedRuns"] = deleted.written()
    lately = list(newly) or before.get("latelyDeleted")
    return made | ({"latelyDeleted": lately} if lately else {})


@dataclass(frozen=True)
class Verdict:
    """Whether new runs may start, in a condition's words; and in how many seconds that may have changed by itself."""

    is_exceeded: bool
    said: list[Json]
    again: float | None = None


def verdict(workspace: Json, budget: Budget, used: Json, world: World, now: datetime) -> Verdict:
    name = workspace["metadata"]["name"]
    at_work, rate = working(workspace, world, now)
    total = Hours.read(used) + at_work
    over = [
        f"{limit:g} {field}"
        for field, limit, spent in (
            ("cpuHours", budget.cpu_hours, total.cpu),
            ("gpuHours", budget.gpu_hours, total.gpu),
        )
        if limit is not None and spent >= limit * MILLIONTHS
    ]
    if over:
        words = (
            f"all {' and '.join(over)} of the budget of Workspace '{name}' are used: runs that are at work go on, new ones "
            "wait until spec.policy.budget of the Workspace is raised"
        )
        return Verdict(True, conditions.information(EXCEEDED, True, "UsedUp", words))
    words = f"the budget of Workspace '{name}' is not used up"
    return Verdict(False, conditions.information(EXCEEDED, False, "WithinBudget", words), _until(budget, total, rate))


def working(workspace: Json, world: World, now: datetime) -> tuple[Hours, Hours]:
    """What the attempts at work used so far, and use in an hour."""
    used, rate = Hours(), Hours()
    for experiment in queueing.experiments(workspace, world):
        for name in world.runs.unfinished(experiment):
            run = world.get(TRAINING_RUN, experiment.namespace, name)
            for job in world.owned(JOB, run["metadata"]["uid"]) if run else []:
                if run and job["metadata"]["name"] == (run.get("status") or {}).get("job"):
                    used += attempts.used_by(job, world, now)
                    for pod in world.owned(POD, job["metadata"]["uid"]):
                        rate += attempts.rate(pod)
    return used, rate


def _until(budget: Budget, total: Hours, rate: Hours) -> float | None:
    """The seconds after which what is at work will have used up the budget."""
    pairs = ((budget.cpu_hours, total.cpu, rate.cpu), (budget.gpu_hours, total.gpu, rate.gpu))
    left = [
        (limit * MILLIONTHS - spent) / hourly * 3600 for limit, spent, hourly in pairs if limit is not None and hourly
    ]
    return max(min(left), 1.0) if left else None


# --- a run's side -----------------------------------------------------------------------------------------------------


def closed(workspace: Json) -> list[Json] | None:
    """What a new run is told of a budget that is used up; None while it may start."""
    found = conditions.find(workspace.get("status") or {}, EXCEEDED)
    return conditions.waiting(EXCEEDED, str(found.get("message", ""))) if found.get("status") == "True" else None


def is_judged(workspace: Json) -> bool:
    """The budget as it stands now was looked at: until then nobody starts, since it may have been used up long ago."""
    found = conditions.find(workspace.get("status") or {}, EXCEEDED)
    return bool(found.get("observedGeneration") == workspace["metadata"].get("generation"))
