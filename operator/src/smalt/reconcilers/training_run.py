"""TrainingRun: one Job per attempt, and what the last one left behind.

What its Workspace has to say before a Job is made stands in queueing.py and budget.py, what ends one in attempts.py.

A run with a completion time is history and gets no plan. Until then everything is derived from the Jobs and pods
that exist, so that it does not matter when the operator looks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from smalt.api import conditions
from smalt.api.kinds import CONFIG_MAP, EXPERIMENT, JOB, MODEL, POD, TRAINING_RUN, WORKSPACE
from smalt.api.references import FAMILY, Address, address
from smalt.api.schema import Json
from smalt.api.training_run import ANOTHER_NAME, TrainingRunSpec
from smalt.api.workspace import DEFAULT_INSTANCE_TYPE, WorkspaceSpec
from smalt.builders import compute, fetching, preparing
from smalt.builders.attempt_history import History
from smalt.builders.registered_model import registered_model, uid_selector
from smalt.builders.training_job import (
    REQUEST_ANNOTATION,
    WORKSPACE_ANNOTATION,
    Attempt,
    job_name,
    stopped_job,
    training_job,
)
from smalt.errors import InvalidCommand, TooLarge
from smalt.reconcilers import budget, environment_images, images, queueing, reuse, run_inputs, stages
from smalt.reconcilers.attempts import (
    JOB_CREATED,
    MOST_DISRUPTIONS,
    disruption,
    ended,
    has_let_go,
    is_gone,
    is_live,
    is_stopped,
    is_suspended,
    local_queue,
    so_far,
    spent,
)
from smalt.reconcilers.causes import attempt as why_waiting
from smalt.reconcilers.causes import starting
from smalt.reconcilers.causes.finding import Finding
from smalt.reconcilers.causes.pod import EVENTS_SECONDS, age_seconds, has_begun, next_look
from smalt.reconcilers.last_words import LastWords
from smalt.reconcilers.plan import NOTHING, Child, Plan
from smalt.reconcilers.prerequisites import Prerequisite, missing, prerequisites
from smalt.reconcilers.queueing import is_asking
from smalt.reconcilers.reporting import InvalidSpec, invalid, kept, parsed, status
from smalt.reconcilers.reuse import Asked, Offer
from smalt.reconcilers.run_results import data_read, facts, fetched_code, non_finite
from smalt.reconcilers.world import Labelled, Live, LiveRead, Read, World, items
from smalt.settings import Settings

# What a run names is not watched; one that waits for it asks this often.
PREREQUISITE_SECONDS = 5.0
# A budget that was just edited is judged by the Workspace within a moment, which wakes its runs anyway.
JUDGED_SECONDS = 1.0
# The Job's end may be seen before its pod's last words; after this long they are taken for lost.
LAST_WORDS_SECONDS = 30.0


def is_finished(resource: Json) -> bool:
    return bool((resource.get("status") or {}).get("completionTime"))


def reads(resource: Json, world: World, now: datetime) -> tuple[LiveRead, ...]:
    """Only what the present step needs: what it names before the Job, what tells why it does not start, Models before registering."""
    if is_finished(resource):
        return ()
    try:
        spec = parsed(TrainingRunSpec, resource)
    except InvalidSpec:
        return ()
    at, uid = address(TRAINING_RUN, resource), resource["metadata"]["uid"]
    job = present_job(resource, world)
    if job is None and spec.cancel:
        # The end of a run cannot be undone, and a Job may have been made of which nobody has told yet.
        return (Read(JOB, at.namespace, job_name(at.name, present_attempt(resource, world))),)
    if job is None:
        builder = environment_images.asked(resource, world)
        named = prerequisites(at, spec, known_workspace(resource, spec, world))
        return (*dict.fromkeys(each.read for each in named), *([builder] if builder else []))
    if ended(job) == "Complete":
        return (Labelled(MODEL, at.namespace, uid_selector(uid)),) if spec.register_ else ()
    if ended(job) or is_suspended(job):
        return ()
    pod = newest(present_pods(job, world))
    asked = stages.live_status(pod) if pod is not None else None
    return (*why_waiting.reads(job, pod, world, now), *((asked,) if asked else ()))


def plan(resource: Json, world: World, live: Live, now: datetime, settings: Settings) -> Plan:
    if is_finished(resource):
        return history(resource)
    try:
        spec = parsed(TrainingRunSpec, resource)
    except InvalidSpec as error:
        return invalid(resource, error, now)
    job = present_job(resource, world)
    if job is not None and ended(job) == "Complete":
        return succeeded(resource, spec, job, world, live, now)
    if spec.cancel:
        return canceled(resource, spec, job, world, live, now)
    if job is None:
        return begin(resource, spec, world, live, now, settings)
    if ended(job) == "Failed":
        return failed(resource, spec, job, world, live, now, settings)
    if spec.suspend or is_stopped(job):
        return set_aside(resource, spec, job, world, live, now, settings)
    return at_work(resource, job, world, live, now)


def history(resource: Json) -> Plan:
    """An ended run stays as it is; an edit of `suspend` or `cancel` comes too late, and is written down as seen."""
    status, generation = resource.get("status") or {}, resource["metadata"].get("generation", 1)
    if status.get("observedGeneration") == generation:
        return NOTHING
    said = [each | {"observedGeneration": generation} for each in status.get("conditions") or []]
    return Plan(status=status | {"observedGeneration": generation, "conditions": said}, is_final=True)


# --- Jobs -------------------------------------------------------------------------------------------------------------


def present_attempt(resource: Json, world: World) -> int:
    """The highest attempt that was ever seen, by its Job or in the status."""
    made = [attempt_of(job, resource) for job in world.owned(JOB, resource["metadata"]["uid"])]
    return max([*made, (resource.get("status") or {}).get("attempt") or 1])


def attempt_of(job: Json, resource: Json) -> int:
    suffix = job["metadata"]["name"].removeprefix(resource["metadata"]["name"] + "-")
    return int(suffix) if suffix.isdigit() else 0


def present_job(resource: Json, world: World) -> Json | None:
    """The Job of the present attempt, unless it is being deleted."""
    name = job_name(resource["metadata"]["name"], present_attempt(resource, world))
    for job in world.owned(JOB, resource["metadata"]["uid"]):
        if job["metadata"]["name"] == name and not job["metadata"].get("deletionTimestamp"):
            return job
    return None


def present_pods(job: Json, world: World) -> list[Json]:
    return [pod for pod in world.owned(POD, job["metadata"]["uid"]) if not is_gone(pod)]


def is_ending(job: Json) -> bool:
    """It is decided that the Job fails, and its pods are being ended."""
    found = (job.get("status") or {}).get("conditions") or []
    return any(each.get("type") == "FailureTarget" and each.get("status") == "True" for each in found)


# --- before the Job ---------------------------------------------------------------------------------------------------


def begin(
    resource: Json,
    spec: TrainingRunSpec,
    world: World,
    live: Live,
    now: datetime,
    settings: Settings,
    further: Further | None = None,
) -> Plan:
    """The Job of an attempt, or what it waits for."""
    number = further.number if further else present_attempt(resource, world)
    past = further.before if further else so_far(resource, None)
    fetched = (further.fetched if further else None) or (resource.get("status") or {}).get("code")
    told = past.written() | ({"code": fetched} if fetched else {})
    if spec.suspend:
        return Plan(status=_status(resource, suspended(resource), now, "Pending", **told))
    at = address(TRAINING_RUN, resource)
    experiment = world.get(EXPERIMENT, at.namespace, spec.experiment)
    # A further attempt mounts what the first one found; only before that is anything waited for.
    named = [] if further else prerequisites(at, spec, known_workspace(resource, spec, world))
    for said, again in obstacles(at, spec, experiment, named, live):
        return Plan(status=_status(resource, said, now, "Pending", **told), requeue_after=again)
    assert experiment is not None
    workspace = world.get(WORKSPACE, at.namespace, experiment["spec"]["workspace"])
    if workspace is None:
        said = conditions.waiting(
            "WaitingForWorkspace", f"Workspace '{experiment['spec']['workspace']}' does not exist"
        )
        return Plan(status=_status(resource, said, now, "Pending", **told))
    told["workspace"] = workspace["metadata"]["name"]
    try:
        workspace_spec = parsed(WorkspaceSpec, workspace)
        inputs = run_inputs.resolved(resource, spec, workspace["metadata"]["name"], world)
        if inputs.said:
            return Plan(status=_status(resource, inputs.said, now, "Pending", **told))
        request = further.request if further else _asked(spec, workspace, live, named, inputs.artifacts, settings)
        wanted = _attempt(
            resource, spec, workspace, workspace_spec, number, settings, past, request, fetched, inputs.artifacts
        )
        wanted = replace(wanted, read=further.read) if wanted and further else wanted
        job = training_job(wanted) if wanted else None
    except InvalidSpec as error:
        said = conditions.waiting("WaitingForWorkspace", f"Workspace '{workspace['metadata']['name']}': {error}")
        return Plan(status=_status(resource, said, now, "Pending", **told))
    except (InvalidCommand, TooLarge) as error:
        said = conditions.stalled(type(error).__name__, f"{error}; apply the run {ANOTHER_NAME}")
        return Plan(status=_status(resource, said, now, "Failed", **told))
    if wanted is None or job is None:
        return Plan(status=_status(resource, unknown_type(spec, workspace, workspace_spec), now, "Pending", **told))
    if refusal := image_refused(spec, workspace, workspace_spec):
        return Plan(status=_status(resource, refusal, now, "Pending", **told))
    offer = reuse.offer(resource, spec, request, world) if number == 1 else Offer(None, [])
    if offer.run is not None:
        said, facts_ = reuse.result(offer.run, request, now)
        return Plan(status=_status(resource, said + offer.said, now, "Succeeded", **facts_), is_final=True)
    if hold := held_back(resource, workspace, workspace_spec, world, now, told, offer.said, is_new=further is None):
        return hold
    if environment_images.is_wanted(wanted):
        # A further attempt runs in what the first one ran in.
        found = environment_images.known(resource, further is not None) or environment_images.image(
            wanted, environment_images.of_run(resource), workspace, world, live, now, settings
        )
        if not isinstance(found, environment_images.Image):
            return _without_image(resource, found, offer.said, told, now)
        job = training_job(replace(wanted, built_image=found.name, builder=found.job))
        told["environment"] = {"job": found.job, "image": found.name}
    said = pod_starting(job) + offer.said
    told |= {"attempt": number, "job": job["metadata"]["name"]} | run_inputs.facts(inputs.artifacts)
    new = _status(resource, said, now, "Pending", **told)
    return Plan(status=new, apply=(Child(job, once=True),))


def _without_image(
    resource: Json,
    found: environment_images.NotYet | environment_images.Never,
    offered: list[Json],
    told: Json,
    now: datetime,
) -> Plan:
    """The packages are on their way into an image, or will never be in one."""
    told = told | ({"environment": {"job": found.job}} if found.job else {})
    if isinstance(found, environment_images.Never):
        told = told | {"completionTime": found.ended_at}
        return Plan(status=_status(resource, found.said + offered, now, "Failed", **told), is_final=True)
    return Plan(
        status=_status(resource, found.said + offered, now, "Pending", **told),
        apply=found.apply,
        requeue_after=environment_images.LOOK_SECONDS,
    )


@dataclass(frozen=True)
class Further:
    """What a further attempt has of those before it."""

    number: int
    before: History
    request: Asked
    # What the last one fetched is what the next one runs, though the branch may have moved on.
    fetched: Json
    # The digests of the inputs that were read.
    read: Json

    @classmethod
    def after(cls, job: Json, resource: Json, before: History, pod: Json | None, found: Json) -> Further:
        """`found` are the facts of what the last one left behind."""
        request = (job["metadata"].get("annotations") or {}).get(REQUEST_ANNOTATION, "")
        read = run_inputs.read_before(job) | data_read(found)
        return cls(attempt_of(job, resource) + 1, before, Asked(request), fetched_code(pod) if pod else {}, read)


def suspended(resource: Json) -> list[Json]:
    name = resource["metadata"]["name"]
    return conditions.suspended(f"TrainingRun '{name}' is suspended: set spec.suspend to false, and it starts")


def _asked(
    spec: TrainingRunSpec,
    workspace: Json,
    live: Live,
    named: list[Prerequisite],
    artifacts: Json,
    settings: Settings,
) -> Asked:
    found = {each.read.name: live.get(each.read) for each in named if each.read.kind is CONFIG_MAP}
    contents = {name: each for name, each in found.items() if each is not None}
    return reuse.asked(spec, workspace, settings.trainer_image, contents, artifacts)


def image_refused(spec: TrainingRunSpec, workspace: Json, workspace_spec: WorkspaceSpec) -> list[Json] | None:
    """What a run is told that names an image which its Workspace does not allow."""
    image = spec.environment.image if spec.environment else None
    patterns = workspace_spec.policy.allowed_images if workspace_spec.policy else None
    if image is None or images.is_allowed(image, patterns):
        return None
    name = workspace["metadata"]["name"]
    return conditions.stalled(
        "ImageNotAllowed",
        f"Workspace '{name}' does not allow image '{image}' (spec.policy.allowedImages are {', '.join(patterns or ())}): "
        f"have it allowed there, or apply the run with another environment.image {ANOTHER_NAME}",
    )


def held_back(
    resource: Json,
    workspace: Json,
    workspace_spec: WorkspaceSpec,
    world: World,
    now: datetime,
    told: Json,
    offered: list[Json],
    is_new: bool,
) -> Plan | None:
    """The Workspace's budget and queue: a run that has begun is asked for neither, except for a place when it resumes."""
    policy = workspace_spec.policy
    if policy is None:
        return None
    if policy.budget and is_new:
        if not budget.is_judged(workspace):
            return Plan(requeue_after=JUDGED_SECONDS)
        if exceeded := budget.closed(workspace):
            return Plan(status=_status(resource, exceeded + offered, now, "Pending", **told))
    if policy.max_concurrent_runs and not queueing.is_admitted(resource, workspace):
        said, place = queueing.said(resource, workspace, policy.max_concurrent_runs, world)
        new = _status(resource, said + offered, now, "Queued", queuePosition=place, **told)
        return Plan(status=new, counts_only=is_asking(resource), is_awaited=not is_asking(resource))
    return None


