"""Every kind the operator handles, named once: ours, the children it makes, and what it only reads."""

from __future__ import annotations

from dataclasses import dataclass

GROUP = "smalt.dev"
VERSION = "v1alpha1"
# On every child and its pods: what the operator's watches are filtered by.
MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "smalt"
MANAGED_SELECTOR = f"{MANAGED_BY}={MANAGER}"


@dataclass(frozen=True)
class Kind:
    """One kind of the Kubernetes API.

    `plural` is the word in URLs; `label` is the key under which children carry the name of the object they serve.
    """

    kind: str
    plural: str
    group: str = ""
    version: str = "v1"
    label: str = ""

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The URL path of the collection, of one object, or of its subresource."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        parts = [root, *(["namespaces", namespace] if namespace else []), self.plural, name, subresource]
        return "/".join(part for part in parts if part)


WORKSPACE = Kind("Workspace", "workspaces", GROUP, VERSION, f"{GROUP}/workspace")
EXPERIMENT = Kind("Experiment", "experiments", GROUP, VERSION, f"{GROUP}/experiment")
TRAINING_RUN = Kind("TrainingRun", "trainingruns", GROUP, VERSION, f"{GROUP}/run")
MODEL = Kind("Model", "models", GROUP, VERSION, f"{GROUP}/model")
DEPLOYMENT = Kind("Deployment", "modeldeployments", GROUP, VERSION, f"{GROUP}/deployment")

JOB = Kind("Job", "jobs", "batch")
POD = Kind("Pod", "pods")
APPS_DEPLOYMENT = Kind("Deployment", "deployments", "apps")
SERVICE = Kind("Service", "services")
SERVICE_ACCOUNT = Kind("ServiceAccount", "serviceaccounts")
NETWORK_POLICY = Kind("NetworkPolicy", "networkpolicies", "networking.k8s.io")
CLAIM = Kind("PersistentVolumeClaim", "persistentvolumeclaims")
SECRET = Kind("Secret", "secrets")
CONFIG_MAP = Kind("ConfigMap", "configmaps")
EVENT = Kind("Event", "events")
LEASE = Kind("Lease", "leases", "coordination.k8s.io")
NODE = Kind("Node", "nodes")

OURS = (WORKSPACE, EXPERIMENT, TRAINING_RUN, MODEL, DEPLOYMENT)
# Watched with the label above. Secrets and ConfigMaps are never watched: their contents have no place in a cache.
CHILDREN = (JOB, POD, APPS_DEPLOYMENT, SERVICE, SERVICE_ACCOUNT, NETWORK_POLICY, CLAIM)
WATCHED = OURS + CHILDREN
# Of the cluster and not of a namespace: watched only where the operator serves all namespaces.
CLUSTER_SCOPED = (NODE,)
CACHED = WATCHED + CLUSTER_SCOPED

_BY_NAME = {(kind.api_version, kind.kind): kind for kind in (*CACHED, SECRET, CONFIG_MAP, EVENT, LEASE)}


def watched(namespace: str) -> tuple[Kind, ...]:
    """What an installation for that namespace watches; for all of them when it is empty."""
    return WATCHED if namespace else CACHED


def kind_of(api_version: str, kind: str) -> Kind:
    """The constant for an object's `apiVersion` and `kind`. KeyError for a kind that the operator does not handle."""
    return _BY_NAME[(api_version, kind)]
