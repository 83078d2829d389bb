"""The children of a Workspace: a stock MLflow server with authentication, and what it needs."""

from __future__ import annotations

from dataclasses import dataclass

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
from smalt.api.storage import DEFAULT_SIZE, ExternalTracking, Storage
from smalt.api.workspace import WorkspaceSpec
from smalt.builders.manifests import labels_of, manifest
from smalt.builders.pods import (
    config_map,
    container,
    mount,
    pod_spec,
    scratch,
    secret_file,
    secret_variable,
    secrets,
    variable,
)
from smalt.builders.volumes import kept_claim

PORT = 5000
COMPONENT = "tracking"
SECRET_KEYS = ("admin-password", "runs-password", "scoring-password", "flask-secret-key")
# In a Secret of its own: one that is there gets no further keys, and no pod but two has to do with this one.
REGISTRY_KEYS = ("registry-password",)
# A re-made Secret gets a new UID: with it in the template, the server starts again with the new passwords.
SECRET_ANNOTATION = "smalt.dev/tracking-secret"  # noqa: S105


def child_name(workspace: str) -> str:
    """The name that the tracking server's Deployment, Service, Secret, claim and policy share."""
    return f"{workspace}-tracking"


def registry_name(workspace: str) -> str:
    """The Secret of the user who owns the copies of registered models."""
    return f"{workspace}-registry"


def service_account_name(workspace: str) -> str:
    return f"{workspace}-run"


def external(spec: WorkspaceSpec) -> ExternalTracking | None:
    """The server that somebody else runs, if it is one."""
    return spec.tracking.external if spec.tracking else None


def database_secret(spec: WorkspaceSpec) -> str | None:
    """The Secret with the database's address; None for SQLite on the volume."""
    return spec.tracking.database_secret if spec.tracking else None


def needs_volume(spec: WorkspaceSpec) -> bool:
    """Whether history or artifacts lie on a volume."""
    return not (database_secret(spec) and spec.storage and spec.storage.url)


def tracking_uri(workspace: Address) -> str:
    """The address inside the cluster of the server that the operator runs."""
    return f"http://{child_name(workspace.name)}.{workspace.namespace}:{PORT}"


@dataclass(frozen=True)
class Access:
    """How a pod reaches the server: its address, whom it says it is, and where its password stands."""

    uri: str
    user: str | None
    secret: str | None
    password_key: str

    def username(self, name: str) -> list[Json]:
        """The variable with the user's name, if there is one."""
        if self.user:
            return [variable(name, self.user)]
        return [secret_variable(name, self.secret, "username")] if self.secret else []

    def password(self, name: str) -> list[Json]:
        """The variable with the password, if there is one."""
        return [secret_variable(name, self.secret, self.password_key)] if self.secret else []

    def password_volume(self, name: str, path: str) -> Json:
        """A volume with the password as one file, or an empty one."""
        return secret_file(name, self.secret, self.password_key, path=path) if self.secret else scratch(name, "1Mi")


def access(workspace: Address, spec: WorkspaceSpec, user: str) -> Access:
    """For one of the server's users; a server that somebody else runs has but the one of its Secret."""
    elsewhere = external(spec)
    if elsewhere:
        return Access(elsewhere.uri.rstrip("/"), None, elsewhere.credentials_secret, "password")
    own = registry_name(workspace.name) if user == "registry" else child_name(workspace.name)
    return Access(tracking_uri(workspace), user, own, f"{user}-password")


def tracking_secret(workspace: Address) -> Json:
    """Without its values, which are drawn when it is made."""
    return manifest(SECRET, workspace, child_name(workspace.name), COMPONENT, type="Opaque")


def registry_secret(workspace: Address) -> Json:
    """Without its value, as the other."""
    return manifest(SECRET, workspace, registry_name(workspace.name), COMPONENT, type="Opaque")


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


@dataclass(frozen=True)
class Server:
    """All that the server's Deployment is made from."""

    workspace: Address
    spec: WorkspaceSpec
    secret_uid: str
    image: str
    pull_policy: str
    domain: str


