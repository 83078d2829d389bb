"""The Job that registers a Model: it proves the files of the source, and copies them to where runs cannot write.

In order: `source` reads as any reader does and loads nothing, `convert` loads the model and has no credentials, `register`
writes as the registry's user.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from smalt.api.kinds import JOB
from smalt.api.model import ModelSpec, Source
from smalt.api.references import Address
from smalt.api.schema import Json
from smalt.api.workspace import WorkspaceSpec
from smalt.builders import preparing
from smalt.builders.conversion import FOLDER as CONVERTED
from smalt.builders.conversion import Conversion, Place, conversion_containers, conversion_volumes
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
    secret,
    variable,
)
from smalt.builders.tracking import access, service_account_name

COMPONENT = "registration"
ANNOTATION = "smalt.dev/registration"
# On the Job: how the model is converted by it, or why it is not.
CONVERSION_ANNOTATION = "smalt.dev/conversion"
# On a Job that we have suspended because its conversion cannot start, and why that is.
STOPPED = "smalt.dev/stopped"
# On the Job itself, whose pod template nobody keeps.
KNOWN_ANNOTATION = "smalt.dev/source"
SOURCE, REGISTER = "source", "register"
# A model may be large and the tracking server away for a while; what is registered is found again by the next Job.
_DEADLINE_SECONDS = 3600
_CONTRACT, _MODEL = "/smalt/registration", "/smalt/source"
_SIGNING, _CREDENTIALS = "/smalt/signing", "/smalt/credentials/source"
_RESOURCES: Json = {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}}


@dataclass(frozen=True)
class Registration:
    """All that a Model's Job is made from; `facts` are what the Model's status says of it already."""

    model: Address
    uid: str
    spec: ModelSpec
    artifact: Json
    lineage: Json
    metrics: Json
    parameters: Json
    profiles: Json
    workspace: Address
    workspace_spec: WorkspaceSpec
    trainer_image: str
    pull_policy: str
    # None where it is not converted; then `unconverted` has reason and message, unless its format says it all.
    conversion: Conversion | None = None
    unconverted: Json | None = None

    @property
    def place(self) -> Place:
        at = f"{_CONTRACT}/registration.json"
        spec, image, policy = self.workspace_spec, self.trainer_image, self.pull_policy
        return Place(self.workspace, spec, image, policy, at, _MODEL)


def registration_job_name(model: str, attempt: int) -> str:
    """At most 63 letters, as a pod's label takes it: a Model's name has 59 at most."""
    return f"{model}-r{attempt}"


def contract(registration: Registration) -> Json:
    """What all containers read as /smalt/registration/registration.json (version 1)."""
    spec, artifact = registration.spec, registration.artifact
    experiment, run = run_of(artifact["uri"])
    policy = registration.workspace_spec.policy
    return {
        "version": 1,
        "model": {
            "name": spec.name,
            "version": spec.version,
            "object": registration.model.name,
            "uid": registration.uid,
            "namespace": registration.model.namespace,
            "type": spec.type,
            "format": spec.format,
            "stage": spec.stage,
            "tags": spec.tags or {},
        },
        "source": {"uri": artifact["uri"], "digest": artifact["digest"], **_credentials(spec.source)},
        "allowedFormats": policy.model_formats if policy else None,
        "lineage": registration.lineage,
        "metrics": registration.metrics,
        "parameters": registration.parameters,
        "run": {"name": spec.source.run, "trackingRunId": run, "experimentId": experiment} if run else None,
        "profiles": registration.profiles,
        "tracking": {"uri": access(registration.workspace, registration.workspace_spec, "registry").uri},
        **_converting(registration),
        "signing": registration.workspace_spec.signing is not None,
    }


def _credentials(source: Source) -> Json:
    """As whom the files are read: as every reader of the store, or with what is mounted for their address."""
    if source.uri is None:
        return {"credentials": "scoring"}
    more = {"secret": source.credentials_secret, "unpack": source.unpack}
    return {"credentials": "import"} | {key: value for key, value in more.items() if value}


def _converting(registration: Registration) -> Json:
    found = registration.conversion
    if found is None:
        return {"convert": False} | ({"notConverted": registration.unconverted} if registration.unconverted else {})
    return {"convert": True, "image": found.image, "hasLock": found.has_lock}


def run_of(uri: str) -> tuple[str, str]:
    """MLflow's experiment and run of an artifact; empty for an address of another form."""
    scheme, _, place = uri.partition(":/")
    parts = place.lstrip("/").split("/")
    return (parts[0], parts[1]) if scheme == "mlflow-artifacts" and parts[2:3] == ["artifacts"] else ("", "")