def obstacles(
    at: Address, spec: TrainingRunSpec, experiment: Json | None, named: list[Prerequisite], live: Live
) -> Iterator[tuple[list[Json], float | None]]:
    """What stands before the Job, the first thing first, and after how many seconds to ask again by ourselves."""
    if experiment is None:
        yield (
            conditions.waiting(
                "WaitingForExperiment",
                f"Experiment '{spec.experiment}' does not exist in namespace '{at.namespace}': apply it, or apply the run "
                f"with another spec.experiment {ANOTHER_NAME}",
            ),
            None,
        )
    elif not conditions.is_ready(experiment):
        why = conditions.find(experiment.get("status") or {}, "Ready")
        reason = "WaitingForWorkspace" if why.get("reason") == "WaitingForWorkspace" else "WaitingForExperiment"
        yield (
            conditions.waiting(
                reason, f"Experiment '{spec.experiment}' is not ready: {conditions.why_not(experiment)}"
            ),
            None,
        )
    absent = missing(named, live)
    if absent:
        yield conditions.waiting(absent.reason, absent.message), PREREQUISITE_SECONDS


def known_workspace(resource: Json, spec: TrainingRunSpec, world: World) -> WorkspaceSpec | None:
    """The workspace's spec, as far as it can be known yet."""
    workspace = _workspace_of(resource, spec, world)
    try:
        return parsed(WorkspaceSpec, workspace) if workspace else None
    except InvalidSpec:
        return None  # `begin` says so


