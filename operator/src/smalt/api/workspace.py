"""Workspace: where storage, tracking and compute are set up once."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from smalt.api.code import Resources
from smalt.api.policy import Policy, Retention, RunQueue, WorkspaceUsage
from smalt.api.schema import ObjectName, Quantity, SmaltModel, rule, rules
from smalt.api.status import RunCounts, Status
from smalt.api.storage import Storage, TrackingServer

DEFAULT_INSTANCE_TYPE = "default"


LABEL_VALUE = "^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"
LABEL_KEY = "^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
_LABEL = f"size(k) <= 317 && k.matches('{LABEL_KEY}') && self[k].matches('{LABEL_VALUE}')"


class PackageCache(SmaltModel):
    """A volume on which downloaded packages stay for the next run."""

    model_config = {
        "json_schema_extra": rules(
            rule(
                "!has(self.size) || (type(self.size) == int ? self.size > 0 : "
                "(!isQuantity(self.size) || quantity(self.size).isGreaterThan(quantity('0'))))",
                message="packages.cache.size must be more than nothing, such as 10Gi",
            )
        )
    }

    size: Quantity | None = None
    """How large the volume is; 10Gi when absent."""
    storage_class_name: ObjectName | None = None
    """The StorageClass; the cluster's default one when absent. Counts when the volume is made."""
    access_mode: Literal["ReadWriteOnce", "ReadWriteMany"] | None = None
    """ReadWriteOnce (the default) keeps all pods that install packages on one node; ReadWriteMany lets them run anywhere,
    and needs a StorageClass that can do it. Counts when the volume is made."""


class PackageIndex(SmaltModel):
    """Where packages come from, and whether they are kept."""

    model_config = {
        "json_schema_extra": rules(
            rule(
                "!has(self.credentialsSecret) || has(self.indexUrl)",
                message="packages.credentialsSecret is for the index in packages.indexUrl, which is absent: add it, such as "
                "https://packages.example/simple",
            )
        )
    }

    index_url: (
        Annotated[
            str,
            Field(
                max_length=1024,
                json_schema_extra=rules(
                    rule(
                        r"self.matches(r'^https?://[^@/\s]+(/[^@\s]*)?$')",
                        "this is no address of a package index: write it with https:// and without credentials",
                        says='"\'" + self + "\' is no address of a package index: write it with https:// and without '
                        'credentials, such as https://packages.example/simple"',
                    )
                ),
            ),
        ]
        | None
    ) = None
    """The address of a package index (PEP 503) for runs and scoring pods; the public index when absent."""
    credentials_secret: ObjectName | None = None
    """A Secret with `username` and `password` for that index. Only the container that installs packages sees them."""
    cache: PackageCache | None = None
    """A volume on which downloaded packages stay for the next run; without one every run fetches its own."""


_REGISTRY = r"^[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?(:[0-9]{1,5})?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*$"
_ENGINE = r"^(tcp|https)://[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?(:[0-9]{1,5})?/?$"


class Images(SmaltModel):
    """Where images of environments are built, and kept."""

    registry: Annotated[
        str,
        Field(
            min_length=1,
            max_length=255,
            json_schema_extra=rules(
                rule(
                    f"self.matches(r'{_REGISTRY}')",
                    "this is no registry: write its host and a path, without https://, such as registry.example/team",
                    says='"\'" + self + "\' is no registry: write its host and a path, without https://, such as '
                    'registry.example/team"',
                )
            ),
        ),
    ]
    """The registry and a path in it, such as `registry.example/team`; images are kept as `smalt-environments` below it."""
    docker_host: Annotated[
        str,
        Field(
            max_length=255,
            json_schema_extra=rules(
                rule(
                    f"self.matches(r'{_ENGINE}')",
                    "this is no Docker Engine: write tcp:// or https:// with host and port, such as tcp://docker.build:2376",
                    says='"\'" + self + "\' is no Docker Engine: write tcp:// or https:// with host and port, such as '
                    'tcp://docker.build:2376"',
                )
            ),
        ),
    ]
    """The Docker Engine that builds, such as `tcp://docker.build:2376`; the operator's administrator says which may be used."""
    push_secret: ObjectName | None = None
    """A Secret of type kubernetes.io/dockerconfigjson with which images are looked for and pushed."""
    tls_secret: ObjectName | None = None
    """A Secret with the client's certificate (`tls.crt`, `tls.key`) and the authority of the engine's (`ca.crt`)."""


class TrustBundle(SmaltModel):
    """Certificates trusted besides the system's."""

    config_map: ObjectName
    """A ConfigMap whose key `ca.crt` holds certificates in PEM."""


class Signing(SmaltModel):
    """A pair of keys on an elliptic curve."""

    key_secret: ObjectName
    """A Secret with `private.pem`, which signs models when they are registered, and `public.pem`, which they are proven with
    before they are served; older public keys may follow in it."""