def tracking_deployment(server: Server) -> Json:
    """One pod: SQLite and files on a ReadWriteOnce volume bear no second one, not even while rolling."""
    workspace = server.workspace
    name = child_name(workspace.name)
    volumes, mounts = _volumes(server)
    pod = pod_spec("default", volumes, containers=[_container(server, mounts)], terminationGracePeriodSeconds=30)
    template: Json = {
        "metadata": {
            "labels": labels_of(workspace, COMPONENT),
            "annotations": {SECRET_ANNOTATION: server.secret_uid},
        },
        "spec": pod,
    }
    spec: Json = {
        "replicas": 1,
        "strategy": {"type": "Recreate"} if needs_volume(server.spec) else {"type": "RollingUpdate"},
        "selector": {"matchLabels": labels_of(workspace, COMPONENT)},
        "template": template,
    }
    return manifest(APPS_DEPLOYMENT, workspace, name, COMPONENT, spec=spec)


def _container(server: Server, mounts: list[Json]) -> Json:
    health = {"httpGet": {"path": "/health", "port": PORT}}
    return container(
        "tracking",
        server.image,
        server.pull_policy,
        mounts,
        env=[
            variable("SMALT_ALLOWED_HOSTS", allowed_hosts(server.workspace, server.domain)),
            variable("HOME", "/tmp"),  # noqa: S108
            *_database_variables(server.spec),
            *_bucket_variables(server.spec.storage),
            *([variable("SMALT_TRUST_BUNDLE", "/smalt/trust/ca.crt")] if server.spec.trust_bundle else []),
        ],
        ports=[{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
        resources={"requests": {"cpu": "100m", "memory": "384Mi"}, "limits": {"memory": "1Gi"}},
        startupProbe=health | {"periodSeconds": 1, "failureThreshold": 180, "timeoutSeconds": 2},
        readinessProbe=health | {"periodSeconds": 5, "failureThreshold": 3, "timeoutSeconds": 5},
        livenessProbe=health | {"periodSeconds": 20, "failureThreshold": 6, "timeoutSeconds": 10},
        # What it says before it gives up goes into the Workspace's condition.
        terminationMessagePolicy="FallbackToLogsOnError",
    )


def _volumes(server: Server) -> tuple[list[Json], list[Json]]:
    """Volumes, and where the server finds them."""
    name = child_name(server.workspace.name)
    data = {"name": "data", "persistentVolumeClaim": {"claimName": name}}
    volumes = [
        data if needs_volume(server.spec) else scratch("data", "64Mi"),
        secrets("secrets", name, registry_name(server.workspace.name)),
        scratch("tmp", "1Gi"),
    ]
    mounts = [mount("data", "/data"), mount("secrets", "/smalt/secrets", read_only=True), mount("tmp", "/tmp")]  # noqa: S108
    database = database_secret(server.spec)
    if database:
        # A pod that waits for a Secret says so nowhere but in its events; the server says it in its last words.
        volumes.append(secret_file("database", database, "uri"))
        mounts.append(mount("database", "/smalt/database", read_only=True))
    if server.spec.trust_bundle:
        volumes.append(config_map("trust", server.spec.trust_bundle.config_map))
        mounts.append(mount("trust", "/smalt/trust", read_only=True))
    return volumes, mounts


def _database_variables(spec: WorkspaceSpec) -> list[Json]:
    """The Secret's name, by which the server knows that there is to be one; its content is in a file."""
    name = database_secret(spec)
    return [variable("SMALT_DATABASE_SECRET", name)] if name else []


def _bucket_variables(storage: Storage | None) -> list[Json]:
    """What boto3 reads; only the first two keys of the Secret must be there."""
    if storage is None or storage.url is None:
        return []
    assert storage.credentials_secret
    name = storage.credentials_secret
    return [
        variable("SMALT_ARTIFACTS", storage.url),
        secret_variable("AWS_ACCESS_KEY_ID", name, "accessKeyId"),
        secret_variable("AWS_SECRET_ACCESS_KEY", name, "secretAccessKey"),
        secret_variable("AWS_SESSION_TOKEN", name, "sessionToken", optional=True),
        secret_variable("AWS_DEFAULT_REGION", name, "region", optional=True),
        secret_variable("MLFLOW_S3_ENDPOINT_URL", name, "endpointUrl", optional=True),
    ]
