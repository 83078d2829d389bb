"""How far a Model's registration is: its Job is to be made, at work, done, or has failed with a cause."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from smalt.api import conditions
from smalt.api.kinds import JOB, MODEL, POD, WORKSPACE
from smalt.api.model import ModelSpec
from smalt.api.references import Address, address
from smalt.api.schema import Json
from smalt.api.workspace import WorkspaceSpec
from smalt.builders import preparing
from smalt.builders.conversion import CONTAINER as CONVERT
from smalt.builders.registration_job import (
    KNOWN_ANNOTATION,
    REGISTER,
    SOURCE,
    Registration,
    registration_job,
    registration_job_name,
    stopped_job,
)
from smalt.errors import TooLarge
from smalt.reconcilers import conversion, diagnosis
from smalt.reconcilers.causes import scheduling, starting
from smalt.reconcilers.conversion import Way
from smalt.reconcilers.plan import Child, Deletion
from smalt.reconcilers.reporting import InvalidSpec, parsed
from smalt.reconcilers.run_results import is_artifact, is_digest, is_text
from smalt.reconcilers.world import World
from smalt.settings import Settings

# Reasons that lie outside of the registration, which are the Model's own as long as they last.
CREDENTIALS_MISSING = "CredentialsMissing"
ELSEWHERE = frozenset({"SourceUnreachable", CREDENTIALS_MISSING})
# Reasons of the program that pass, or that are a fault of ours: another Job is made, later each time.
PASSING = ELSEWHERE | {"TrackingUnavailable", "RegistryRefused", "Interrupted", "InternalError"}
MOST_ATTEMPTS = 20
PAUSE_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 300.0
LAST_WORDS_SECONDS = 30.0
LOOK_SECONDS = 5.0


@dataclass(frozen=True)
class Progress:
    """What is said of it, what it has come to, and what is to be made."""

    said: list[Json]
    facts: Mapping[str, object] | None = None
    apply: tuple[Child, ...] = ()
    delete: tuple[Deletion, ...] = ()
    again: float | None = None


def asked(resource: Json, world: World) -> Json:
    """What the latest Job was told of the source: enough to go on by, when the run has been deleted since. Empty without one."""
    _, job = _present(resource, world)
    if job is None:
        return {}
    told = (job["metadata"].get("annotations") or {}).get(KNOWN_ANNOTATION)
    return dict(json.loads(told)) if told else {}


def spent(resource: Json, world: World) -> tuple[Deletion, ...]:
    """Jobs of a Model that is registered: what they had to say is in its status."""
    jobs = world.owned(JOB, resource["metadata"]["uid"])
    return _deleted(job for job in jobs if diagnosis.end(job) is not None or conversion.stopped(job))


def _superseded(resource: Json, world: World, latest: int) -> tuple[Deletion, ...]:
    """Jobs before the latest one, which alone still has something to say."""
    jobs, name = world.owned(JOB, resource["metadata"]["uid"]), resource["metadata"]["name"]
    return _deleted(job for job in jobs if _number(job, name) < latest)


def _deleted(jobs: Iterable[Json]) -> tuple[Deletion, ...]:
    left = (job["metadata"] for job in jobs if not job["metadata"].get("deletionTimestamp"))
    return tuple(Deletion(JOB, it["namespace"], it["name"], it["uid"], it["resourceVersion"]) for it in left)


def progress(resource: Json, spec: ModelSpec, known: Json, world: World, now: datetime, settings: Settings) -> Progress:
    """`known` are the facts of the source: its artifact, and what the run says of it."""
    at = address(MODEL, resource)
    workspace = world.get(WORKSPACE, at.namespace, spec.workspace)
    if workspace is None or not conditions.is_ready(workspace):
        why = conditions.why_not(workspace) if workspace else "it does not exist"
        words = f"Workspace '{spec.workspace}' is not ready ({why}): '{at.name}' is registered when it is"
        return Progress(conditions.waiting("WaitingForWorkspace", words))
    attempt, job = _present(resource, world)
    trained = known.get("trained")
    way = conversion.first(spec, trained, settings.trainer_image)
    if job is not None:
        found = _of(job, resource, known, world, now)
        if found is not None:
            return found
        pause = min(LONGEST_PAUSE_SECONDS, PAUSE_SECONDS * 2 ** (attempt - 1)) - diagnosis.seconds_since(
            diagnosis.end(job), now
        )
        if pause > 0:
            return Progress(_again(job, world, attempt), again=pause)
        attempt += 1
        pods = world.owned(POD, job["metadata"]["uid"])
        why = "" if _words(pods) else conversion.took_along(job, pods, attempt - 1)
        way = conversion.again(job, trained, settings.trainer_image, why)
    try:
        registration = _registration(resource, spec, known, workspace, way, settings)
        wanted = registration_job(registration, attempt)
    except InvalidSpec as error:
        return Progress(conditions.waiting("WaitingForWorkspace", f"Workspace '{spec.workspace}': {error}"))
    except TooLarge as error:
        return Progress(conditions.stalled("TooLarge", f"{error}; register the model again"))
    return Progress(
        _registering(registration_job_name(at.name, attempt), "its pod is starting"),
        apply=(Child(wanted, once=True),),
        delete=_superseded(resource, world, attempt - 1),
    )


def _registration(
    resource: Json, spec: ModelSpec, known: Json, workspace: Json, way: Way, settings: Settings
) -> Registration:
    at = address(MODEL, resource)
    return Registration(
        model=at,
        uid=resource["metadata"]["uid"],
        spec=spec,
        artifact=known["artifact"],
        lineage=known.get("lineage") or {},
        metrics=known.get("metrics") or {},
        parameters=known.get("parameters") or {},
        profiles=known.get("profiles") or {},
        workspace=Address(WORKSPACE, at.namespace, spec.workspace),
        workspace_spec=parsed(WorkspaceSpec, workspace),
        trainer_image=settings.trainer_image,
        pull_policy=settings.image_pull_policy,
        conversion=way.conversion,
        unconverted=way.unconverted,
    )


def _present(resource: Json, world: World) -> tuple[int, Json | None]:
    """The latest attempt and its Job, unless that is being deleted."""
    name = resource["metadata"]["name"]
    found = {_number(job, name): job for job in world.owned(JOB, resource["metadata"]["uid"])}
    number = max(found, default=0)
    if number < 1:
        return 1, None
    job = found[number]
    return (number + 1, None) if job["metadata"].get("deletionTimestamp") else (number, job)


def _number(job: Json, model: str) -> int:
    suffix = job["metadata"]["name"].removeprefix(registration_job_name(model, 0)[:-1])
    return int(suffix) if suffix.isdigit() else 0


def _of(job: Json, resource: Json, known: Json, world: World, now: datetime) -> Progress | None:
    """What a Job has come to; None when another one has to be made."""
    end, pods = diagnosis.end(job), world.owned(POD, job["metadata"]["uid"])
    if conversion.stopped(job):
        return None
    if end is None:
        cannot = conversion.hopeless(pods, now)
        return _stopping(job, resource, cannot) if cannot else Progress(_at_work(job, pods), again=LOOK_SECONDS)
    words = _words(pods)
    if end["type"] == "Complete":
        facts = registered(words, None if is_imported(resource) else known["artifact"]["digest"])
        if facts is not None:
            return Progress(_done(resource), facts)
    if not words and diagnosis.seconds_since(end, now) < LAST_WORDS_SECONDS:
        return Progress(_registering(job["metadata"]["name"], "it has just ended"), again=1.0)
    if words.get("reason") and words.get("message") and words["reason"] not in PASSING:
        return Progress(conditions.stalled(str(words["reason"])[:63], str(words["message"])))
    # Whoever applies the Secret may take all the time there is.
    if words.get("reason") != CREDENTIALS_MISSING and _number(job, resource["metadata"]["name"]) >= MOST_ATTEMPTS:
        return Progress(conditions.stalled("RegistrationFailed", _why(job, words, end)))
    return None


def _stopping(job: Json, resource: Json, why: str) -> Progress:
    said = conditions.waiting(
        "Registering", f"Job '{job['metadata']['name']}' is ended, and another one follows: {why}"
    )
    return Progress(said, apply=(Child(stopped_job(address(MODEL, resource), job, why)),), again=1.0)


def _done(resource: Json) -> list[Json]:
    return conditions.ready("Registered", f"Model '{resource['metadata']['name']}' is registered")


def is_imported(resource: Json) -> bool:
    return bool(resource["spec"]["source"].get("uri"))


def registered(words: Json, digest: str | None) -> Json | None:
    """The report of the Job in the form that the schema wants; None for one that is not of the files with this digest. Of
    imported files only the Job knows it: theirs may be named by the digest of the one file that they are."""
    artifact = words.get("artifact")
    if not is_artifact(artifact) or (digest is not None and artifact["digest"] != digest):
        return None
    made: Json = {"artifact": {key: artifact[key] for key in ("uri", "digest", "bytes", "files")}}
    made |= {key: words[key] for key in ("format", "card") if is_text(words.get(key))}
    registry = words.get("registry")
    if isinstance(registry, dict) and all(is_text(registry.get(key)) for key in ("version", "runId")):
        made["registry"] = {key: registry[key] for key in ("version", "runId")}
    trained_in = _trained_in(words.get("environment"))
    if trained_in:
        made["environment"] = trained_in
    signature = words.get("signature")
    if isinstance(signature, dict) and all(is_text(signature.get(key)) for key in ("uri", "keyDigest")):
        made["signature"] = {key: signature[key] for key in ("uri", "keyDigest")}
    return made | conversion.told(words.get("onnx")) | conversion.request_schema(words)


def _trained_in(found: object) -> Json:
    """What the registry says of the environment of the training, as far as it has that form."""
    if not isinstance(found, dict):
        return {}
    made: Json = {}
    if is_text(found.get("uri")) and is_digest(found.get("digest")):
        made = {key: found[key] for key in ("uri", "digest")}
    versions = found.get("versions")
    if isinstance(versions, dict):
        known = {str(name): version for name, version in list(versions.items())[:8] if is_text(version)}
        made |= {"versions": {name: version[:64] for name, version in known.items()}} if known else {}
    return made


def _words(pods: list[Json]) -> Json:
    """What the container said that ended last: the first one's words only where it kept the second from starting."""
    for name in (REGISTER, SOURCE):
        for pod in pods:
            said = diagnosis.report(diagnosis.terminated(pod, name) or {})
            if said:
                return said
    return {}


