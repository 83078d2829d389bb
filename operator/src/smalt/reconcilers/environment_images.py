"""The image that packages come in, where the Workspace has images built: there, on its way, or not to be had.

One Job builds it for all runs and Deployments that ask for the same; which one, everybody derives from what they ask for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from smalt.api import conditions
from smalt.api.kinds import CONFIG_MAP, JOB, POD
from smalt.api.schema import Json
from smalt.api.training_run import ANOTHER_NAME
from smalt.api.workspace import Images
from smalt.builders import preparing
from smalt.builders.environment_job import CONTAINER, environment_job, environment_job_name, key, named_file
from smalt.builders.training_job import ENVIRONMENT_ANNOTATION, Attempt, needs_packages
from smalt.reconcilers import diagnosis
from smalt.reconcilers.causes import scheduling, starting
from smalt.reconcilers.plan import Child
from smalt.reconcilers.stages import talking
from smalt.reconcilers.world import Live, Read, StatusOf, World
from smalt.settings import Settings

# Nobody is woken by a Job that belongs to nobody; the cache is looked at this often.
LOOK_SECONDS = 3.0
LAST_WORDS_SECONDS = 30.0
# So many failed builds of one environment in a day are counted apart.
MOST_NUMBERS = 100


@dataclass(frozen=True)
class Image:
    """It is there."""

    name: str
    job: str


@dataclass(frozen=True)
class NotYet:
    """What is waited for, and the Job if there is none yet."""

    said: list[Json]
    job: str = ""
    apply: tuple[Child, ...] = ()


@dataclass(frozen=True)
class Never:
    """The build failed; a run is over."""

    said: list[Json]
    job: str
    ended_at: str


@dataclass(frozen=True)
class Who:
    """Who asks: since when (a build that failed before is tried again), and what they do about one that failed."""

    since: str
    again: str


def of_run(run: Json) -> Who:
    return Who(str(run["metadata"].get("creationTimestamp")), f"apply the run {ANOTHER_NAME}")


# A Deployment goes on existing: other words of its are another build, and the same ones are tried again when it is wished.
OF_DEPLOYMENT = Who("", "correct spec.environment, or delete the Job to have it tried again")


def is_wanted(attempt: Attempt) -> bool:
    return attempt.workspace_spec.images is not None and needs_packages(attempt)


def known_of(attempt: Attempt, live: Live, deployment: Json) -> Image | None:
    """The image that the Deployment has had for these packages; its Job goes a day after its end."""
    found = (deployment.get("status") or {}).get("environment") or {}
    same = str(found.get("job") or "").startswith(environment_job_name(key(attempt, _files(attempt, live)), 0)[:-1])
    return Image(str(found["image"]), str(found["job"])) if same and found.get("image") else None


def known(run: Json, is_further: bool) -> Image | None:
    """The image that an earlier attempt of the run ran in."""
    found = (run.get("status") or {}).get("environment") or {}
    return Image(str(found["image"]), str(found.get("job") or "")) if is_further and found.get("image") else None


def facts(job: Json) -> Json:
    """What the attempt's Job says of its image: the status that told it first may have been overtaken by the next."""
    told = (job["metadata"].get("annotations") or {}).get(ENVIRONMENT_ANNOTATION)
    return {"environment": json.loads(told)} if told else {}


def image(
    attempt: Attempt, who: Who, workspace: Json, world: World, live: Live, now: datetime, settings: Settings
) -> Image | NotYet | Never:
    """How far it is with the image of this attempt."""
    images = attempt.workspace_spec.images
    assert images is not None
    refusal = _not_allowed(images, attempt.workspace.name, settings)
    if refusal:
        return NotYet(conditions.waiting("EngineNotAllowed", refusal))
    made_of = key(attempt, _files(attempt, live))
    for number in range(1, MOST_NUMBERS):
        name = environment_job_name(made_of, number)
        job = world.get(JOB, attempt.run.namespace, name)
        if job is None:
            child = Child(environment_job(attempt, images, workspace["metadata"]["uid"], name), once=True, owned=False)
            return NotYet(_building(name, "its pod is starting"), name, (child,))
        found = _of(job, who, world, live, now)
        if found:
            return found
    return NotYet(
        conditions.waiting("BuildingEnvironment", f"Job '{name}' is the last of too many that failed in a day")
    )


