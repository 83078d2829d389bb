"""The children of a Deployment: pods that answer requests, behind a Service and a key."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from smalt.api.deployment import (
    DEFAULT_BODY_BYTES,
    DEFAULT_CONCURRENCY,
    DEFAULT_QUEUE_WAIT,
    DEFAULT_REQUEST_TIMEOUT,
    DeploymentSpec,
    Probe,
    RequestSettings,
)
from smalt.api.durations import seconds
from smalt.api.kinds import APPS_DEPLOYMENT, NETWORK_POLICY, SECRET, SERVICE
from smalt.api.references import Address
from smalt.api.schema import Json
from smalt.api.workspace import InstanceType, WorkspaceSpec
from smalt.builders import preparing
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
    secret,
    variable,
)
from smalt.builders.tracking import access, service_account_name

ANNOTATION = "smalt.dev/scoring"
# Contract, mounted code and the pod itself by content: an edited score script rolls the pods, and what a pod was made
# from can be told from it.
CONTENTS_ANNOTATION = "smalt.dev/contents-digest"
MODEL_ANNOTATION = "smalt.dev/model"
CONTAINER = "scoring"
PORT = 8080
KEYS = ("primaryKey", "secondaryKey")
_CONTRACT = "/smalt/scoring/scoring.json"


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


def needs_packages(spec: DeploymentSpec) -> bool:
    return spec.environment is not None and spec.environment.has_any


def config_maps(spec: DeploymentSpec, workspace: WorkspaceSpec | None) -> list[str]:
    """The ConfigMaps that the pods mount; the workspace's too when it is known."""
    named = [spec.code_configuration.code.config_map] if spec.code_configuration else []
    if workspace and workspace.trust_bundle and needs_packages(spec):
        named.append(workspace.trust_bundle.config_map)
    return sorted({name for name in named if name})


def key_name(deployment: str) -> str:
    return f"{deployment}-key"


def selector(deployment: Address) -> dict[str, str]:
    return {deployment.kind.label: deployment.name}


def scoring_uri(deployment: Address) -> str:
    return f"http://{deployment.name}.{deployment.namespace}/score"


def code_digest(config_map: Json | None) -> str:
    """Names a ConfigMap's content; the same for the same files."""
    content = {key: (config_map or {}).get(key, {}) for key in ("data", "binaryData")}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def key_secret(deployment: Address) -> Json:
    """Without its values, which are drawn when it is made."""
    return manifest(SECRET, deployment, key_name(deployment.name), type="Opaque")


def scoring_service(deployment: Address) -> Json:
    ports = [{"name": "http", "port": 80, "targetPort": PORT, "protocol": "TCP"}]
    return manifest(SERVICE, deployment, deployment.name, spec={"selector": selector(deployment), "ports": ports})


def scoring_network_policy(deployment: Address) -> Json:
    """Everybody may ask, on the one port; who is answered is decided by the key."""
    spec: Json = {
        "podSelector": {"matchLabels": selector(deployment)},
        "policyTypes": ["Ingress"],
        "ingress": [{"ports": [{"port": PORT, "protocol": "TCP"}]}],
    }
    return manifest(NETWORK_POLICY, deployment, deployment.name, spec=spec)


def contract(scoring: Scoring) -> Json:
    """What the scorer reads as /smalt/scoring/scoring.json (version 1)."""
    spec, model = scoring.spec, scoring.model
    configuration = spec.code_configuration
    artifact = model["status"]["artifact"]
    environment = spec.environment.model_dump(by_alias=True, exclude_none=True) if spec.environment else None
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
        },
        "output": model["spec"]["source"]["output"],
        "code": code,
        "scoringScript": configuration.scoring_script if configuration else None,
        "environment": environment,
        "environmentVariables": spec.environment_variables or {},
        "authMode": spec.auth_mode or "key",
        "requestSettings": _request_settings(spec.request_settings or RequestSettings()),
    }


def _request_settings(given: RequestSettings) -> Json:
    return {
        "requestTimeoutSeconds": seconds(given.request_timeout or DEFAULT_REQUEST_TIMEOUT),
        "maxConcurrentRequests": given.max_concurrent_requests_per_instance or DEFAULT_CONCURRENCY,
        "maxQueueWaitSeconds": seconds(given.max_queue_wait or DEFAULT_QUEUE_WAIT),
        "maxBodyBytes": given.max_body_bytes or DEFAULT_BODY_BYTES,
    }


def scoring_deployment(scoring: Scoring) -> Json:
    """TooLarge when a pod cannot carry the contract."""
    deployment = scoring.deployment
    text, pod = contract_text(contract(scoring)), _pod(scoring)
    contents = json.dumps([text, scoring.code_digest, pod], sort_keys=True)
    template: Json = {
        "metadata": {
            "labels": labels_of(deployment, "scoring"),
            "annotations": {
                ANNOTATION: text,
                CONTENTS_ANNOTATION: hashlib.sha256(contents.encode()).hexdigest()[:16],
                MODEL_ANNOTATION: scoring.model["metadata"]["name"],
            },
        },
        "spec": pod,
    }
    spec: Json = {
        "replicas": 1 if scoring.spec.replicas is None else scoring.spec.replicas,
        "selector": {"matchLabels": selector(deployment)},
        # The old pods answer until as many new ones do.
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "template": template,
    }
    return manifest(APPS_DEPLOYMENT, deployment, deployment.name, "scoring", spec=spec)