class Toleration(SmaltModel):
    """A taint that pods of this instance type bear, as Kubernetes means it."""

    model_config = {
        "json_schema_extra": rules(
            rule(
                "!has(self.operator) || self.operator != 'Exists' || !has(self.value)",
                message="operator Exists takes no value: leave value out, or write operator: Equal",
            ),
            rule(
                "has(self.key) || (has(self.operator) && self.operator == 'Exists')",
                message="a toleration without a key bears every taint, which only operator: Exists can say: add key or operator",
            ),
            rule(
                "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
                message="tolerationSeconds is for effect: NoExecute alone",
            ),
        )
    }

    key: Annotated[str, Field(max_length=316)] | None = None
    """The taint's key; absent means all."""
    operator: Literal["Exists", "Equal"] | None = None
    """How the value is compared; Equal when absent."""
    value: Annotated[str, Field(max_length=63)] | None = None
    """The taint's value."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """The effect that is borne; all when absent."""
    toleration_seconds: int | None = None
    """How long NoExecute is borne; for ever when absent."""


class InstanceType(SmaltModel):
    """One kind of machine to run on."""

    resources: Resources | None = None
    """What a pod of this type asks for and may use."""
    node_selector: (
        Annotated[
            dict[str, Annotated[str, Field(max_length=63)]],
            Field(
                max_length=16,
                json_schema_extra=rules(
                    rule(
                        f"self.all(k, {_LABEL})",
                        "a label is none: use letters, digits, '-', '_' and '.', in the key also one '/' after a domain",
                        says=f'"nodeSelector \'" + self.filter(k, !({_LABEL}))[0] + "\' is no label with a value: use '
                        "letters, digits, '-', '_' and '.', such as {accelerator: a100} or "
                        '{node.kubernetes.io/instance-type: large}"',
                    )
                ),
            ),
        ]
        | None
    ) = None
    """Labels that a node must have."""
    tolerations: Annotated[list[Toleration], Field(max_length=16)] | None = None
    """Taints that a node may have."""
    queue_name: ObjectName | None = None
    """The LocalQueue of Kueue that starts Jobs of this type; Jobs start at once when absent. Needs Kueue in the cluster."""


class WorkspaceSpec(SmaltModel):
    """What the workspace is to offer; every field may be absent."""

    model_config = {
        "json_schema_extra": rules(
            rule(
                "!has(oldSelf.storage) || !has(oldSelf.storage.storageClassName) || (has(self.storage) && "
                "has(self.storage.storageClassName) && self.storage.storageClassName == oldSelf.storage.storageClassName)",
                message="storage.storageClassName cannot change once it is set, since a volume cannot move: "
                "make a Workspace under another name",
            ),
            rule(
                "(has(self.tracking) && has(self.tracking.external)) == (has(oldSelf.tracking) && "
                "has(oldSelf.tracking.external))",
                message="tracking.external cannot be added or removed, since history does not move: make a Workspace under "
                "another name",
            ),
            rule(
                "!has(self.tracking) || !has(self.tracking.external) || !has(self.storage)",
                message="tracking.external keeps its own artifacts: leave storage out",
            ),
        )
    }

    storage: Storage | None = None
    """Where artifacts lie: outputs, data, models, and the history unless tracking.databaseSecret names a database."""
    tracking: TrackingServer | None = None
    """Where the history of runs is kept."""
    packages: PackageIndex | None = None
    """Where packages come from."""
    images: Images | None = None
    """Where environments are built to images, once for all runs that ask for the same packages; when absent, packages are
    installed as each run starts."""
    trust_bundle: TrustBundle | None = None
    """Certificates that run and scoring pods trust besides the system's."""
    signing: Signing | None = None
    """Models are signed when they are registered, and only signed ones are served; digests alone count when absent."""
    instance_types: (
        Annotated[
            dict[str, InstanceType],
            Field(
                max_length=32,
                json_schema_extra=rules(
                    rule(
                        "self.all(k, k.matches('^[a-z]([-a-z0-9]{0,50}[a-z0-9])?$'))",
                        says="\"instanceTypes key '\" + self.filter(k, !k.matches('^[a-z]([-a-z0-9]{0,50}[a-z0-9])?$'))[0] "
                        "+ \"' is no name: use lower-case letters, digits and '-', such as gpu\"",
                    )
                ),
            ),
        ]
        | None
    ) = None
    """Compute targets by name. A run that names none gets `default`, which exists even when it is not written."""
    policy: Policy | None = None
    """What runs are allowed."""
    retention: Retention | None = None
    """How long objects are kept."""


class InstanceTypeStatus(SmaltModel):
    """Whether there is room for a run of this type."""

    fits_now: bool | None = None
    """Whether a node has what one more run of this type asks for, as of a minute ago at most. Absent where the operator
    may not look at nodes."""
    message: Annotated[str, Field(max_length=1024)] = ""
    """Why not, or which resource, label or taint is in the way."""


class WorkspaceStatus(Status):
    """What the workspace offers now."""

    tracking_uri: str | None = None
    """The tracking server's address inside the cluster."""
    instance_types: Annotated[dict[str, InstanceTypeStatus], Field(max_length=33)] | None = None
    """For each instance type, `default` among them, whether a node has room for it."""
    runs: RunCounts | None = None
    """All runs of all its experiments."""
    queue: RunQueue | None = None
    """Who may be at work, where policy.maxConcurrentRuns limits it."""
    usage: WorkspaceUsage | None = None
    """Compute that its runs used."""
    model_versions: dict[str, int] | None = None
    """The highest version ever given to each model; a deleted version's number never comes back."""
    used_by: list[str] | None = None
    """Deployments that need this workspace; while there are any it cannot be deleted."""


class Workspace(SmaltModel):
    """A workspace: storage, an MLflow tracking server with authentication, and compute targets, set up once."""

    spec: WorkspaceSpec
    """What the workspace is to offer; `{}` works."""
    status: WorkspaceStatus | None = None
    """What the operator last saw."""