def unknown_type(spec: TrainingRunSpec, workspace: Json, workspace_spec: WorkspaceSpec) -> list[Json]:
    name = workspace["metadata"]["name"]
    has = ", ".join(compute.names(workspace_spec))
    return conditions.stalled(
        "UnknownInstanceType",
        f"Workspace '{name}' has no instance type '{spec.instance_type}' (it has {has}): add it to the Workspace's "
        f"spec.instanceTypes, or apply the run with another instanceType {ANOTHER_NAME}",
    )


def _attempt(
    resource: Json,
    spec: TrainingRunSpec,
    workspace: Json,
    workspace_spec: WorkspaceSpec,
    number: int,
    settings: Settings,
    before: History,
    request: Asked,
    fetched: Json | None,
    artifacts: Json,
) -> Attempt | None:
    """What the Job is made from; None when nobody defined the instance type."""
    instance = compute.instance_type(workspace_spec, spec.instance_type)
    if instance is None:
        return None
    return Attempt(
        run=address(TRAINING_RUN, resource),
        uid=resource["metadata"]["uid"],
        number=number,
        spec=spec,
        workspace=address(WORKSPACE, workspace),
        workspace_spec=workspace_spec,
        instance=instance,
        trainer_image=settings.trainer_image,
        pull_policy=settings.image_pull_policy,
        fetched_code=fetched or {},
        artifacts=artifacts,
        before=before,
        request=request.digest,
    )


