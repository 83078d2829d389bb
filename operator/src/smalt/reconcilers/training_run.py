"""TrainingRun: one Job per attempt, and what the last one left behind.

A run with a completion time is history and gets no plan. Until then everything is derived from the Jobs and pods
that exist, so that it does not matter when the operator looks.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from smalt.api import conditions
from smalt.api.kinds import CONFIG_MAP, EXPERIMENT, JOB, MODEL, POD, TRAINING_RUN, WORKSPACE
from smalt.api.references import FAMILY, Address, address
from smalt.api.schema import Json
from smalt.api.training_run import ANOTHER_NAME, TrainingRunSpec
from smalt.api.workspace import DEFAULT_INSTANCE_TYPE, WorkspaceSpec
from smalt.builders import compute, fetching, preparing
from smalt.builders.registered_model import registered_model, uid_selector
from smalt.builders.training_job import (
    WORKSPACE_ANNOTATION,
    Attempt,
    config_maps,
    job_name,
    training_job,
)
from smalt.errors import InvalidCommand, TooLarge
from smalt.reconcilers import diagnosis, run_inputs, stages
from smalt.reconcilers.last_words import LastWords
from smalt.reconcilers.plan import NOTHING, Child, Plan
from smalt.reconcilers.reporting import InvalidSpec, invalid, kept, parsed, status
from smalt.reconcilers.run_results import facts, fetched_code, non_finite
from smalt.reconcilers.world import Labelled, Live, LiveRead, Read, Refusals, World, events_of, items
from smalt.settings import Settings

# ConfigMaps are not watched; a run that waits for one asks this often.
CONFIG_MAP_SECONDS = 5.0
# A Job that has been without pods for so long is asked for its events, which say what the cluster refuses; then ever
# more rarely, since a namespace without room may hold a thousand such Jobs.
EVENTS_SECONDS = 5.0
MOST_EVENTS_SECONDS = 60.0
# The Job's end may be seen before its pod's last words; after this long they are taken for lost.
LAST_WORDS_SECONDS = 30.0


def is_finished(resource: Json) -> bool:
    return bool((resource.get("status") or {}).get("completionTime"))


def reads(resource: Json, world: World, now: datetime) -> tuple[LiveRead, ...]:
    """Only what the present step needs: ConfigMaps before the Job, events of a Job without pods, Models before registering."""
    if is_finished(resource):
        return ()
    try:
        spec = parsed(TrainingRunSpec, resource)
    except InvalidSpec:
        return ()
    at, uid = address(TRAINING_RUN, resource), resource["metadata"]["uid"]
    job = present_job(resource, world)
    if job is None:
        return tuple(
            Read(CONFIG_MAP, at.namespace, name) for name in config_maps(spec, known_workspace(resource, spec, world))
        )
    if ended(job) == "Complete":
        return (Labelled(MODEL, at.namespace, uid_selector(uid)),) if spec.register_ else ()
    if ended(job):
        return ()
    pods = world.owned(POD, job["metadata"]["uid"])
    if not pods:
        return (Refusals(at.namespace),) if age_seconds(job, now) >= EVENTS_SECONDS else ()
    asked = stages.live_status(newest(pods))
    return (asked,) if asked else ()


def plan(resource: Json, world: World, live: Live, now: datetime, settings: Settings) -> Plan:
    if is_finished(resource):
        return NOTHING
    try:
        spec = parsed(TrainingRunSpec, resource)
    except InvalidSpec as error:
        return invalid(resource, error, now)
    job = present_job(resource, world)
    if job is None:
        return begin(resource, spec, world, live, now, settings)
    match ended(job):
        case "Complete":
            return succeeded(resource, spec, job, world, live, now)
        case "Failed":
            return failed(resource, spec, job, world, now, settings)
        case _:
            return at_work(resource, job, world, live, now)


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


def ended(job: Json) -> str:
    """Complete, Failed, or nothing while it works."""
    for each in (job.get("status") or {}).get("conditions") or []:
        if each.get("type") in ("Complete", "Failed") and each.get("status") == "True":
            return str(each["type"])
    return ""


# --- before the Job ---------------------------------------------------------------------------------------------------


def begin(
    resource: Json,
    spec: TrainingRunSpec,
    world: World,
    live: Live,
    now: datetime,
    settings: Settings,
    attempt: int | None = None,
    fetched: Json | None = None,
) -> Plan:
    """The Job of an attempt, or what it waits for."""
    fetched = fetched or (resource.get("status") or {}).get("code")
    number = attempt or present_attempt(resource, world)
    at = address(TRAINING_RUN, resource)
    experiment = world.get(EXPERIMENT, at.namespace, spec.experiment)
    # A further attempt mounts what the first one found; only before that is anything waited for.
    names = [] if attempt else config_maps(spec, known_workspace(resource, spec, world))
    for said, again in obstacles(at, spec, experiment, names, live):
        return Plan(status=_status(resource, said, now, "Pending"), requeue_after=again)
    assert experiment is not None
    workspace = world.get(WORKSPACE, at.namespace, experiment["spec"]["workspace"])
    if workspace is None:
        said = conditions.waiting(
            "WaitingForWorkspace", f"Workspace '{experiment['spec']['workspace']}' does not exist"
        )
        return Plan(status=_status(resource, said, now, "Pending"))
    try:
        workspace_spec = parsed(WorkspaceSpec, workspace)
        inputs = run_inputs.resolved(resource, spec, workspace["metadata"]["name"], world)
        if inputs.said:
            return Plan(status=_status(resource, inputs.said, now, "Pending"))
        job = _job(resource, spec, workspace, workspace_spec, number, settings, fetched, inputs.artifacts)
    except InvalidSpec as error:
        said = conditions.waiting("WaitingForWorkspace", f"Workspace '{workspace['metadata']['name']}': {error}")
        return Plan(status=_status(resource, said, now, "Pending"))
    except (InvalidCommand, TooLarge) as error:
        said = conditions.stalled(type(error).__name__, f"{error}; apply the run {ANOTHER_NAME}")
        return Plan(status=_status(resource, said, now, "Failed"))
    if job is None:
        return Plan(status=_status(resource, unknown_type(spec, workspace, workspace_spec), now, "Pending"))
    said = pod_starting(job["metadata"]["name"])
    told = {"attempt": number, "job": job["metadata"]["name"], "code": fetched} | run_inputs.facts(inputs.artifacts)
    new = _status(resource, said, now, "Pending", **told)
    return Plan(status=new, apply=(Child(job, once=True),))


def obstacles(
    at: Address, spec: TrainingRunSpec, experiment: Json | None, config_map_names: list[str], live: Live
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
    for name in config_map_names:
        if live.get(Read(CONFIG_MAP, at.namespace, name)) is None:
            yield (
                conditions.waiting(
                    "WaitingForConfigMap",
                    f"ConfigMap '{name}' does not exist in namespace '{at.namespace}': apply it; the run follows by itself",
                ),
                CONFIG_MAP_SECONDS,
            )


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


def _job(
    resource: Json,
    spec: TrainingRunSpec,
    workspace: Json,
    workspace_spec: WorkspaceSpec,
    number: int,
    settings: Settings,
    fetched: Json | None,
    artifacts: Json,
) -> Json | None:
    """The Job's manifest; None when nobody defined the instance type."""
    instance = compute.instance_type(workspace_spec, spec.instance_type)
    if instance is None:
        return None
    return training_job(
        Attempt(
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
        )
    )


