"""The Job that builds an environment's image: the packages are installed as for a run, then an engine adds them as a layer.

It belongs to no run, since many may wait for it; it goes with the Workspace, and a day after its end by itself. The day
is also how long the same words give the same lock: the next Job resolves them anew, and finds the image if nothing is new.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace

from smalt.api.kinds import DEPLOYMENT, JOB
from smalt.api.references import Address
from smalt.api.schema import Json
from smalt.api.training_run import TrainingRunSpec
from smalt.api.workspace import Images
from smalt.builders import fetching, preparing, run_lock
from smalt.builders.compute import placement
from smalt.builders.manifests import labels_of, manifest
from smalt.builders.pods import (
    annotation_file,
    config_map,
    container,
    contract_text,
    mount,
    pod_spec,
    scratch,
    secret,
    variable,
)
from smalt.builders.tracking import service_account_name
from smalt.builders.training_job import (
    ANNOTATION,
    WORK,
    Attempt,
    contract,
    environment_containers,
    tools_container,
    tracking_variables,
    tracking_volume,
)

COMPONENT = "environment"
CONTAINER = "image"
KEPT_SECONDS = 24 * 3600
_DEADLINE_SECONDS = 2 * 3600
_CREDENTIALS = "/smalt/credentials"


def named_file(spec: TrainingRunSpec) -> str:
    """The file of the code that says which packages; empty when the spec says it itself."""
    environment = spec.environment
    return (environment.conda_file or environment.requirements_file or "") if environment else ""


def key(attempt: Attempt, files: Mapping[str, str] | None) -> str:
    """Names what the image depends on, as far as it is known before anything is resolved: two runs with one key want one
    image. `files` are the code's, by name; where they are not known, the code is named by the run."""
    environment = attempt.spec.environment
    asked = environment.model_dump(by_alias=True, exclude_none=True) if environment else {}
    packages, images = attempt.workspace_spec.packages, attempt.workspace_spec.images
    parts = [
        asked | {"image": attempt.image},
        _what_it_says(named_file(attempt.spec), files, attempt.uid),
        packages.index_url if packages else None,
        images.model_dump(by_alias=True, exclude_none=True) if images else None,
        attempt.trainer_image,
        *([attempt.lock.digest] if attempt.lock else []),
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _what_it_says(name: str, files: Mapping[str, str] | None, uid: str) -> object:
    """The named file, with all others when it may include some."""
    if not name:
        return None
    if files is None:
        return uid
    text = str(files.get(name, ""))
    includes = any(
        line.lstrip().startswith(("-r", "-c", "--requirement", "--constraint")) for line in text.splitlines()
    )
    return dict(files) if includes else text


def environment_job_name(made_of: str, number: int) -> str:
    return f"environment-{made_of}-{number}"


def environment_job(attempt: Attempt, images: Images, workspace_uid: str, name: str) -> Json:
    """The whole Job, by the words of the run or Deployment that came first."""
    wanted = _without_its_script(attempt)
    build = {"registry": images.registry, "dockerHost": images.docker_host, "tls": images.tls_secret is not None}
    served = {"deployment": {"name": attempt.run.name}} if attempt.run.kind is DEPLOYMENT else {}
    text = contract_text(contract(wanted) | {"build": build} | served)
    template: Json = {
        "metadata": {"labels": labels_of(attempt.workspace, COMPONENT), "annotations": {ANNOTATION: text}},
        "spec": _pod(wanted, images),
    }
    spec: Json = {
        "backoffLimit": 0,
        "completions": 1,
        "parallelism": 1,
        "activeDeadlineSeconds": _DEADLINE_SECONDS,
        "ttlSecondsAfterFinished": KEPT_SECONDS,
        "template": template,
    }
    made = manifest(JOB, attempt.workspace, name, COMPONENT, spec=spec)
    made["metadata"]["ownerReferences"] = [_owner(attempt.workspace, workspace_uid)]
    return made


def _owner(workspace: Address, uid: str) -> Json:
    """Not its controller: the runs that wait for the Job make it."""
    kind = workspace.kind
    return {"apiVersion": kind.api_version, "kind": kind.kind, "name": workspace.name, "uid": uid}


def _without_its_script(attempt: Attempt) -> Attempt:
    nothing = dict.fromkeys(("inputs", "outputs", "parameters", "environment_variables", "register_", "limits"))
    return replace(attempt, spec=attempt.spec.model_copy(update=nothing | {"command": "true"}), artifacts={})


def _pod(attempt: Attempt, images: Images) -> Json:
    spec, workspace = attempt.spec, attempt.workspace_spec
    volumes = [
        annotation_file("run", ANNOTATION, "run.json"),
        tracking_volume(attempt),
        scratch("tools", "256Mi"),
        scratch("work", "20Gi"),
        *preparing.volumes(attempt.workspace, workspace),
        scratch("home", "1Gi"),
        scratch("tmp", "2Gi"),
        *fetching.volumes(spec),
    ]
    reading = [mount("run", "/smalt/run", read_only=True)]
    if spec.code.config_map:
        volumes.append(config_map("code", spec.code.config_map))
    if workspace.trust_bundle:
        volumes.append(config_map("trust", workspace.trust_bundle.config_map))
        reading.append(mount("trust", preparing.TRUST, read_only=True))
    variables = preparing.trust_variables(workspace)
    if fetching.reads_store(spec):
        reading.append(mount("tracking", "/smalt/tracking", read_only=True))
        variables += tracking_variables(attempt)
    before = [fetching.fetch_container(spec, attempt.trainer_image, attempt.pull_policy, reading, variables)]
    if attempt.lock:
        volumes.append(run_lock.volume())
        before.append(
            run_lock.lock_container(
                attempt.lock, attempt.workspace, workspace, attempt.scorer_image, attempt.pull_policy
            )
        )
    secrets = _secrets(images)
    also = [*(at for _, at in secrets), *(at for at in reading if at["name"] == "trust")]
    return pod_spec(
        service_account_name(attempt.workspace.name),
        [*volumes, *(volume for volume, _ in secrets)],
        initContainers=[tools_container(attempt), *filter(None, before), *environment_containers(attempt)],
        containers=[_builder(attempt, also)],
        restartPolicy="Never",
        **placement(attempt.instance),
    )


def _secrets(images: Images) -> list[tuple[Json, Json]]:
    """Volume and mount; a Secret that is not there keeps the pod from starting, and the kubelet says which."""
    made = []
    if images.push_secret:
        volume = secret("registry", images.push_secret)
        volume["secret"]["items"] = [{"key": ".dockerconfigjson", "path": "config.json"}]
        made.append((volume, mount("registry", f"{_CREDENTIALS}/registry", read_only=True)))
    if images.tls_secret:
        made.append((secret("engine", images.tls_secret), mount("engine", f"{_CREDENTIALS}/engine", read_only=True)))
    return made


def _builder(attempt: Attempt, also: list[Json]) -> Json:
    return container(
        CONTAINER,
        attempt.trainer_image,
        attempt.pull_policy,
        [
            mount("run", "/smalt/run", read_only=True),
            mount("tracking", "/smalt/tracking", read_only=True),
            preparing.environment_mount(read_only=True),
            mount("work", WORK),
            mount("tmp", "/tmp"),  # noqa: S108
            *also,
        ],
        args=["build-image", "--announce", str(preparing.STATUS_PORT)],
        env=[
            variable("HOME", "/tmp"),  # noqa: S108
            variable("TMPDIR", "/tmp"),  # noqa: S108
            variable("DOCKER_CONFIG", f"{_CREDENTIALS}/registry"),
            *tracking_variables(attempt),
            *preparing.trust_variables(attempt.workspace_spec),
        ],
        resources={"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
        terminationMessagePolicy="File",
    )
