"""The Job of one attempt of a TrainingRun.

Everything of the user's travels in one annotation, which a file in the pod shows: nothing of it stands in the
command, arguments or variables of a container, where the kubelet would expand it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from smalt.api.durations import seconds
from smalt.api.kinds import JOB
from smalt.api.references import Address
from smalt.api.schema import Json
from smalt.api.training_run import DEFAULT_FINALIZING, DEFAULT_TIMEOUT, TrainingRunSpec
from smalt.api.workspace import InstanceType, WorkspaceSpec
from smalt.builders import fetching, input_sources, preparing, run_lock
from smalt.builders.attempt_history import History
from smalt.builders.command import Names, rendered
from smalt.builders.compute import placement, resources
from smalt.builders.manifests import labels_of, manifest
from smalt.builders.pods import (
    USER_NAME,
    annotation_file,
    config_map,
    container,
    contract_text,
    mount,
    pod_spec,
    scratch,
    variable,
)
from smalt.builders.run_lock import RunLock
from smalt.builders.tracking import access, service_account_name

ANNOTATION = "smalt.dev/run"
# What the inputs that runs and Models make were when the Job was made; a later attempt gets the same.
INPUTS_ANNOTATION = "smalt.dev/inputs"
# The digests of inputs that an earlier attempt has read, where the run names none: a later one reads the same or says so.
PINNED_ANNOTATION = "smalt.dev/read"
# Where the results lie: the run itself names only its experiment, which may be gone by the time the Job ends.
WORKSPACE_ANNOTATION = "smalt.dev/workspace"
# The image of the environment and the Job that built it, where one was built.
ENVIRONMENT_ANNOTATION = "smalt.dev/environment"
# On a Job that we have suspended, in contrast to one that Kueue holds back.
STOPPED = "smalt.dev/stopped"
# What was asked for, where all of it is pinned: see reconcilers/reuse.py.
REQUEST_ANNOTATION = "smalt.dev/request"
# Kueue starts a suspended Job with this label when the queue of that name has room.
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
# The user's image with the wrapper, which prepares and runs the script; and beside it what talks to the tracking server.
CONTAINER = "training"
RECORDER = "recorder"
# Where the recorder shows /status.json and /metrics while the run goes on.
PAGE_PORT = 9400
DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
# By these a Prometheus that looks for pods finds the page; one that has PodMonitors goes by the port's name.
SCRAPING = {
    "prometheus.io/scrape": "true",
    "prometheus.io/port": str(PAGE_PORT),
    "prometheus.io/path": "/metrics",
}
WORK = "/smalt/work"
EXCHANGE = "/smalt/exchange"
USER = "runs"
_PASSWORD = "runs-password"  # noqa: S105 — the file that the recorder reads
# For pulling images and preparing the environment, on top of the two limits that users set.
STARTING_SECONDS = 3600


@dataclass(frozen=True)
class Attempt:
    """All that a Job is made from."""

    run: Address
    uid: str
    number: int
    spec: TrainingRunSpec
    workspace: Address
    workspace_spec: WorkspaceSpec
    instance: InstanceType
    trainer_image: str
    pull_policy: str
    # What an earlier attempt fetched, as the run's status has it.
    fetched_code: Json = field(default_factory=dict)
    # The artifacts of inputs that others make, by the input's name.
    artifacts: Json = field(default_factory=dict)
    # The digests of inputs that an earlier attempt has read, by name.
    read: Json = field(default_factory=dict)
    before: History = field(default_factory=History)
    request: str = ""
    # The image with the packages in it, where one was built.
    built_image: str = ""
    builder: str = ""
    # Of a Deployment that names no packages: those of the run that made its model.
    lock: RunLock | None = None
    scorer_image: str = ""

    @property
    def image(self) -> str:
        chosen = self.spec.environment.image if self.spec.environment else None
        return chosen or self.trainer_image


def job_name(run: str, attempt: int) -> str:
    return f"{run}-{attempt}"


def training_job(attempt: Attempt) -> Json:
    """The whole Job. InvalidCommand when a placeholder cannot be resolved, TooLarge when a pod cannot carry it."""
    limits = contract_limits(attempt.spec)
    template: Json = {
        "metadata": {
            "labels": labels_of(attempt.run, "training"),
            "annotations": {
                ANNOTATION: contract_text(contract(attempt)),
                DEFAULT_CONTAINER: CONTAINER,
                **SCRAPING,
            },
        },
        "spec": _pod(attempt),
    }
    spec: Json = {
        "backoffLimit": 0,
        "completions": 1,
        "parallelism": 1,
        "podReplacementPolicy": "Failed",
        "activeDeadlineSeconds": limits["timeoutSeconds"] + limits["finalizingSeconds"] + STARTING_SECONDS,
        "template": template,
    }
    made = manifest(JOB, attempt.run, job_name(attempt.run.name, attempt.number), "training", spec=spec)
    notes = {WORKSPACE_ANNOTATION: attempt.workspace.name} | attempt.before.annotation()
    if attempt.request:
        notes[REQUEST_ANNOTATION] = attempt.request
    if attempt.artifacts:
        notes[INPUTS_ANNOTATION] = json.dumps(attempt.artifacts, sort_keys=True)
    if attempt.read:
        notes[PINNED_ANNOTATION] = json.dumps(attempt.read, sort_keys=True)
    if attempt.built_image:
        notes[ENVIRONMENT_ANNOTATION] = json.dumps(
            {"job": attempt.builder, "image": attempt.built_image}, sort_keys=True
        )
    made["metadata"]["annotations"] = notes
    if attempt.instance.queue_name:
        made["metadata"]["labels"][QUEUE_LABEL] = attempt.instance.queue_name
        made["spec"]["suspend"] = True
    return made


def stopped_job(run: Address, job: Json) -> Json:
    """The Job, suspended for good: its controller ends its pods, which get SIGTERM and store what they have.

    A Job of Kueue is taken out of its queue by the same write, or it would be started again.
    """
    made = manifest(JOB, run, job["metadata"]["name"], "training", spec={"suspend": True})
    made["metadata"]["annotations"] = {STOPPED: "true"}
    if (job["metadata"].get("labels") or {}).get(QUEUE_LABEL):
        made["metadata"]["labels"][QUEUE_LABEL] = ""
    return made


def contract(attempt: Attempt) -> Json:
    """What the wrapper reads as /smalt/run/run.json (version 1)."""
    spec = attempt.spec
    names = Names(inputs=spec.inputs or {}, outputs=spec.outputs or {}, parameters=spec.parameters or {})
    return {
        "version": 1,
        "run": {
            "namespace": attempt.run.namespace,
            "name": attempt.run.name,
            "uid": attempt.uid,
            "attempt": attempt.number,
        },
        "workspace": attempt.workspace.name,
        "experiment": spec.experiment,
        "command": rendered(spec.command, names),
        "code": _code(attempt),
        "environmentVariables": spec.environment_variables or {},
        "parameters": spec.parameters or {},
        "inputs": input_sources.input_sources(spec, attempt.artifacts, attempt.read),
        "outputs": {name: {"type": each.type} for name, each in (spec.outputs or {}).items()},
        **({"loggedModel": logged_model(spec)} if logged_model(spec) else {}),
        "environment": run_lock.asked() if attempt.lock else _packages(spec),
        "image": attempt.image,
        "limits": contract_limits(spec),
    }


def _code(attempt: Attempt) -> Json:
    code, fetched = attempt.spec.code, attempt.fetched_code
    if code.git:
        commit = {"commit": fetched["commit"]} if fetched.get("commit") else {}
        return {"git": code.git.model_dump(by_alias=True, exclude_none=True) | commit}
    if code.url:
        archive = code.model_dump(by_alias=True, exclude_none=True)
        pinned = {"pinned": fetched["archiveDigest"]} if fetched.get("archiveDigest") else {}
        return {"archive": archive | pinned | input_sources.pushed(code.url)}
    return {"inline": code.inline} if code.inline is not None else {"folder": "/smalt/code"}


def logged_model(spec: TrainingRunSpec) -> str:
    """The model to register when the script is to log it with mlflow; empty when it is an output, or there is none."""
    name = spec.register_.from_ if spec.register_ else ""
    return name if name not in (spec.outputs or {}) else ""


def contract_limits(spec: TrainingRunSpec) -> dict[str, int]:
    limits = spec.limits
    timeout = (limits.timeout if limits else None) or DEFAULT_TIMEOUT
    finalizing = (limits.finalizing if limits else None) or DEFAULT_FINALIZING
    return {"timeoutSeconds": _whole(timeout), "finalizingSeconds": _whole(finalizing)}


def _whole(duration: str) -> int:
    """Whole seconds, at least one: a Job's deadline knows no fractions."""
    return max(1, round(seconds(duration)))


