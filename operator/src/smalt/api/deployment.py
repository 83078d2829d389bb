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
from smalt.api.schema import Duration, Json, Name, RelativePath, SmaltModel, rule, rules
from smalt.api.status import Status

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
    """Packages on top of the scorer image."""

    model_config = {"json_schema_extra": rules(ONE_PACKAGE_SOURCE)}


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
        )
    }

    workspace: Name
    """The Workspace that holds the model; cannot be changed."""
    model: ModelReference
    """Which version is served."""
    target: Literal["kubernetes"] | None = None
    """Where it is served: kubernetes, in pods of this namespace."""
    code_configuration: CodeConfiguration | None = None
    """The score script; without one a joblib model is served directly."""
    environment: ScoringEnvironment | None = None
    """Packages that the script needs besides the scorer image's."""
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
    request_settings: RequestSettings | None = None
    """How requests are treated."""
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


class Deployment(SmaltModel):
    """A deployment: a registered model being served behind a key. `kubectl get modeldeployments`."""

    spec: DeploymentSpec
    """What is served, and how."""
    status: DeploymentStatus | None = None
    """What the operator last saw."""
