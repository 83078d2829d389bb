"""The Jobs and pods of a run's attempts: which are at work, who ended one, and what all of them used."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from smalt.api import conditions
from smalt.api.hours import Hours
from smalt.api.kinds import POD
from smalt.api.schema import Json
from smalt.builders.attempt_history import History
from smalt.builders.training_job import QUEUE_LABEL, STOPPED
from smalt.reconcilers import diagnosis
from smalt.reconcilers.last_words import LastWords
from smalt.reconcilers.world import World

JOB_CREATED = "JobCreated"
# So many attempts the platform may end besides those that limits.retries allows to fail.
MOST_DISRUPTIONS = 10
# What the wrapper says when it was told to end, or could say nothing more: somebody else's doing.
_INTERRUPTED = frozenset({"Terminated", "Interrupted"})
# Reasons of a pod's status by which the node ended it for what the pod itself did.
_OWN_DOING = frozenset({"Evicted", "DeadlineExceeded"})
_BY_WHOM = {
    "PreemptionByScheduler": "a pod of higher priority needed its node",
    "DeletionByTaintManager": "its node got a taint that it does not tolerate",
    "EvictionByEvictionAPI": "it was evicted, as when its node is drained",
    "DeletionByPodGC": "its node is gone",
    "TerminationByKubelet": "its node shut down, or ran out of memory or disk",
}


# --- Jobs -------------------------------------------------------------------------------------------------------------


def ended(job: Json) -> str:
    """Complete, Failed, or nothing while it works."""
    return str((diagnosis.end(job) or {}).get("type", ""))


def is_suspended(job: Json) -> bool:
    return bool((job.get("spec") or {}).get("suspend"))


def is_stopped(job: Json) -> bool:
    """We have suspended it, for good: a run that is resumed makes another attempt."""
    return is_suspended(job) and STOPPED in (job["metadata"].get("annotations") or {})


def is_at_work(job: Json) -> bool:
    """It has pods, or may get some at any moment. What Kueue holds back is on its way, too."""
    return not ended(job) and not (is_stopped(job) and has_let_go(job))


def has_let_go(job: Json) -> bool:
    """The Job's controller has seen that it is suspended, and its pods have ended."""
    report = job.get("status") or {}
    seen = any(
        each.get("type") == "Suspended" and each.get("status") == "True" for each in report.get("conditions") or []
    )
    return seen and not report.get("active") and not report.get("terminating")


def local_queue(job: Json) -> str:
    """The queue of Kueue that holds the Job back; empty when none does."""
    label = (job["metadata"].get("labels") or {}).get(QUEUE_LABEL) or ""
    return str(label) if is_suspended(job) and not is_stopped(job) else ""


# --- pods -------------------------------------------------------------------------------------------------------------


def is_gone(pod: Json) -> bool:
    """Deleted, and only remembered for what it said."""
    return bool(pod.get("gone"))


def is_live(pod: Json) -> bool:
    return not is_gone(pod) and (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")


def disruption(job: Json, pod: Json | None, words: LastWords) -> str | None:
    """Why the platform, or somebody's hand, ended the attempt; None when the attempt failed by itself.

    What its containers say of a failure of their own counts before the manner of the pod's end.
    """
    if words.cause and words.cause.reason not in _INTERRUPTED:
        return None
    if any(
        each.get("type") == "Failed" and each.get("reason") == "DeadlineExceeded"
        for each in (job.get("status") or {}).get("conditions") or []
    ):
        return None
    if pod is None:
        return "its pod is gone, deleted by force or with its node"
    name, status = pod["metadata"]["name"], pod.get("status") or {}
    target = conditions.find(status, "DisruptionTarget")
    if target.get("status") == "True":
        why = _BY_WHOM.get(str(target.get("reason")), str(target.get("reason") or "the platform ended it"))
        return f"pod '{name}': {why}{_in_words(target)}"
    if status.get("phase") == "Failed" and status.get("reason") and status["reason"] not in _OWN_DOING:
        return f"pod '{name}' was ended by its node ({status['reason']}){_in_words(status)}"
    if pod["metadata"].get("deletionTimestamp") or is_gone(pod):
        return f"pod '{name}' was deleted"
    return None


def _in_words(said: Json) -> str:
    words = " ".join(str(said.get("message") or "").split())
    return f": {words[:200]}" if words else ""


# --- what they used ---------------------------------------------------------------------------------------------------


def used(pod: Json, now: datetime) -> Hours:
    """What the pod requested, from its start to its end, or until now."""
    asked, start = pod.get("requests") or {}, _start(pod)
    if start is None:
        return Hours()
    end = now if is_live(pod) else min(_end(pod) or now, now)
    return Hours.of(asked.get("cpu", 0.0), asked.get("gpu", 0.0), (end - start).total_seconds())


def rate(pod: Json) -> Hours:
    """What a pod at work uses in an hour."""
    asked = pod.get("requests") or {}
    return Hours.of(asked.get("cpu", 0.0), asked.get("gpu", 0.0), 3600) if is_live(pod) and _start(pod) else Hours()


def used_by(job: Json | None, world: World, now: datetime) -> Hours:
    """What the attempt used so far."""
    pods = world.owned(POD, job["metadata"]["uid"]) if job else []
    return sum((used(pod, now) for pod in pods), Hours())


def so_far(resource: Json, job: Json | None) -> History:
    """What came before the present attempt: its Job says it, or the status when the Job is gone."""
    told = History.read(resource.get("status") or {})
    if job is None:
        return told
    there = History.of_job(job)
    return replace(there, used=told.used.at_least(there.used))


def spent(resource: Json, job: Json, world: World, now: datetime) -> History:
    """The same with the attempt itself, whose pods have ended. What was written down once never gets less."""
    before = History.of_job(job)
    return replace(before, used=so_far(resource, job).used.at_least(before.used + used_by(job, world, now)))


def _start(pod: Json) -> datetime | None:
    status = pod.get("status") or {}
    moments = [status["startTime"]] if status.get("startTime") else []
    for each in diagnosis.statuses(pod):
        for state in (each.get("state") or {}).values():
            moments += [state["startedAt"]] if isinstance(state, dict) and state.get("startedAt") else []
    return min((datetime.fromisoformat(moment) for moment in moments), default=None)


def _end(pod: Json) -> datetime | None:
    status = pod.get("status") or {}
    moments = []
    for each in diagnosis.statuses(pod):
        finished = ((each.get("state") or {}).get("terminated") or {}).get("finishedAt")
        moments += [finished] if finished else []
    if not moments:  # nobody saw its containers end
        target = conditions.find(status, "DisruptionTarget")
        moments = [
            moment for moment in (target.get("lastTransitionTime"), pod["metadata"].get("deletionTimestamp")) if moment
        ]
    return max((datetime.fromisoformat(moment) for moment in moments), default=None)