_DOING = {
    REGISTER: "it stores the files in the registry",
    CONVERT: "it converts the model to ONNX",
    preparing.CONTAINER: "it installs the run's packages, to convert the model in",
    SOURCE: "it checks the files",
}


def _at_work(job: Json, pods: list[Json]) -> list[Json]:
    name = job["metadata"]["name"]
    for pod in pods:
        finding = scheduling.unscheduled(pod) or starting.blocked(pod, "the operator's SMALT_TRAINER_IMAGE")
        if finding:
            return conditions.waiting("Registering", f"Job '{name}': {finding.reason}: {finding.message}")
        if at := next(filter(diagnosis.running(pod).__contains__, _DOING), None):
            return _registering(name, _DOING[at], at)
    return _registering(name, "its pod is starting")


def _registering(job: str, doing: str, container: str = "") -> list[Json]:
    where = f" -c {container}" if container else " --all-containers"
    return conditions.waiting(
        "Registering", f"Job '{job}' registers the model: {doing}; see `kubectl logs job/{job}{where}`"
    )


def _again(job: Json, world: World, attempt: int) -> list[Json]:
    pods = world.owned(POD, job["metadata"]["uid"])
    words, end = _words(pods), diagnosis.end(job) or {}
    if not words and (why := conversion.took_along(job, pods, attempt)):
        words = {"message": why}
    reason = words["reason"] if words.get("reason") in ELSEWHERE else "Registering"
    return conditions.waiting(reason, f"{_why(job, words, end)}; it is tried again (attempt {attempt + 1})")


def _why(job: Json, words: Json, end: Json) -> str:
    cause = (
        words.get("message") or end.get("message") or end.get("reason") or "its pod was gone before it could be asked"
    )
    name = job["metadata"]["name"]
    return f"Job '{name}', which registers the model, failed: {cause}; see `kubectl logs job/{name} --all-containers`"