def registration_job(registration: Registration, attempt: int) -> Json:
    """TooLarge when a pod cannot carry the contract."""
    model = registration.model
    template: Json = {
        "metadata": {
            "labels": labels_of(model, COMPONENT),
            "annotations": {ANNOTATION: contract_text(contract(registration))},
        },
        "spec": _pod(registration),
    }
    spec: Json = {
        "backoffLimit": 0,
        "completions": 1,
        "parallelism": 1,
        "activeDeadlineSeconds": _DEADLINE_SECONDS,
        "template": template,
    }
    made = manifest(JOB, model, registration_job_name(model.name, attempt), COMPONENT, spec=spec)
    notes = {KNOWN_ANNOTATION: json.dumps(known(registration), sort_keys=True)}
    converting = registration.conversion
    how = {"image": converting.image, "hasLock": converting.has_lock} if converting else registration.unconverted
    if how:
        notes[CONVERSION_ANNOTATION] = json.dumps(how, sort_keys=True)
    made["metadata"]["annotations"] = notes
    return made


def known(registration: Registration) -> Json:
    """The facts of the source: by them the registration goes on when its run is deleted meanwhile."""
    return {
        "artifact": registration.artifact,
        "lineage": registration.lineage,
        "metrics": registration.metrics,
        "parameters": registration.parameters,
        "profiles": registration.profiles,
    }


def stopped_job(model: Address, job: Json, why: str) -> Json:
    """The Job, suspended for good: its controller ends its pod."""
    made = manifest(JOB, model, job["metadata"]["name"], COMPONENT, spec={"suspend": True})
    made["metadata"]["annotations"] = {STOPPED: why}
    return made


def _pod(registration: Registration) -> Json:
    workspace = registration.workspace_spec
    volumes = [
        annotation_file("registration", ANNOTATION, "registration.json"),
        scratch("source", "100Gi"),
        *conversion_volumes(registration.conversion, registration.place),
        scratch("tmp", "2Gi"),
    ]
    if workspace.trust_bundle:
        volumes.append(config_map("trust", workspace.trust_bundle.config_map))
    if workspace.signing:
        volumes.append(secret("signing", workspace.signing.key_secret))
    if registration.spec.source.credentials_secret:
        # Without it the container says that it is missing, and is tried again.
        volumes.append(secret("credentials", registration.spec.source.credentials_secret))
        volumes[-1]["secret"]["optional"] = True
    return pod_spec(
        service_account_name(registration.workspace.name),
        volumes,
        initContainers=[
            _step(registration, SOURCE, "scoring", "--into"),
            *conversion_containers(registration.conversion, registration.place),
        ],
        containers=[_step(registration, REGISTER, "registry", "--source")],
        restartPolicy="Never",
        terminationGracePeriodSeconds=10,
    )


def _step(registration: Registration, name: str, user: str, folder: str) -> Json:
    workspace = registration.workspace_spec
    server = access(registration.workspace, workspace, user)
    mounts = [
        mount("registration", _CONTRACT, read_only=True),
        mount("source", _MODEL, read_only=name != SOURCE),
        mount("converted", CONVERTED, read_only=True),
        mount("tmp", "/tmp"),  # noqa: S108
    ]
    if workspace.trust_bundle:
        mounts.append(mount("trust", preparing.TRUST, read_only=True))
    if registration.spec.source.credentials_secret and name == SOURCE:
        mounts.append(mount("credentials", _CREDENTIALS, read_only=True))
    if workspace.signing and name == REGISTER:
        mounts.append(mount("signing", _SIGNING, read_only=True))
    return container(
        name,
        registration.trainer_image,
        registration.pull_policy,
        mounts,
        args=[
            *("registration", name, "--contract", f"{_CONTRACT}/registration.json", folder, _MODEL),
            *(("--converted", CONVERTED) if name == REGISTER else ()),
        ],
        env=[
            *USER_NAME,
            variable("HOME", "/tmp"),  # noqa: S108
            variable("TMPDIR", "/tmp"),  # noqa: S108
            variable("SMALT_TRACKING_URI", server.uri),
            *server.username("SMALT_TRACKING_USERNAME"),
            *server.password("SMALT_TRACKING_PASSWORD"),
            *preparing.trust_variables(workspace),
        ],
        resources=_RESOURCES,
        terminationMessagePolicy="File",
    )
