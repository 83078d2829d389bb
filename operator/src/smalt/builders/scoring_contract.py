"""What a Deployment's pods are told: the model, who it is served by, and within which limits."""

from __future__ import annotations

from dataclasses import dataclass

from smalt.api.deployment import (
    DEFAULT_BODY_BYTES,
    DEFAULT_CONCURRENCY,
    DEFAULT_QUEUE_WAIT,
    DEFAULT_REQUEST_TIMEOUT,
    DeploymentSpec,
    RequestSettings,
)
from smalt.api.durations import seconds
from smalt.api.references import Address
from smalt.api.schema import Json
from smalt.api.workspace import InstanceType, WorkspaceSpec
from smalt.builders import run_lock

# Files that every version of numpy and scikit-learn reads alike, since neither does.
_INDEPENDENT = ("onnx", "safetensors")


@dataclass(frozen=True)
class Scoring:
    """All that a Deployment's children are made from."""

    deployment: Address
    spec: DeploymentSpec
    model: Json
    workspace: Address
    workspace_spec: WorkspaceSpec
    instance: InstanceType
    code_digest: str
    scorer_image: str
    trainer_image: str
    pull_policy: str
    # The scorer image with the packages in it, where one was built, and the Job that built it.
    built_image: str = ""
    # The Model's ONNX, where that is what is served.
    onnx: Json | None = None

    @property
    def run_lock(self) -> run_lock.RunLock | None:
        """The packages of the training, where the Deployment names none of its own; ONNX needs none of them."""
        return None if names_packages(self.spec) or self.onnx else run_lock.of_model(self.model)

    @property
    def format(self) -> str | None:
        """What the files are, where it is known before they are looked at."""
        return "onnx" if self.onnx else self.model["spec"].get("format")

    @property
    def needs_packages(self) -> bool:
        """Whether there are any on top of the scorer image's."""
        return names_packages(self.spec) or self.run_lock is not None


def names_packages(spec: DeploymentSpec) -> bool:
    return spec.environment is not None and spec.environment.has_any


def contract(scoring: Scoring) -> Json:
    """What the scorer reads as /smalt/scoring/scoring.json (version 1)."""
    spec, model = scoring.spec, scoring.model
    configuration = spec.code_configuration
    artifact = scoring.onnx or model["status"]["artifact"]
    code = None
    if configuration:
        inline = configuration.code.inline
        code = {"inline": inline} if inline is not None else {"folder": "/smalt/code"}
    return {
        "version": 1,
        "deployment": {"namespace": scoring.deployment.namespace, "name": scoring.deployment.name},
        "model": {
            "name": model["spec"]["name"],
            "version": model["spec"]["version"],
            "object": model["metadata"]["name"],
            "uri": artifact["uri"],
            "digest": artifact["digest"],
            **({"format": scoring.format} if scoring.format else {}),
        },
        # What is imported lies in a folder of this name, as an output of a run does in one of its own.
        "output": "onnx" if scoring.onnx else model["spec"]["source"].get("output") or "model",
        **_schema(scoring),
        "code": code,
        "scoringScript": configuration.scoring_script if configuration else None,
        "environment": packages(scoring),
        **_trained_in(scoring),
        "environmentVariables": spec.environment_variables or {},
        "authMode": spec.auth_mode or "key",
        "batching": spec.batching or "Auto",
        **({"signing": True} if scoring.workspace_spec.signing else {}),
        "requestSettings": _request_settings(spec.request_settings or RequestSettings()),
    }


def _schema(scoring: Scoring) -> Json:
    """What requests are checked against; a score script's body is its own matter."""
    found = scoring.model["status"].get("schema")
    if scoring.spec.code_configuration or not found:
        return {}
    return {"schema": {"uri": found["uri"], "digest": found["digest"]}}


def packages(scoring: Scoring) -> Json | None:
    """What is asked for, as a contract says it."""
    if scoring.run_lock:
        return run_lock.asked()
    environment = scoring.spec.environment
    return environment.model_dump(by_alias=True, exclude_none=True, exclude={"allow_skew"}) if environment else None


def _trained_in(scoring: Scoring) -> Json:
    """What the model was written with, and the packages of its training where those are installed."""
    found = scoring.model["status"].get("environment") or {}
    lock = scoring.run_lock if not scoring.built_image else None
    made: Json = {"lock": {"uri": lock.uri, "digest": lock.digest}} if lock else {}
    is_independent = scoring.onnx or scoring.model["status"].get("format") in _INDEPENDENT
    if found.get("versions") and not is_independent:
        made["writtenWith"] = found["versions"]
    environment = scoring.spec.environment
    return made | ({"allowSkew": True} if environment and environment.allow_skew else {})


def _request_settings(given: RequestSettings) -> Json:
    return {
        "requestTimeoutSeconds": seconds(given.request_timeout or DEFAULT_REQUEST_TIMEOUT),
        "maxConcurrentRequests": given.max_concurrent_requests_per_instance or DEFAULT_CONCURRENCY,
        "maxQueueWaitSeconds": seconds(given.max_queue_wait or DEFAULT_QUEUE_WAIT),
        "maxBodyBytes": given.max_body_bytes or DEFAULT_BODY_BYTES,
    }