# --- while it works ---------------------------------------------------------------------------------------------------


def at_work(resource: Json, job: Json, world: World, live: Live, now: datetime) -> Plan:
    pods = world.owned(POD, job["metadata"]["uid"])
    name = job["metadata"]["name"]
    told = {"attempt": attempt_of(job, resource), "job": name} | run_inputs.facts(run_inputs.given_to(job))
    if not pods:
        events = live.get(Refusals(job["metadata"]["namespace"]))
        finding = diagnosis.refused(events_of(events, job["metadata"]["uid"]))
        said = conditions.waiting(finding.reason, finding.message) if finding else pod_starting(name)
        return Plan(
            status=_status(resource, said, now, "Pending", **told), requeue_after=next_look(age_seconds(job, now))
        )
    pod = newest(pods)
    finding = diagnosis.unscheduled(pod) or diagnosis.blocked(pod, "environment.image")
    if finding:
        message = f"{finding.message}; apply the change {ANOTHER_NAME}" if finding.is_users else finding.message
        said = (conditions.stalled if finding.is_users else conditions.waiting)(finding.reason, message)
        return Plan(status=_status(resource, said, now, "Pending", **told))
    told |= {"code": fetched_code(pod) or None}
    asked = stages.live_status(pod)
    words = live.get(asked) if asked else None
    again = None
    match stages.stage(pod, name, words, age_seconds(job, now), now):
        case stages.NotYetTold(seconds) if "phase" in (resource.get("status") or {}):
            return Plan(requeue_after=seconds)
        case stages.NotYetTold(seconds):
            said, phase, again = pod_starting(name), "Pending", seconds
        case stages.Stage(phase, reason, message):
            said = conditions.waiting(reason, message)
            told |= {"startTime": (job.get("status") or {}).get("startTime")}
            told |= stages.told(resource.get("status") or {}, told["attempt"], words)
        case None:
            said, phase = pod_starting(name), "Pending"
    new = _status(resource, said, now, phase, **told)
    words_only = stages.only_words_changed(resource.get("status") or {}, new)
    return Plan(status=new, requeue_after=again, words_only=words_only)


