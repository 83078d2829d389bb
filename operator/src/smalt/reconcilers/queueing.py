"""The queue of a Workspace that limits how many runs work at a time.

Who has a place stands in the Workspace's status (`queue.admitted`), which is written before the run's Job is made, by
one reconcile at a time and on the condition that the Workspace has not changed since it was read. So the limit holds
whatever a second worker or a second operator believes: a place that is not written down gives no Job.

A run asks for a place by its own status (reason Queued), once nothing else stands before its Job, so that no place is
held by a run that cannot use it. Places go first in first out within an experiment and round-robin between
experiments, in the order of their names, beginning after the one that was served last.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from smalt.api import conditions
from smalt.api.kinds import EXPERIMENT, JOB, POD, TRAINING_RUN, WORKSPACE
from smalt.api.references import Address, address
from smalt.api.schema import Json
from smalt.reconcilers import attempts
from smalt.reconcilers.world import World

QUEUED = "Queued"
# So far from the front every change of place is told; further back only when it has halved or doubled, so that a long
# queue costs each run a few writes in all, not one for each run before it.
TOLD_EXACTLY = 10
# A run's pods may outlive the run by their grace period, and nobody tells the Workspace when they are gone.
LEFTOVER_SECONDS = 1.0
GIVEN_BACK_SECONDS = 0.2


def turns(lines: Mapping[str, Sequence[str]], last_served: str | None) -> Iterator[tuple[str, str]]:
    """Experiment and run of every turn to come; each line is in the order of arrival."""
    going = [(name, iter(lines[name])) for name in cycle(lines, last_served)]
    while going:
        still = []
        for experiment, line in going:
            run = next(line, None)
            if run is not None:
                yield experiment, run
                still.append((experiment, line))
        going = still


def cycle(experiments: Mapping[str, object], last_served: str | None) -> list[str]:
    """The experiments in the order in which they are served next."""
    ordered = sorted(experiments)
    start = next((index for index, name in enumerate(ordered) if last_served and name > last_served), 0)
    return ordered[start:] + ordered[:start]


def position(lengths: Mapping[str, int], last_served: str | None, experiment: str, index: int) -> int:
    """The place, from 1, of the run with that index in its experiment's line, without walking the lines."""
    order = cycle(lengths, last_served)
    own = order.index(experiment)
    return 1 + index + sum(min(lengths[name], index + (at < own)) for at, name in enumerate(order) if at != own)


def is_worth_telling(place: int, told: int | None) -> bool:
    """Whether a run's status should name its new place."""
    if told is None or place == told:
        return told is None
    return place <= TOLD_EXACTLY or not told < 2 * place < 4 * told


# --- what a run asks --------------------------------------------------------------------------------------------------


def is_asking(run: Json) -> bool:
    """The run waits for a place and would use it now."""
    spec, status = run.get("spec") or {}, run.get("status") or {}
    wants = not (spec.get("suspend") or spec.get("cancel") or run["metadata"].get("deletionTimestamp"))
    return wants and not status.get("completionTime") and conditions.find(status, "Ready").get("reason") == QUEUED


def is_admitted(run: Json, workspace: Json) -> bool:
    return run["metadata"]["name"] in admitted(workspace)


def admitted(workspace: Json) -> list[str]:
    return list(((workspace.get("status") or {}).get("queue") or {}).get("admitted") or [])


def last_served(workspace: Json) -> str | None:
    return ((workspace.get("status") or {}).get("queue") or {}).get("lastServed")


def arrival(run: Json) -> tuple[str, str]:
    """By what runs stand in line: the older first, of equals the one whose name comes first."""
    return str(run["metadata"].get("creationTimestamp", "")), run["metadata"]["name"]


def place_of(run: Json, workspace: Json, world: World) -> tuple[int, int]:
    """The run's place in the queue, whether it stands there already or comes now, and how many wait.

    Counted, not walked: a thousand runs that arrive together ask for it a thousand times.
    """
    namespace, own = run["metadata"]["namespace"], run["spec"]["experiment"]
    lengths = {at.name: world.runs.count_asking(at) for at in experiments(workspace, world)}
    before = world.runs.asking_before(Address(EXPERIMENT, namespace, own), arrival(run))
    lengths[own] = lengths.get(own, 0) + (not is_asking(run))
    for name in admitted(workspace):
        other = world.get(TRAINING_RUN, namespace, name)
        if other is None or not is_asking(other):
            continue
        experiment = other["spec"]["experiment"]
        lengths[experiment] = lengths.get(experiment, 0) - 1
        before -= experiment == own and arrival(other) < arrival(run)
    standing = {name: length for name, length in lengths.items() if length > 0}
    return position(standing, last_served(workspace), own, before), sum(standing.values())


def experiments(workspace: Json, world: World) -> list[Address]:
    at = address(WORKSPACE, workspace)
    return [address(EXPERIMENT, each) for each in world.referrers(EXPERIMENT, at)]