def _of(job: Json, who: Who, world: World, live: Live, now: datetime) -> Image | NotYet | Never | None:
    """What a Job came to; None when that is of no use to this run, so that another one has to be made."""
    name, end = job["metadata"]["name"], diagnosis.end(job)
    pods = world.owned(POD, job["metadata"]["uid"])
    words = next((diagnosis.report(state) for pod in pods if (state := diagnosis.terminated(pod, CONTAINER))), {})
    if end is None:
        return NotYet(_at_work(job, pods, live), name)
    if end["type"] == "Complete" and isinstance(words.get("image"), str):
        return Image(words["image"], name)
    if end["type"] == "Failed" and str(end.get("lastTransitionTime") or "") < who.since:
        return None  # an earlier run has it in its status, and what was wrong may be mended
    if not words and diagnosis.seconds_since(end, now) < LAST_WORDS_SECONDS:
        return NotYet(_building(name, "it has just ended"), name)
    if end["type"] == "Complete":
        return None  # its pod is gone, and with it the image's name
    return Never(
        _failed(job, pods, words, end, who), name, str(end.get("lastTransitionTime") or conditions.instant(now))
    )


def asked(run: Json, world: World) -> StatusOf | None:
    """Who of the Job that the run waits for tells how it goes."""
    name = ((run.get("status") or {}).get("environment") or {}).get("job")
    job = world.get(JOB, run["metadata"]["namespace"], name) if name else None
    pods = world.owned(POD, job["metadata"]["uid"]) if job else []
    return next((found for pod in pods for each in _DOING if (found := talking(pod, each))), None)


_DOING = {CONTAINER: "has the image built and pushed", preparing.CONTAINER: "installs the packages"}


def _at_work(job: Json, pods: list[Json], live: Live) -> list[Json]:
    name = job["metadata"]["name"]
    for pod in pods:
        finding = scheduling.unscheduled(pod) or starting.blocked(pod, "environment.image")
        if finding:
            return conditions.waiting("BuildingEnvironment", f"Job '{name}': {finding.reason}: {finding.message}")
        if each := next(filter(diagnosis.running(pod).__contains__, _DOING), None):
            at = talking(pod, each)
            last = ((live.get(at) if at else None) or {}).get("message")
            return _building(name, f"it {_DOING[each]}{f' ({last})' if last else ''}", each)
    return _building(name, "its pod is starting")


def _building(job: str, doing: str, container: str = "") -> list[Json]:
    where = f" -c {container}" if container else " --all-containers"
    return conditions.waiting(
        "BuildingEnvironment",
        f"Job '{job}' builds the image of the environment: {doing}; see `kubectl logs job/{job}{where}`",
    )


def _failed(job: Json, pods: list[Json], words: Json, end: Json, who: Who) -> list[Json]:
    name = job["metadata"]["name"]
    if words.get("reason") and words.get("message"):
        message = str(words["message"])
        is_told = any(each in message for each in (ANOTHER_NAME, "under another name", "the Deployment again"))
        told = message if is_told else f"{message}; {who.again}"
        return conditions.stalled(str(words["reason"])[:63], told)
    lost = next((finding for pod in pods if (finding := starting.evicted(pod))), None)
    cause = lost.message if lost else str(end.get("message") or end.get("reason") or "it left no word")
    return conditions.stalled(
        "EnvironmentFailed",
        f"Job '{name}', which builds the image of the environment, failed: {cause}; see `kubectl logs job/{name} "
        f"--all-containers`, then {who.again}",
    )


def _files(attempt: Attempt, live: Live) -> Mapping[str, str] | None:
    """The code's files by name, as far as they are known before a pod is there."""
    code = attempt.spec.code
    if not named_file(attempt.spec) or code.inline is not None:
        return code.inline or {}
    if code.config_map:
        found = live.get(Read(CONFIG_MAP, attempt.run.namespace, code.config_map)) or {}
        return {**(found.get("data") or {}), **(found.get("binaryData") or {})}
    return None


def _not_allowed(images: Images, workspace: str, settings: Settings) -> str:
    """Why the engine may not be used; empty when it may."""
    host = urlsplit(images.docker_host).netloc
    allowed = [each.strip() for each in settings.docker_hosts.split(",") if each.strip()]
    where = f"spec.images.dockerHost of Workspace '{workspace}', '{images.docker_host}',"
    if not any(fnmatchcase(host, each) or fnmatchcase(host.partition(":")[0], each) for each in allowed):
        lists = ", ".join(allowed) or "none"
        return (
            f"{where} is not among the Docker Engines that the operator's administrator allows ({lists}): have it added to "
            "SMALT_DOCKER_HOSTS, name another, or leave spec.images out; it goes on by itself"
        )
    if images.docker_host.startswith("tcp://") and images.tls_secret is None and not settings.docker_without_tls:
        return (
            f"{where} needs a certificate: name the Secret with ca.crt, tls.crt and tls.key in spec.images.tlsSecret; it goes "
            "on by itself"
        )
    return ""