# --- while it works ---------------------------------------------------------------------------------------------------


def at_work(resource: Json, job: Json, world: World, live: Live, now: datetime) -> Plan:
    pod = newest(present_pods(job, world))
    name = job["metadata"]["name"]
    told = {"attempt": attempt_of(job, resource), "job": name}
    told |= run_inputs.facts(run_inputs.given_to(job)) | so_far(resource, job).written()
    told |= environment_images.facts(job)
    if queue := local_queue(job):
        return Plan(status=_status(resource, in_local_queue(name, queue), now, "Queued", **told))
    if is_ending(job):
        # The Job's controller takes its pods away before it says that the Job has failed; what was said last still holds.
        return NOTHING
    finding = why_waiting.finding(job, pod, world, live)
    if finding or pod is None:
        return held_up(resource, job, pod, finding, told, now)
    told |= {"code": fetched_code(pod) or None}
    asked = stages.live_status(pod)
    words = live.get(asked) if asked else None
    age, again = age_seconds(job, now), None
    match stages.stage(pod, name, words, age, now):
        case stages.NotYetTold(seconds) if is_told(resource, job):
            return Plan(requeue_after=seconds)
        case stages.NotYetTold(seconds):
            said, phase, again = pod_starting(job), "Pending", seconds
        case stages.Stage(phase, reason, message):
            said = conditions.waiting(reason, message)
            told |= {"startTime": (job.get("status") or {}).get("startTime")}
            told |= stages.told(resource.get("status") or {}, told["attempt"], words)
        case None:
            said, phase = pod_starting(job), "Pending"
            # Of what happens in a container's turn, the pod's own events tell.
            again = None if has_begun(pod) and age >= EVENTS_SECONDS else next_look(pod, now)
    new = _status(resource, said, now, phase, **told)
    words_only = stages.only_words_changed(resource.get("status") or {}, new)
    return Plan(status=new, requeue_after=again, words_only=words_only)