def _packages(spec: TrainingRunSpec) -> Json:
    if spec.environment is None:
        return {}
    return spec.environment.model_dump(by_alias=True, exclude_none=True, exclude={"image"})


def tracking_variables(attempt: Attempt) -> list[Json]:
    """Where the tracking server is, and as whom it is asked; the password is in a file."""
    server = access(attempt.workspace, attempt.workspace_spec, USER)
    return [
        variable("MLFLOW_TRACKING_URI", server.uri),
        *server.username("MLFLOW_TRACKING_USERNAME"),
    ]


def tracking_volume(attempt: Attempt) -> Json:
    """The file with the password."""
    return access(attempt.workspace, attempt.workspace_spec, USER).password_volume("tracking", _PASSWORD)


def _pod(attempt: Attempt) -> Json:
    inputs = list(input_sources.mounted_inputs(attempt.spec))
    volumes = [
        annotation_file("run", ANNOTATION, "run.json"),
        tracking_volume(attempt),
        scratch("recorder", "256Mi"),
        scratch("tools", "256Mi"),
        scratch("exchange", "4Gi"),
        scratch("work", "10Gi"),
        *([] if attempt.built_image else preparing.volumes(attempt.workspace, attempt.workspace_spec)),
        scratch("home", "1Gi"),
        scratch("tmp", "2Gi"),
        *(each.volume for each in inputs),
        *fetching.volumes(attempt.spec),
    ]
    mounts = [
        mount("run", "/smalt/run", read_only=True),
        mount("tools", "/smalt/tools", read_only=True),
        mount("exchange", EXCHANGE),
        mount("work", WORK),
        *([] if attempt.built_image else [preparing.environment_mount()]),
        mount("home", "/smalt/home"),
        mount("tmp", "/tmp"),  # noqa: S108
        *(each.at for each in inputs if not each.by_fetch),
        *fetching.script_mounts(attempt.spec),
    ]
    if attempt.spec.code.config_map:
        volumes.append(config_map("code", attempt.spec.code.config_map))
        mounts.append(mount("code", "/smalt/code", read_only=True))
    reading = [mount("run", "/smalt/run", read_only=True)]
    if attempt.workspace_spec.trust_bundle:
        volumes.append(config_map("trust", attempt.workspace_spec.trust_bundle.config_map))
        mounts.append(mount("trust", preparing.TRUST, read_only=True))
        reading.append(mount("trust", preparing.TRUST, read_only=True))
    store = []
    if fetching.reads_store(attempt.spec):
        reading.append(mount("tracking", "/smalt/tracking", read_only=True))
        store = tracking_variables(attempt)
    fetch = fetching.fetch_container(
        attempt.spec,
        attempt.trainer_image,
        attempt.pull_policy,
        reading,
        [*store, *preparing.trust_variables(attempt.workspace_spec)],
    )
    training = container(
        CONTAINER,
        attempt.built_image or attempt.image,
        attempt.pull_policy,
        mounts,
        # By its path, so that PYTHONPATH stays what the image has set.
        command=["python3", "-s", "-u", "/smalt/tools", "run"],
        env=[
            variable("PYTHONDONTWRITEBYTECODE", "1"),
            *USER_NAME,
            variable("HOME", "/smalt/home"),
            variable("TMPDIR", "/tmp"),  # noqa: S108
            *preparing.index_variables(attempt.workspace_spec.packages),
            *preparing.trust_variables(attempt.workspace_spec),
        ],
        workingDir=WORK,
        resources=resources(attempt.instance.resources),
        terminationMessagePolicy="File",
    )
    return pod_spec(
        service_account_name(attempt.workspace.name),
        volumes,
        initContainers=[tools_container(attempt), *([fetch] if fetch else []), *environment_containers(attempt)],
        containers=[training, _recorder(attempt)],
        restartPolicy="Never",
        terminationGracePeriodSeconds=60,
        **({"priorityClassName": attempt.spec.priority_class_name} if attempt.spec.priority_class_name else {}),
        **placement(attempt.instance),
    )


