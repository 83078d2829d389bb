"""Deployment (modeldeployments.smalt.dev): a model being served."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from smalt.api.code import (
    CONDA_INSTEAD,
    ONE_PACKAGE_SOURCE,
    PIP_INSTEAD,
    EnvironmentVariables,
    MountedCode,
    Packages,
    Resources,
    file_among_inline,
)
from smalt.api.experiment import IMMUTABLE_WORKSPACE
from smalt.api.schema import Duration, Json, Name, ObjectName, RelativePath, SmaltModel, rule, rules
from smalt.api.status import Status
from smalt.api.training_run import BuiltEnvironment

DEFAULT_REQUEST_TIMEOUT = "5s"
DEFAULT_CONCURRENCY = 64
DEFAULT_QUEUE_WAIT = "500ms"
DEFAULT_BODY_BYTES = 10485760


class ModelReference(SmaltModel):
    """Which version is served."""

    model_config = {
        "json_schema_extra": rules(
            rule(
                "has(self.version) != has(self.stage)",
                message="model takes exactly one of version (a number, which stays) and stage (whose highest version "
                "is followed), such as {name: churn, version: 3}",
            )
        )
    }

    name: Name
    """The model's name."""
    version: Annotated[int, Field(ge=1, le=999999)] | None = None
    """This version and no other."""
    stage: Literal["Staging", "Production", "Archived"] | None = None
    """The highest version of this stage that is Ready, followed automatically."""


class CodeConfiguration(SmaltModel):
    """The score script."""

    model_config = {
        "json_schema_extra": rules(
            rule(
                "!has(self.code.inline) || self.scoringScript in self.code.inline",
                says='"scoringScript names \'" + self.scoringScript + "\', which is not among code.inline: add it there"',
            )
        )
    }

    code: MountedCode
    """Its files."""
    scoring_script: RelativePath
    """The script's path in the code; it has `init()` and `run(raw_data)`."""


class ScoringEnvironment(Packages):
    """Packages on top of the scorer image; without any named here, those that the model was trained with."""

    model_config = {"json_schema_extra": rules(ONE_PACKAGE_SOURCE)}

    allow_skew: bool | None = None
    """Whether the model is served with another minor version of numpy or scikit-learn than it was written with, which may
    read it as something else; false when absent, and the pods say which version differs."""


class RequestSettings(SmaltModel):
    """How requests are treated."""

    request_timeout: Duration | None = None
    """How long one `run()` may take; 5s when absent."""
    max_concurrent_requests_per_instance: Annotated[int, Field(ge=1, le=100000)] | None = None
    """How many requests a pod takes at a time; 64 when absent."""
    max_queue_wait: Duration | None = None
    """How long a request may wait for its turn before it is answered 503; 500ms when absent."""
    max_body_bytes: Annotated[int, Field(ge=1, le=1073741824)] | None = None
    """The largest body that is read; 10485760 (10 MiB) when absent."""


class Probe(SmaltModel):
    """When a pod counts as alive or ready, in Azure's words."""

    period: Duration | None = None
    """How often it is asked; 10s when absent."""
    initial_delay: Duration | None = None
    """How long it is left alone at first; 0s when absent."""
    timeout: Duration | None = None
    """How long an answer may take; 2s when absent."""
    success_threshold: Annotated[int, Field(ge=1, le=100)] | None = None
    """How many good answers in a row count; 1 when absent."""
    failure_threshold: Annotated[int, Field(ge=1, le=1000)] | None = None
    """How many bad answers in a row count; 3 when absent (30 for liveness)."""


def _needs_code(field: str, instead: str) -> Json:
    return rule(
        f"!has(self.environment) || !has(self.environment.{field}) || has(self.codeConfiguration)",
        message=f"environment.{field} is a path in codeConfiguration.code, which is absent: add the code, or write {instead}",
    )


def _among_inline(field: str, instead: str) -> Json:
    found = file_among_inline(field, "codeConfiguration.code", instead)
    return found | {"rule": f"!has(self.codeConfiguration) || {found['rule']}"}