def is_told(resource: Json, job: Json) -> bool:
    """The status speaks of this attempt already, and no longer of the queue."""
    status = resource.get("status") or {}
    number = attempt_of(job, resource)
    return "phase" in status and status["phase"] != "Queued" and status.get("attempt", number) == number


def in_local_queue(job: str, queue: str) -> list[Json]:
    return conditions.waiting(
        "WaitingInLocalQueue",
        f"Job '{job}' waits until Kueue starts it from LocalQueue '{queue}': see `kubectl get workloads` and "
        f"`kubectl describe localqueue {queue}`; without Kueue in the cluster, take queueName out of the instance type",
    )


def held_up(resource: Json, job: Json, pod: Json | None, finding: Finding | None, told: Json, now: datetime) -> Plan:
    """It waits for a pod, or for what keeps the pod from its work; looked at again, since events of nodes, volumes and
    quotas do not come to us."""
    if finding is None:
        said = pod_starting(job)
    elif finding.is_users:
        said = conditions.stalled(finding.reason, f"{finding.message}; apply the change {ANOTHER_NAME}")
    else:
        said = conditions.waiting(finding.reason, finding.message)
    present = resource.get("status") or {}
    told |= stages.known(present, told["attempt"])
    phase = present["phase"] if pod is not None and is_told(resource, job) else "Pending"
    return Plan(status=_status(resource, said, now, phase, **told), requeue_after=next_look(pod or job, now))


def pod_starting(job: Json) -> list[Json]:
    """The same words from the Job's making until the script runs: what happens to a pod on its way is no write worth."""
    because = History.of_job(job).because
    why = f", since {because}" if because else ""
    return conditions.waiting(JOB_CREATED, f"Job '{job['metadata']['name']}' is made{why}; its pod is starting")


def newest(pods: list[Json]) -> Json | None:
    return max(
        pods, key=lambda pod: (pod["metadata"].get("creationTimestamp", ""), pod["metadata"]["name"]), default=None
    )


# --- when it is to end ------------------------------------------------------------------------------------------------


def set_aside(
    resource: Json,
    spec: TrainingRunSpec,
    job: Json,
    world: World,
    live: Live,
    now: datetime,
    settings: Settings,
) -> Plan:
    """Suspends a run at work, and once its pods have ended lets it rest, or resumes it as another attempt.

    Another attempt, and not the same Job again, since every attempt is a run of its own in the history: the second
    pod's metrics would be mixed with the first one's.
    """
    if waits := stopping(resource, job, world, now, "Suspending"):
        return waits
    past = replace(spent(resource, job, world, now), because="the run was suspended and resumed")
    pod, words = last_words(job, world)
    if not spec.suspend:
        return begin(
            resource,
            spec,
            world,
            live,
            now,
            settings,
            Further.after(job, resource, past, pod, facts(words.facts, pod, spec)),
        )
    told = kept(resource, "tracking", "metrics") | facts(words.facts, pod, spec) | past.written()
    told |= {"attempt": attempt_of(job, resource), "job": job["metadata"]["name"]}
    return Plan(status=_status(resource, suspended(resource), now, "Pending", **told))


