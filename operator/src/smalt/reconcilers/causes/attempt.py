"""Why an attempt's Job has not got its script running: a Job that is held back, a pod that may not be made, or the pod's
own causes."""

from __future__ import annotations

from datetime import datetime

from smalt.api.schema import Json
from smalt.reconcilers.attempts import is_suspended
from smalt.reconcilers.causes import admission, pod
from smalt.reconcilers.causes.finding import Finding
from smalt.reconcilers.world import Live, LiveRead, Refusals, World, events_of


def reads(job: Json, its_pod: Json | None, world: World, now: datetime) -> tuple[LiveRead, ...]:
    """What has to be read live to tell the cause; nothing while all goes its way."""
    if its_pod is not None:
        return pod.reads(its_pod, world, now)
    waits = pod.age_seconds(job, now) >= pod.EVENTS_SECONDS and not is_suspended(job)
    return (Refusals(job["metadata"]["namespace"]),) if waits else ()


def finding(job: Json, its_pod: Json | None, world: World, live: Live) -> Finding | None:
    """The deepest cause that can be seen; None while all goes its way."""
    if its_pod is not None:
        return pod.finding(its_pod, world, live, "environment.image")
    events = live.get(Refusals(job["metadata"]["namespace"]))
    return suspended(job) or admission.refused(events_of(events, job["metadata"]["uid"]))


def suspended(job: Json) -> Finding | None:
    """Somebody else holds the Job back, and no queue of Kueue's that we know of."""
    if not is_suspended(job):
        return None
    return Finding(
        "JobSuspended",
        f"Job '{job['metadata']['name']}' is suspended: somebody other than Smalt has set its spec.suspend, such as a queue "
        "or a policy of the cluster. The run starts when it is resumed",
    )