def _recorder(attempt: Attempt) -> Json:
    """It alone has the password of the tracking server, and of what the script leaves it reads what it is shown."""
    return container(
        RECORDER,
        attempt.trainer_image,
        attempt.pull_policy,
        [
            mount("run", "/smalt/run", read_only=True),
            mount("tracking", "/smalt/tracking", read_only=True),
            mount("exchange", EXCHANGE),
            mount("work", WORK, read_only=True),
            mount("recorder", "/tmp"),  # noqa: S108
            *(each.at for each in input_sources.mounted_inputs(attempt.spec) if not each.by_fetch),
            *(fetching.script_mounts(attempt.spec) if fetching.brings_inputs(attempt.spec) else []),
            *([mount("trust", preparing.TRUST, read_only=True)] if attempt.workspace_spec.trust_bundle else []),
        ],
        args=["record"],
        ports=[{"name": "metrics", "containerPort": PAGE_PORT, "protocol": "TCP"}],
        env=[*tracking_variables(attempt), *preparing.trust_variables(attempt.workspace_spec)],
        resources={"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": recorder_memory(attempt.spec)}},
        terminationMessagePolicy="File",
    )


def recorder_memory(spec: TrainingRunSpec) -> str:
    """A profile of a table needs up to 1 GiB on top, however large the table is."""
    return "1536Mi" if spec.inputs or spec.outputs else "512Mi"