def canceled(resource: Json, spec: TrainingRunSpec, job: Json | None, world: World, live: Live, now: datetime) -> Plan:
    """Ends a run for good: its pods first, so that what they store and say is taken over."""
    at = address(TRAINING_RUN, resource)
    job = job or live.get(Read(JOB, at.namespace, job_name(at.name, present_attempt(resource, world))))
    job = job if job is not None and is_ours(resource, job) else None
    waits = stopping(resource, job, world, now, "Canceling") if job is not None and not ended(job) else None
    if waits is not None:
        return waits
    leftover = [pod for pod in world.labelled(POD, at) if is_live(pod)]
    if leftover:
        return Plan(status=_status(resource, ending(leftover[0], "Canceling"), now, "Finalizing", **_present(resource)))
    pod, words = last_words(job, world) if job else (None, LastWords())
    told = kept(resource, "tracking", "metrics", "digests")
    found = facts(words.facts, pod, spec)
    told |= _told(resource, job, now, found) if job else {"completionTime": conditions.instant(now)}
    # One that never began belongs to its Workspace too, which keeps it as long as the others.
    told.setdefault("workspace", ((_workspace_of(resource, spec, world) or {}).get("metadata") or {}).get("name"))
    past = spent(resource, job, world, now) if job else so_far(resource, None)
    stored = "what it had stored until then is kept" if job else "it had not begun"
    said = conditions.stalled("Canceled", f"TrainingRun '{at.name}' was canceled by spec.cancel: {stored}")
    return Plan(status=_status(resource, said, now, "Canceled", **told, **past.written()), is_final=True)


def is_ours(resource: Json, job: Json) -> bool:
    owners = job["metadata"].get("ownerReferences") or []
    return any(owner.get("uid") == resource["metadata"]["uid"] for owner in owners)


def stopping(resource: Json, job: Json, world: World, now: datetime, reason: str) -> Plan | None:
    """Suspends the Job and waits for its pods; None when there are none any more."""
    stop = () if is_stopped(job) else (Child(stopped_job(address(TRAINING_RUN, resource), job)),)
    live = [pod for pod in world.owned(POD, job["metadata"]["uid"]) if is_live(pod)]
    if is_stopped(job) and has_let_go(job) and not live:
        return None
    said = ending(live[0] if live else None, reason, job["metadata"]["name"])
    told = _present(resource) | {"attempt": attempt_of(job, resource), "job": job["metadata"]["name"]}
    return Plan(status=_status(resource, said, now, "Finalizing", **told), apply=stop)


def ending(pod: Json | None, reason: str, job: str = "") -> list[Json]:
    who = f"pod '{pod['metadata']['name']}'" if pod else f"Job '{job}'"
    return conditions.waiting(reason, f"{who} was told to end, and stores what it has; after a minute it is killed")


def _present(resource: Json) -> Json:
    """What stays as it is while the run ends."""
    return kept(resource, "tracking", "metrics", "failures", "disruptions", "usage", "progress")


# --- after it ---------------------------------------------------------------------------------------------------------


def last_words(job: Json, world: World) -> tuple[Json | None, LastWords]:
    """The attempt's pod and how its containers ended, as far as they are known."""
    pods = world.owned(POD, job["metadata"]["uid"])
    for pod in sorted(pods, key=lambda each: each["metadata"]["name"]):
        words = LastWords.of(pod)
        if words.are_there:
            return pod, words
    return newest(pods), LastWords()


def has_lost_its_pod(job: Json, pod: Json | None) -> bool:
    """No last words will come: the platform ended the pod, or the Job's own controller deleted it at its deadline."""
    if pod is not None:
        return is_gone(pod) or starting.evicted(pod) is not None or disruption(job, pod, LastWords()) is not None
    return any(
        each.get("type") == "Failed" and each.get("reason") == "DeadlineExceeded"
        for each in (job.get("status") or {}).get("conditions") or []
    )


def is_still_hoped_for(job: Json, now: datetime) -> bool:
    """The pod's end may reach us later than the Job's."""
    since = ended_at(job)
    return since is None or (now - since).total_seconds() < LAST_WORDS_SECONDS


def ended_at(job: Json) -> datetime | None:
    for each in (job.get("status") or {}).get("conditions") or []:
        if each.get("type") == ended(job) and each.get("lastTransitionTime"):
            return datetime.fromisoformat(each["lastTransitionTime"])
    return None