def pod_starting(job: str) -> list[Json]:
    """The same words from the Job's making until the script runs: what happens to a pod on its way is no write worth."""
    return conditions.waiting("JobCreated", f"Job '{job}' is made; its pod is starting")


def age_seconds(job: Json, now: datetime) -> float:
    made = job["metadata"].get("creationTimestamp")
    return (now - datetime.fromisoformat(made)).total_seconds() if made else MOST_EVENTS_SECONDS


def next_look(age: float) -> float:
    """In as many seconds as the Job is old, within bounds."""
    return min(MOST_EVENTS_SECONDS, max(EVENTS_SECONDS, age)) if age >= EVENTS_SECONDS else EVENTS_SECONDS - age


def newest(pods: list[Json]) -> Json:
    return max(pods, key=lambda pod: (pod["metadata"].get("creationTimestamp", ""), pod["metadata"]["name"]))


# --- after it ---------------------------------------------------------------------------------------------------------


def last_words(job: Json, world: World) -> tuple[Json | None, LastWords]:
    """The attempt's pod and how its containers ended, as far as they are known."""
    pods = world.owned(POD, job["metadata"]["uid"])
    for pod in sorted(pods, key=lambda each: each["metadata"]["name"]):
        words = LastWords.of(pod)
        if words.are_there:
            return pod, words
    return (newest(pods) if pods else None), LastWords()


def has_lost_its_pod(job: Json, pod: Json | None) -> bool:
    """No last words will come: the platform ended the pod, or the Job's own controller deleted it at its deadline."""
    conditions_ = (job.get("status") or {}).get("conditions") or []
    is_late = any(each.get("type") == "Failed" and each.get("reason") == "DeadlineExceeded" for each in conditions_)
    return diagnosis.evicted(pod) is not None if pod is not None else is_late


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
    told = _told(resource, job, now, facts(report, pod, spec))
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


