"""The children of a Deployment: pods that answer requests, behind a Service and a key."""

from __future__ import annotations

import hashlib
import json

from smalt.api.code import Code
from smalt.api.deployment import (
    DeploymentSpec,
    Probe,
)
from smalt.api.durations import seconds
from smalt.api.kinds import APPS_DEPLOYMENT, NETWORK_POLICY, SECRET, SERVICE
from smalt.api.references import Address
from smalt.api.schema import Json
from smalt.api.training_run import RunEnvironment, TrainingRunSpec
from smalt.api.workspace import WorkspaceSpec
from smalt.builders import preparing, run_lock
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
    secret_file,
    variable,
)
from smalt.builders.scoring_contract import Scoring, contract, names_packages, packages
from smalt.builders.tracking import service_account_name
from smalt.builders.training_job import Attempt

ANNOTATION = "smalt.dev/scoring"
# Contract, mounted code and the pod itself by content: an edited score script rolls the pods, and what a pod was made
# from can be told from it.
CONTENTS_ANNOTATION = "smalt.dev/contents-digest"
MODEL_ANNOTATION = "smalt.dev/model"
CONTAINER, FETCHING = "scoring", "model"
PORT = 8080
KEYS = ("primaryKey", "secondaryKey")
_CONTRACT = "/smalt/scoring/scoring.json"
PUBLIC_KEY = "public.pem"
_SIGNING, _TLS = "/smalt/signing", "/smalt/tls"


def config_maps(spec: DeploymentSpec, workspace: WorkspaceSpec | None) -> list[str]:
    """The ConfigMaps that the pods mount; the workspace's too when it is known."""
    named = [spec.code_configuration.code.config_map] if spec.code_configuration else []
    if workspace and workspace.trust_bundle:
        named.append(workspace.trust_bundle.config_map)
    return sorted({name for name in named if name})


def key_name(deployment: str) -> str:
    return f"{deployment}-key"


def selector(deployment: Address) -> dict[str, str]:
    return {deployment.kind.label: deployment.name}


def scoring_uri(deployment: Address, spec: DeploymentSpec) -> str:
    return f"http{'s' if spec.tls_secret else ''}://{deployment.name}.{deployment.namespace}/score"


def code_digest(config_map: Json | None) -> str:
    """Names a ConfigMap's content; the same for the same files."""
    content = {key: (config_map or {}).get(key, {}) for key in ("data", "binaryData")}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def key_secret(deployment: Address) -> Json:
    """Without its values, which are drawn when it is made."""
    return manifest(SECRET, deployment, key_name(deployment.name), type="Opaque")


def scoring_service(deployment: Address, spec: DeploymentSpec) -> Json:
    """At the port that the scheme has by itself."""
    name, port = ("https", 443) if spec.tls_secret else ("http", 80)
    ports = [{"name": name, "port": port, "targetPort": PORT, "protocol": "TCP"}]
    return manifest(SERVICE, deployment, deployment.name, spec={"selector": selector(deployment), "ports": ports})


def scoring_network_policy(deployment: Address) -> Json:
    """Everybody may ask, on the one port; who is answered is decided by the key."""
    spec: Json = {
        "podSelector": {"matchLabels": selector(deployment)},
        "policyTypes": ["Ingress"],
        "ingress": [{"ports": [{"port": PORT, "protocol": "TCP"}]}],
    }
    return manifest(NETWORK_POLICY, deployment, deployment.name, spec=spec)


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


def _asking(spec: DeploymentSpec, path: str) -> Json:
    """What a probe asks. The kubelet takes any certificate."""
    return {"path": path, "port": PORT} | ({"scheme": "HTTPS"} if spec.tls_secret else {})