def succeeded(resource: Json, spec: TrainingRunSpec, job: Json, world: World, live: Live, now: datetime) -> Plan:
    """Registers what is to be registered, and writes the run down as done."""
    pod, words = last_words(job, world)
    if not words.are_complete and is_still_hoped_for(job, now):
        return Plan(requeue_after=1.0)
    report = words.recorder
    told = _told(resource, job, now, facts(report, pod, spec)) | spent(resource, job, world, now).written()
    if "digests" in told and (request := (job["metadata"].get("annotations") or {}).get(REQUEST_ANNOTATION)):
        told["digests"] = told["digests"] | {"request": request}
    if not report:
        message = (
            f"Job '{job['metadata']['name']}' ended well, but its pod was gone before its results could be read; the "
            f"history may be in the tracking server. Apply the run {ANOTHER_NAME}"
        )
        return Plan(status=_status(resource, conditions.stalled("ResultsNotStored", message), now, "Failed", **told))
    models: tuple[Child, ...] = ()
    if spec.register_:
        artifact = told.get("outputs", {}).get(spec.register_.from_)
        if artifact is None:
            message = f"output '{spec.register_.from_}' is not in the results, so nothing was registered: apply the run {ANOTHER_NAME}"
            return Plan(status=_status(resource, conditions.stalled("OutputMissing", message), now, "Failed", **told))
        model = _model(resource, spec, job, artifact["digest"], world, live)
        models = (Child(model, once=True, owned=False),)
        told["model"] = model["metadata"]["name"]
    said = conditions.ready("Succeeded", _success_message(job, report, told))
    return Plan(status=_status(resource, said, now, "Succeeded", **told), apply=models, is_final=True)


def _success_message(job: Json, report: Json, told: Json) -> str:
    parts = [f"Job '{job['metadata']['name']}' succeeded"]
    if told.get("model"):
        parts.append(f"and registered Model '{told['model']}'")
    odd = non_finite(report)
    if odd:
        parts.append(f"(last logged as NaN or infinite, so not shown: {', '.join(odd)}; MLflow has the whole series)")
    return " ".join(parts)


def _model(resource: Json, spec: TrainingRunSpec, job: Json, digest: str, world: World, live: Live) -> Json:
    """The Model of this run: the one that is there, or the next version after every one that was ever given."""
    assert spec.register_ is not None
    at, uid = address(TRAINING_RUN, resource), resource["metadata"]["uid"]
    there = items(live.get(Labelled(MODEL, at.namespace, uid_selector(uid))))
    family = Address(FAMILY, at.namespace, spec.register_.model)
    version = there[0]["spec"]["version"] if there else 1 + world.highest_version(family)
    workspace = (job["metadata"].get("annotations") or {}).get(WORKSPACE_ANNOTATION, "")
    return registered_model(at, uid, workspace, spec.register_, version, digest)


def _workspace_of(resource: Json, spec: TrainingRunSpec, world: World) -> Json | None:
    namespace = resource["metadata"]["namespace"]
    experiment = world.get(EXPERIMENT, namespace, spec.experiment)
    return world.get(WORKSPACE, namespace, experiment["spec"]["workspace"]) if experiment else None


def failed(
    resource: Json,
    spec: TrainingRunSpec,
    job: Json,
    world: World,
    live: Live,
    now: datetime,
    settings: Settings,
) -> Plan:
    """Another attempt as long as there are retries, or it was not the run's fault; else the cause in words."""
    pod, words = last_words(job, world)
    # Where a step before them has failed, the containers that have the last words never start.
    is_silent = has_lost_its_pod(job, pod) or (pod is not None and starting.init_failed(pod) is not None)
    if not words.are_complete and is_still_hoped_for(job, now) and not is_silent:
        return Plan(requeue_after=1.0)
    finding = _cause(resource, job, pod, words, memory_limit(spec, known_workspace(resource, spec, world)))
    past, why = spent(resource, job, world, now), disruption(job, pod, words)
    if why is not None:
        has_more = past.disruptions < MOST_DISRUPTIONS
        past = replace(past, disruptions=past.disruptions + 1, because=why)
        finding = disrupted_too_often(past, why)
    else:
        has_more = past.failures < ((spec.limits.retries if spec.limits else None) or 0)
        past = replace(past, failures=past.failures + 1, because=f"the attempt before failed: {finding.message[:300]}")
    if has_more:
        return begin(
            resource,
            spec,
            world,
            live,
            now,
            settings,
            Further.after(job, resource, past, pod, facts(words.facts, pod, spec)),
        )
    message = (
        finding.message if ANOTHER_NAME in finding.message else f"{finding.message}; apply the change {ANOTHER_NAME}"
    )
    told = _told(resource, job, now, facts(words.facts, pod, spec)) | past.written()
    return Plan(
        status=_status(resource, conditions.stalled(finding.reason, message), now, "Failed", **told), is_final=True
    )


def disrupted_too_often(past: History, why: str) -> Finding:
    return Finding(
        "DisruptedTooOften",
        f"the platform ended {past.disruptions} attempts, and no more are made; the last one because {why}. See what "
        f"becomes of the nodes with `kubectl get events`, then apply the run {ANOTHER_NAME}",
    )