def said(run: Json, workspace: Json, limit: int, world: World) -> tuple[list[Json], int]:
    """The condition of a run without a place, and the place that it names."""
    place, total = place_of(run, workspace, world)
    status = run.get("status") or {}
    told = status.get("queuePosition") if is_asking(run) else None
    if told is not None and not is_worth_telling(place, told):
        return conditions.waiting(QUEUED, str(conditions.find(status, "Ready").get("message", ""))), told
    name = workspace["metadata"]["name"]
    words = (
        f"position {place} of {total} in the queue of Workspace '{name}', which lets {limit} "
        f"run{'s' if limit > 1 else ''} work at a time (its spec.policy.maxConcurrentRuns)"
    )
    return conditions.waiting(QUEUED, words), place


# --- who gets a place -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Admission:
    """The Workspace's new list, who has to look because of it, and when the Workspace looks again by itself."""

    queue: Json | None
    wake: tuple[Address, ...] = ()
    again: float | None = None


def admission(workspace: Json, limit: int, is_open: bool, world: World) -> Admission:
    """Takes places back from those who are done, and gives out what is free while `is_open`.

    A place that a run gives back without having ended is not given away in the same write: a reconcile of that run
    may still believe in it. One look later it is seen to have no Job, or is counted for the Job that it has made.
    """
    namespace, before = workspace["metadata"]["namespace"], admitted(workspace)
    held = [name for name in before if still_needed(namespace, name, world)]
    given_back = [name for name in held if is_idle(namespace, name, world)]
    kept = [name for name in held if name not in given_back]
    kept += [name for name in working(workspace, world) if name not in held]
    free = limit - len(kept) - len(given_back) if is_open else 0
    lines = lines_of(workspace, world, set(held))
    queue = list(turns(lines, last_served(workspace)))
    picked, waiting = queue[: max(free, 0)], queue[max(free, 0) :]
    served = picked[-1][0] if picked else last_served(workspace)
    made: Json = {"admitted": kept + [run for _, run in picked]} | ({"lastServed": served} if served else {})
    wake = [run for _, run in picked] + outdated(namespace, waiting, world)
    leftover = any(world.get(TRAINING_RUN, namespace, name) is None for name in kept)
    again = GIVEN_BACK_SECONDS if given_back else LEFTOVER_SECONDS if leftover else None
    return Admission(made, tuple(Address(TRAINING_RUN, namespace, name) for name in wake), again)


def lines_of(workspace: Json, world: World, have: set[str]) -> dict[str, list[str]]:
    lines = {at.name: world.runs.asking(at) for at in experiments(workspace, world)}
    return {name: [run for run in line if run not in have] for name, line in lines.items() if line}


def still_needed(namespace: str, name: str, world: World) -> bool:
    """Until the run has ended, or its last pod when it was deleted."""
    run = world.get(TRAINING_RUN, namespace, name)
    if run is None:
        at = Address(TRAINING_RUN, namespace, name)
        return any(map(attempts.is_live, world.labelled(POD, at))) or any(
            map(attempts.is_at_work, world.labelled(JOB, at))
        )
    return not (run.get("status") or {}).get("completionTime")


def is_idle(namespace: str, name: str, world: World) -> bool:
    """The run has a place and says that it cannot use it: it is suspended, or waits for something else."""
    at = Address(TRAINING_RUN, namespace, name)
    run = world.get(TRAINING_RUN, namespace, name)
    status = (run or {}).get("status") or {}
    reason = conditions.find(status, "Ready").get("reason")
    waits = status.get("phase") == "Pending" and reason not in (None, QUEUED, attempts.JOB_CREATED)
    return run is not None and waits and not world.runs.is_busy(at) and not has_work(run, world)


def working(workspace: Json, world: World) -> list[str]:
    """Runs with a Job at work, as far as they can be told from the experiments that are there."""
    found = []
    for experiment in experiments(workspace, world):
        for name in world.runs.unfinished(experiment):
            run = world.get(TRAINING_RUN, experiment.namespace, name)
            if run is not None and has_work(run, world):
                found.append(name)
    return found


def has_work(run: Json, world: World) -> bool:
    jobs = world.owned(JOB, run["metadata"]["uid"])
    if any(map(attempts.is_at_work, jobs)):
        return True
    return any(attempts.is_live(pod) for job in jobs for pod in world.owned(POD, job["metadata"]["uid"]))


def outdated(namespace: str, waiting: list[tuple[str, str]], world: World) -> list[str]:
    """Runs whose status names a place that is too far from the present one."""
    found = []
    for place, (_, name) in enumerate(waiting, 1):
        run = world.get(TRAINING_RUN, namespace, name)
        if run is not None and is_worth_telling(place, (run.get("status") or {}).get("queuePosition")):
            found.append(name)
    return found