def failed(resource: Json, spec: TrainingRunSpec, job: Json, world: World, now: datetime, settings: Settings) -> Plan:
    """Another attempt as long as there are retries; else the cause in words."""
    pod, words = last_words(job, world)
    if not words.are_complete and is_still_hoped_for(job, now) and not has_lost_its_pod(job, pod):
        return Plan(requeue_after=1.0)
    number = attempt_of(job, resource)
    retries = (spec.limits.retries if spec.limits else None) or 0
    if number <= retries:
        # What this attempt fetched is what the next one runs, though the branch may have moved on.
        fetched = fetched_code(pod) if pod else None
        return begin(resource, spec, world, {}, now, settings, attempt=number + 1, fetched=fetched)
    finding = _cause(job, pod, words, memory_limit(spec, known_workspace(resource, spec, world)))
    message = (
        finding.message if ANOTHER_NAME in finding.message else f"{finding.message}; apply the change {ANOTHER_NAME}"
    )
    told = _told(resource, job, now, facts(words.facts, pod, spec))
    return Plan(
        status=_status(resource, conditions.stalled(finding.reason, message), now, "Failed", **told), is_final=True
    )


def memory_limit(spec: TrainingRunSpec, workspace: WorkspaceSpec | None) -> str:
    """The field that limits a run's memory, with what it says now."""
    name = spec.instance_type or DEFAULT_INSTANCE_TYPE
    instance = compute.instance_type(workspace, name) if workspace else None
    amount = compute.resources(instance.resources if instance else None).get("limits", {}).get("memory")
    return f"limits.memory{f', {amount},' if amount else ''} of instance type '{name}'"


def _cause(job: Json, pod: Json | None, words: LastWords, limit: str) -> diagnosis.Finding:
    """The recorder's last words, then the wrapper's; what was written before the end was known (provisional) counts
    after what the node knows."""
    name = job["metadata"]["name"]
    if told := words.cause:
        return told
    if words.fetch_state.get("reason") == "OOMKilled":
        return diagnosis.Finding(
            "CodeUnavailable",
            f"container '{fetching.CONTAINER}' of Job '{name}' was killed because it needed more than {fetching.MEMORY} of "
            "memory: name a smaller repository or archive in spec.code, without data in it, or fewer files in the inputs",
        )
    if words.environment_state.get("reason") == "OOMKilled":
        return diagnosis.Finding(
            "OutOfMemory",
            f"container '{preparing.CONTAINER}' of Job '{name}' was killed, because installing the packages needed more memory "
            f"than {limit}: name a larger one in instanceType, or an image that has the packages in environment.image",
        )
    if words.training_state.get("reason") == "OOMKilled":
        return diagnosis.Finding(
            "OutOfMemory",
            f"the pod of Job '{name}' was killed because it needed more memory than {limit}: name a larger one in "
            "instanceType, or raise the limit in the Workspace's spec.instanceTypes",
        )
    if pod is not None and (lost := diagnosis.evicted(pod)):
        return lost
    for each in (job.get("status") or {}).get("conditions") or []:
        if each.get("type") == "Failed" and each.get("reason") == "DeadlineExceeded":
            return diagnosis.Finding(
                "TimedOut", f"Job '{name}' took longer than limits.timeout and limits.finalizing together"
            )
    if words.has_succeeded:
        return words.not_stored(name)
    if told := words.provisional_cause:
        return told
    first = _init_failure(pod) if pod is not None else None
    code = (words.training_state or first or {}).get("exitCode")
    said = f"exit code {code}" if code is not None else "its pod is gone"
    return diagnosis.Finding(
        "InternalError", f"Job '{name}' failed without a word ({said}): see `kubectl logs job/{name} --all-containers`"
    )


def _init_failure(pod: Json) -> Json | None:
    for each in (pod.get("status") or {}).get("initContainerStatuses") or []:
        found = (each.get("state") or {}).get("terminated")
        if found and found.get("exitCode"):
            return dict(found)
    return None


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
        "startTime": report.get("startTime"),
        "completionTime": report.get("completionTime") or conditions.instant(end or now),
        **found,
        **{part: facts for part, facts in both.items() if facts},
    }


def _status(resource: Json, said: list[Json], now: datetime, phase: str, **told: object) -> Json:
    before = kept(resource, "attempt", "job", "startTime", "code", "inputs")
    return status(
        resource, said, now, phase=phase, **(before | {key: value for key, value in told.items() if value is not None})
    )