class DeploymentSpec(SmaltModel):
    """What is served, and how."""

    model_config = {
        "json_schema_extra": rules(
            IMMUTABLE_WORKSPACE,
            _needs_code("condaFile", CONDA_INSTEAD),
            _needs_code("requirementsFile", PIP_INSTEAD),
            _among_inline("condaFile", CONDA_INSTEAD),
            _among_inline("requirementsFile", PIP_INSTEAD),
            rule(
                "!has(self.livenessProbe) || !has(self.livenessProbe.successThreshold) || "
                "self.livenessProbe.successThreshold == 1",
                message="livenessProbe.successThreshold can only be 1: leave it out, or set it for readinessProbe",
            ),
            rule(
                "!has(self.optimize) || self.optimize != 'onnx' || !has(self.codeConfiguration)",
                message="optimize: onnx is for models that are served without a score script, which loads the model's own "
                "files: leave out optimize, or codeConfiguration",
            ),
        )
    }

    workspace: Name
    """The Workspace that holds the model; cannot be changed."""
    model: ModelReference
    """Which version is served."""
    target: Literal["kubernetes"] | None = None
    """Where it is served: kubernetes, in pods of this namespace."""
    code_configuration: CodeConfiguration | None = None
    """The score script; without one the model is served directly: joblib, skops, ONNX or MLflow."""
    environment: ScoringEnvironment | None = None
    """Packages that the script needs besides the scorer image's; those of the model's training when absent."""
    environment_variables: EnvironmentVariables | None = None
    """Variables of the script's process."""
    resources: Resources | None = None
    """What a pod asks for and may use; the instance type's when absent."""
    instance_type: Annotated[str, Field(max_length=63)] | None = None
    """The compute target, from the Workspace's instanceTypes; `default` when absent."""
    # Defaulted by the API server, as apps/v1 does it: the scale subresource has no answer for a field that is not there.
    replicas: Annotated[int, Field(ge=0, le=1000, json_schema_extra={"x-smalt-default": 1})] | None = None
    """How many pods; 1 when absent."""
    auth_mode: Literal["key", "none"] | None = None
    """key (the default): `Authorization: Bearer <key>` with a key from the Secret `<name>-key`; none: everybody may ask."""
    tls_secret: ObjectName | None = None
    """A Secret of type kubernetes.io/tls: the pods then serve https with its certificate, at port 443 of the Service, and take
    over what it is renewed to; plain http at port 80 when absent."""
    request_settings: RequestSettings | None = None
    """How requests are treated."""
    optimize: Literal["none", "onnx"] | None = None
    """onnx: ONNX Runtime serves the model, where its registration has converted it; else it is served as it is, and the
    condition Optimized says why. none when absent."""
    batching: Literal["Auto", "Off"] | None = None
    """Auto (the default): requests that wait for the model go through it together, where each gets the answer that it would
    have got alone; Off: one after the other."""
    liveness_probe: Probe | None = None
    """When a pod is restarted."""
    readiness_probe: Probe | None = None
    """When a pod gets requests."""


class DeploymentStatus(Status):
    """What answers now."""

    replicas: Annotated[int, Field(ge=0)] | None = None
    """How many pods there are."""
    ready_replicas: Annotated[int, Field(ge=0)] | None = None
    """How many of them answer."""
    selector: str | None = None
    """The pods' labels, for the scale subresource."""
    effective_model: str | None = None
    """The Model that answers now, whatever the spec asks for."""
    scoring_uri: str | None = None
    """The address inside the cluster."""
    environment: BuiltEnvironment | None = None
    """The image of the packages, where the Workspace has images built."""


class Deployment(SmaltModel):
    """A deployment: a registered model being served behind a key. `kubectl get modeldeployments`."""

    spec: DeploymentSpec
    """What is served, and how."""
    status: DeploymentStatus | None = None
    """What the operator last saw."""