def memory_limit(spec: TrainingRunSpec, workspace: WorkspaceSpec | None) -> str:
    """The field that limits a run's memory, with what it says now."""
    name = spec.instance_type or DEFAULT_INSTANCE_TYPE
    instance = compute.instance_type(workspace, name) if workspace else None
    amount = compute.resources(instance.resources if instance else None).get("limits", {}).get("memory")
    return f"limits.memory{f', {amount},' if amount else ''} of instance type '{name}'"


def _cause(resource: Json, job: Json, pod: Json | None, words: LastWords, limit: str) -> Finding:
    """The recorder's last words, then the wrapper's; what was written before the end was known (provisional) counts
    after what the node knows."""
    name = job["metadata"]["name"]
    # What never started has left no words, and what the recorder makes of that is only that it heard none.
    if pod is not None and (found := starting.not_started(pod, "environment.image")):
        return found
    if told := words.cause:
        return told
    if words.fetch_state.get("reason") == "OOMKilled":
        return Finding(
            "CodeUnavailable",
            f"container '{fetching.CONTAINER}' of Job '{name}' was killed because it needed more than {fetching.MEMORY} of "
            "memory: name a smaller repository or archive in spec.code, without data in it, or fewer files in the inputs",
        )
    if words.environment_state.get("reason") == "OOMKilled":
        return Finding(
            "OutOfMemory",
            f"container '{preparing.CONTAINER}' of Job '{name}' was killed, because installing the packages needed more memory "
            f"than {limit}: name a larger one in instanceType, or an image that has the packages in environment.image",
        )
    if words.training_state.get("reason") == "OOMKilled":
        return Finding(
            "OutOfMemory",
            f"the pod of Job '{name}' was killed because it needed more memory than {limit}: name a larger one in "
            "instanceType, or raise the limit in the Workspace's spec.instanceTypes",
        )
    if pod is not None and (found := starting.evicted(pod) or starting.init_failed(pod)):
        return found
    for each in (job.get("status") or {}).get("conditions") or []:
        if each.get("type") == "Failed" and each.get("reason") == "DeadlineExceeded":
            return overdue(resource, name)
    if words.has_succeeded:
        return words.not_stored(name)
    if told := words.provisional_cause:
        return told
    code = words.training_state.get("exitCode")
    said = f"exit code {code}" if code is not None else "its pod is gone"
    return Finding(
        "InternalError", f"Job '{name}' failed without a word ({said}): see `kubectl logs job/{name} --all-containers`"
    )


def overdue(resource: Json, job: str) -> Finding:
    """Its Job's deadline has passed. Of one that never started, what it waited for is known from the status alone: the
    pod that could tell is gone."""
    status = resource.get("status") or {}
    if status.get("startTime"):
        return Finding("TimedOut", f"Job '{job}' took longer than limits.timeout and limits.finalizing together")
    last = conditions.find(status, "Ready")
    words = f" ({last['reason']}: {last['message']})" if last.get("reason") else ""
    return Finding(
        "TimedOut",
        f"Job '{job}' was given up at its deadline, which is limits.timeout, limits.finalizing and an hour, before the "
        f"script started{words}",
    )


def _told(resource: Json, job: Json, now: datetime, found: Json) -> Json:
    """What is known of the attempt: the Job's own facts, and what was `found` in its pod's last words."""
    report = job.get("status") or {}
    end = ended_at(job)
    given = run_inputs.facts(run_inputs.given_to(job))
    both = {part: given.get(part, {}) | found.get(part, {}) for part in ("inputs", "digests")}
    # Where an artifact lies exactly, the pod's own words do not say.
    both["inputs"] |= given.get("inputs", {})
    # What it said while it ran is better than nothing, where the end came without a word.
    known = stages.known(resource.get("status") or {}, attempt_of(job, resource))
    return {
        "metrics": known.get("metrics"),
        "attempt": attempt_of(job, resource),
        "job": job["metadata"]["name"],
        "workspace": (job["metadata"].get("annotations") or {}).get(WORKSPACE_ANNOTATION),
        "startTime": report.get("startTime"),
        "completionTime": report.get("completionTime") or conditions.instant(end or now),
        **environment_images.facts(job),
        **found,
        **{part: facts for part, facts in both.items() if facts},
    }


def _status(resource: Json, said: list[Json], now: datetime, phase: str, **told: object) -> Json:
    before = kept(resource, "attempt", "job", "startTime", "workspace", "code", "inputs", "environment")
    if not any(each["type"] == reuse.REUSED for each in said):
        said = said + reuse.told(resource)
    return status(
        resource, said, now, phase=phase, **(before | {key: value for key, value in told.items() if value is not None})
    )