def tools_container(attempt: Attempt) -> Json:
    """Brings the wrapper into images that know nothing of it."""
    return container(
        "tools",
        attempt.trainer_image,
        attempt.pull_policy,
        [mount("tools", "/smalt/tools")],
        args=["install", "/smalt/tools"],
        resources={"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
    )


def environment_containers(attempt: Attempt) -> list[Json]:
    """Installs what the script's image lacks; the files that name it lie in the code. None where the image was built."""
    if not needs_packages(attempt) or attempt.built_image:
        return []
    mounts = [
        mount("run", "/smalt/run", read_only=True),
        mount("tools", "/smalt/tools", read_only=True),
        mount("home", "/smalt/home"),
        mount("tmp", "/tmp"),  # noqa: S108
    ]
    mounts += fetching.script_mounts(attempt.spec)
    mounts += [run_lock.lock_mount()] if attempt.lock else []
    if attempt.spec.code.config_map:
        mounts.append(mount("code", "/smalt/code", read_only=True))
    if attempt.workspace_spec.trust_bundle:
        mounts.append(mount("trust", preparing.TRUST, read_only=True))
    made = preparing.environment_container(
        attempt.workspace_spec,
        attempt.image,
        attempt.pull_policy,
        preparing.making("/smalt/run/run.json"),
        mounts,
        preparing.room(attempt.instance),
    )
    return [made]


def needs_packages(attempt: Attempt) -> bool:
    named = attempt.spec.environment is not None and attempt.spec.environment.has_any
    return named or attempt.lock is not None