def _probe(spec: DeploymentSpec, given: Probe | None, path: str, failures: int) -> Json:
    """Azure's words in Kubernetes' seconds, which are whole and at least one (a delay may be zero)."""
    probe = given or Probe()
    return {
        "httpGet": _asking(spec, path),
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
    if spec.tls_secret:
        # Without it the pod starts all the same, and says what is missing.
        volumes.append(secret("tls", spec.tls_secret))
        volumes[-1]["secret"]["optional"] = True
        mounts.append(mount("tls", _TLS, read_only=True))
    if scoring.workspace_spec.trust_bundle:
        volumes.append(config_map("trust", scoring.workspace_spec.trust_bundle.config_map))
    if scoring.workspace_spec.signing:
        # Of its Secret the public key alone: what signs is nowhere near what serves.
        volumes.append(secret_file("signing", scoring.workspace_spec.signing.key_secret, PUBLIC_KEY))
    inits = [_fetching(scoring)]
    if scoring.needs_packages and not scoring.built_image:
        volumes += [scratch("tools", "256Mi"), *preparing.volumes(scoring.workspace, scoring.workspace_spec)]
        volumes += [run_lock.volume()] if scoring.run_lock else []
        mounts.append(preparing.environment_mount(read_only=True))
        inits += [_tools(scoring), _environment(scoring, code_mount)]
    return pod_spec(
        service_account_name(scoring.workspace.name),
        volumes,
        initContainers=inits,
        containers=[_serving(scoring, mounts + code_mount)],
        terminationGracePeriodSeconds=30,
        **placement(scoring.instance),
    )


def _serving(scoring: Scoring, mounts: list[Json]) -> Json:
    spec = scoring.spec
    return container(
        CONTAINER,
        scoring.built_image or scoring.scorer_image,
        scoring.pull_policy,
        mounts,
        args=[
            "serve",
            "--contract",
            _CONTRACT,
            "--model-root",
            "/smalt/model",
            *(["--tls", _TLS] if spec.tls_secret else []),
        ],
        env=[*USER_NAME, variable("HOME", "/smalt/home"), variable("TMPDIR", "/tmp")],  # noqa: S108
        ports=[{"name": "https" if spec.tls_secret else "http", "containerPort": PORT, "protocol": "TCP"}],
        resources=resources(spec.resources) or resources(scoring.instance.resources),
        workingDir="/smalt/work",
        # Loading a model may take its time; until it is done only this probe is asked.
        startupProbe={"httpGet": _asking(spec, "/readyz"), "periodSeconds": 1, "failureThreshold": 600},
        readinessProbe=_probe(spec, spec.readiness_probe, "/readyz", 3),
        livenessProbe=_probe(spec, spec.liveness_probe, "/healthz", 30),
        terminationMessagePolicy="File",
    )


def _fetching(scoring: Scoring) -> Json:
    trust = [mount("trust", preparing.TRUST, read_only=True)] if scoring.workspace_spec.trust_bundle else []
    signing = [mount("signing", _SIGNING, read_only=True)] if scoring.workspace_spec.signing else []
    own = [mount("scoring", "/smalt/scoring", read_only=True), mount("model", "/smalt/model"), mount("tmp", "/tmp")]  # noqa: S108
    lock = [run_lock.lock_mount(read_only=False)] if scoring.run_lock and not scoring.built_image else []
    return container(
        FETCHING,
        scoring.scorer_image,
        scoring.pull_policy,
        [*own, *trust, *signing, *lock],
        args=["fetch", "--contract", _CONTRACT, "--into", "/smalt/model"],
        env=run_lock.store_variables(scoring.workspace, scoring.workspace_spec),
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
        *([run_lock.lock_mount()] if scoring.run_lock else []),
    ]
    if scoring.workspace_spec.trust_bundle:
        mounts.append(mount("trust", preparing.TRUST, read_only=True))
    spec, image, policy = scoring.workspace_spec, scoring.scorer_image, scoring.pull_policy
    making = preparing.making(_CONTRACT)
    return preparing.environment_container(spec, image, policy, making, mounts, _INIT_RESOURCES)


def environment_attempt(scoring: Scoring, uid: str) -> Attempt:
    """What the Job that builds images takes, for the packages of this Deployment on top of the scorer image."""
    spec, configuration = scoring.spec, scoring.spec.code_configuration
    named = packages(scoring) if names_packages(spec) else None
    mounted = configuration.code.model_dump(exclude_none=True) if configuration else {"inline": {"none": ""}}
    return Attempt(
        run=scoring.deployment,
        uid=uid,
        number=1,
        spec=TrainingRunSpec(
            experiment=scoring.deployment.name,
            code=Code.model_validate(mounted),
            command="true",
            environment=RunEnvironment.model_validate({**(named or {}), "image": scoring.scorer_image}),
        ),
        workspace=scoring.workspace,
        workspace_spec=scoring.workspace_spec,
        instance=scoring.instance,
        trainer_image=scoring.trainer_image,
        pull_policy=scoring.pull_policy,
        lock=scoring.run_lock,
        scorer_image=scoring.scorer_image,
    )
