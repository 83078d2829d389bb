"""The children of a Workspace: a stock MLflow server with authentication, and what it needs."""

from __future__ import annotations

from smalt.api.kinds import (
    APPS_DEPLOYMENT,
    CLAIM,
    MANAGED_BY,
    MANAGER,
    NETWORK_POLICY,
    SECRET,
    SERVICE,
    SERVICE_ACCOUNT,
)
from smalt.api.references import Address
from smalt.api.schema import Json
from smalt.api.workspace import DEFAULT_SIZE, WorkspaceSpec
from smalt.builders.manifests import labels_of, manifest
from smalt.builders.pods import container, mount, pod_spec, scratch, secret, variable
from smalt.builders.volumes import kept_claim

PORT = 5000
COMPONENT = "tracking"
SECRET_KEYS = ("admin-password", "runs-password", "scoring-password", "flask-secret-key")
# A re-made Secret gets a new UID: with it in the template, the server starts again with the new passwords.
SECRET_ANNOTATION = "smalt.dev/tracking-secret"  # noqa: S105


def child_name(workspace: str) -> str:
    """The name that the tracking server's Deployment, Service, Secret, claim and policy share."""
    return f"{workspace}-tracking"


def service_account_name(workspace: str) -> str:
    return f"{workspace}-run"


def tracking_uri(workspace: Address) -> str:
    """The server's address inside the cluster."""
    return f"http://{child_name(workspace.name)}.{workspace.namespace}:{PORT}"


def tracking_secret(workspace: Address) -> Json:
    """Without its values, which are drawn when it is made."""
    return manifest(SECRET, workspace, child_name(workspace.name), COMPONENT, type="Opaque")


def tracking_claim(workspace: Address, spec: WorkspaceSpec, present: Json | None = None) -> Json:
    """A claim that is there, kept from an earlier Workspace or grown by somebody, neither shrinks nor moves."""
    storage = spec.storage
    size = str(storage.size if storage and storage.size is not None else DEFAULT_SIZE)
    named = storage.storage_class_name if storage else None
    wanted: Json = {"accessModes": ["ReadWriteOnce"], **kept_claim(size, named, present)}
    return manifest(CLAIM, workspace, child_name(workspace.name), COMPONENT, spec=wanted)


def run_service_account(workspace: Address) -> Json:
    """The account of run and scoring pods: it has no rights, and no token is mounted."""
    made = manifest(SERVICE_ACCOUNT, workspace, service_account_name(workspace.name))
    return made | {"automountServiceAccountToken": False}


def tracking_service(workspace: Address) -> Json:
    spec: Json = {
        "selector": labels_of(workspace, COMPONENT),
        "ports": [{"name": "http", "port": PORT, "targetPort": PORT, "protocol": "TCP"}],
    }
    return manifest(SERVICE, workspace, child_name(workspace.name), COMPONENT, spec=spec)


def tracking_network_policy(workspace: Address) -> Json:
    """Only pods that the operator made in this namespace reach the server (a port-forward comes through the node)."""
    spec: Json = {
        "podSelector": {"matchLabels": labels_of(workspace, COMPONENT)},
        "policyTypes": ["Ingress"],
        "ingress": [
            {
                "from": [{"podSelector": {"matchLabels": {MANAGED_BY: MANAGER}}}],
                "ports": [{"port": PORT, "protocol": "TCP"}],
            }
        ],
    }
    return manifest(NETWORK_POLICY, workspace, child_name(workspace.name), COMPONENT, spec=spec)


def allowed_hosts(workspace: Address, domain: str) -> str:
    """Every form of the Service's name, and localhost for a port-forward on any port."""
    name, namespace = child_name(workspace.name), workspace.namespace
    forms = (name, f"{name}.{namespace}", f"{name}.{namespace}.svc", f"{name}.{namespace}.svc.{domain}")
    services = [f"{form}:{PORT}" for form in forms]
    return ",".join([*services, "localhost", "localhost:*", "127.0.0.1", "127.0.0.1:*"])


def tracking_deployment(workspace: Address, secret_uid: str, image: str, pull_policy: str, domain: str) -> Json:
    """One pod: SQLite and files on a ReadWriteOnce volume bear no second one, not even while rolling."""
    name = child_name(workspace.name)
    health = {"httpGet": {"path": "/health", "port": PORT}}
    server = container(
        "tracking",
        image,
        pull_policy,
        [mount("data", "/data"), mount("secrets", "/smalt/secrets", read_only=True), mount("tmp", "/tmp")],  # noqa: S108
        env=[variable("SMALT_ALLOWED_HOSTS", allowed_hosts(workspace, domain)), variable("HOME", "/tmp")],  # noqa: S108
        ports=[{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
        resources={"requests": {"cpu": "100m", "memory": "384Mi"}, "limits": {"memory": "1Gi"}},
        startupProbe=health | {"periodSeconds": 1, "failureThreshold": 180, "timeoutSeconds": 2},
        readinessProbe=health | {"periodSeconds": 5, "failureThreshold": 3, "timeoutSeconds": 5},
        livenessProbe=health | {"periodSeconds": 20, "failureThreshold": 6, "timeoutSeconds": 10},
    )
    volumes = [
        {"name": "data", "persistentVolumeClaim": {"claimName": name}},
        secret("secrets", name),
        scratch("tmp", "1Gi"),
    ]
    pod = pod_spec("default", volumes, containers=[server], terminationGracePeriodSeconds=30)
    template: Json = {
        "metadata": {"labels": labels_of(workspace, COMPONENT), "annotations": {SECRET_ANNOTATION: secret_uid}},
        "spec": pod,
    }
    spec: Json = {
        "replicas": 1,
        "strategy": {"type": "Recreate"},
        "selector": {"matchLabels": labels_of(workspace, COMPONENT)},
        "template": template,
    }
    return manifest(APPS_DEPLOYMENT, workspace, name, COMPONENT, spec=spec)