def _probe(given: Probe | None, path: str, failures: int) -> Json:
    """Azure's words in Kubernetes' seconds, which are whole and at least one (a delay may be zero)."""
    probe = given or Probe()
    return {
        "httpGet": {"path": path, "port": PORT},
        "periodSeconds": max(1, round(seconds(probe.period or "10s"))),
        "initialDelaySeconds": round(seconds(probe.initial_delay)) if probe.initial_delay else 0,
        "timeoutSeconds": max(1, round(seconds(probe.timeout or "2s"))),
        "successThreshold": probe.success_threshold or 1,
        "failureThreshold": probe.failure_threshold or failures,
    }


def _pod(scoring: Scoring) -> Json:
    spec = scoring.spec
    volumes = [
        annotation_file("scoring", ANNOTATION, "scoring.json"),
        scratch("model", "10Gi"),
        scratch("work", "1Gi"),
        scratch("home", "1Gi"),
        scratch("tmp", "1Gi"),
    ]
    mounts = [
        mount("scoring", "/smalt/scoring", read_only=True),
        mount("model", "/smalt/model", read_only=True),
        mount("work", "/smalt/work"),
        mount("home", "/smalt/home"),
        mount("tmp", "/tmp"),  # noqa: S108
    ]
    code_mount: list[Json] = []
    if spec.code_configuration and spec.code_configuration.code.config_map:
        volumes.append(config_map("code", spec.code_configuration.code.config_map))
        code_mount = [mount("code", "/smalt/code", read_only=True)]
    if (spec.auth_mode or "key") == "key":
        volumes.append(secret("keys", key_name(scoring.deployment.name)))
        mounts.append(mount("keys", "/smalt/keys", read_only=True))
    if scoring.workspace_spec.trust_bundle:
        volumes.append(config_map("trust", scoring.workspace_spec.trust_bundle.config_map))
    inits = [_fetching(scoring)]
    if needs_packages(spec):
        volumes += [scratch("tools", "256Mi"), *preparing.volumes(scoring.workspace, scoring.workspace_spec)]
        mounts.append(preparing.environment_mount(read_only=True))
        inits += [_tools(scoring), _environment(scoring, code_mount)]
    serving = container(
        CONTAINER,
        scoring.scorer_image,
        scoring.pull_policy,
        mounts + code_mount,
        args=["serve", "--contract", _CONTRACT, "--model-root", "/smalt/model"],
        env=[*USER_NAME, variable("HOME", "/smalt/home"), variable("TMPDIR", "/tmp")],  # noqa: S108
        ports=[{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
        resources=resources(spec.resources) or resources(scoring.instance.resources),
        workingDir="/smalt/work",
        # Loading a model may take its time; until it is done only this probe is asked.
        startupProbe={"httpGet": {"path": "/readyz", "port": PORT}, "periodSeconds": 1, "failureThreshold": 600},
        readinessProbe=_probe(spec.readiness_probe, "/readyz", 3),
        livenessProbe=_probe(spec.liveness_probe, "/healthz", 30),
        terminationMessagePolicy="File",
    )
    return pod_spec(
        service_account_name(scoring.workspace.name),
        volumes,
        initContainers=inits,
        containers=[serving],
        terminationGracePeriodSeconds=30,
        **placement(scoring.instance),
    )


def _fetching(scoring: Scoring) -> Json:
    server = access(scoring.workspace, scoring.workspace_spec, "scoring")
    trust = [mount("trust", preparing.TRUST, read_only=True)] if scoring.workspace_spec.trust_bundle else []
    own = [mount("scoring", "/smalt/scoring", read_only=True), mount("model", "/smalt/model"), mount("tmp", "/tmp")]  # noqa: S108
    return container(
        "model",
        scoring.scorer_image,
        scoring.pull_policy,
        [*own, *trust],
        args=["fetch", "--contract", _CONTRACT, "--into", "/smalt/model"],
        env=[
            variable("SMALT_TRACKING_URI", server.uri),
            *server.username("SMALT_TRACKING_USERNAME"),
            *server.password("SMALT_TRACKING_PASSWORD"),
            *preparing.trust_variables(scoring.workspace_spec),
        ],
        resources=_INIT_RESOURCES,
    )


_INIT_RESOURCES: Json = {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}}


def _tools(scoring: Scoring) -> Json:
    return container(
        "tools",
        scoring.trainer_image,
        scoring.pull_policy,
        [mount("tools", "/smalt/tools")],
        args=["install", "/smalt/tools"],
        resources=_INIT_RESOURCES,
    )


def _environment(scoring: Scoring, code_mount: list[Json]) -> Json:
    """What the scorer's image lacks."""
    mounts = [
        mount("scoring", "/smalt/scoring", read_only=True),
        mount("tools", "/smalt/tools", read_only=True),
        mount("home", "/smalt/home"),
        mount("tmp", "/tmp"),  # noqa: S108
        *code_mount,
    ]
    if scoring.workspace_spec.trust_bundle:
        mounts.append(mount("trust", preparing.TRUST, read_only=True))
    spec, image, policy = scoring.workspace_spec, scoring.scorer_image, scoring.pull_policy
    return preparing.environment_container(spec, image, policy, _CONTRACT, mounts, _INIT_RESOURCES)
