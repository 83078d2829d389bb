"""Runs that cannot start, each for a cause of its own: what is seeded for it, and the words that must name it.

Several are what a cluster's own machinery does to a pod, such as an injector that mounts a Secret which is not there;
a MutatingAdmissionPolicy that changes the Job of one run plays it. All of them wait beside each other in one namespace.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Json = dict[str, Any]
WORKSPACE = "lab"
EXPERIMENT = "trials"
GHOST = "smalt.test/ghost"
STORAGE = "ephemeral-storage"
# A cause must be told so soon after the run was applied.
SECONDS = 15.0
SMALL = {"resources": {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}}}
TYPES: Json = {
    "default": SMALL,
    "huge": {"resources": {"requests": {"cpu": "20m", "memory": "4000Gi"}}},
    "wide": {"resources": {"requests": {"cpu": "5000"}}},
    "fpga": {"resources": {"limits": {"example.com/fpga": 1}}},
    "gpu": {"resources": {"limits": {"nvidia.com/gpu": 1}}},
    "large": {"resources": {"limits": {"ephemeral-storage": "24Gi"}, "requests": {"ephemeral-storage": "1Mi"}}},
    "a100": SMALL | {"nodeSelector": {"smalt.test/accelerator": "a100"}},
    "reserved": SMALL | {"nodeSelector": {GHOST: "tainted"}},
    "cordoned": SMALL | {"nodeSelector": {GHOST: "cordoned"}},
}


@dataclass(frozen=True)
class Stuck:
    """One run that cannot start.

    `spec` is what differs from a good run; `mutation` what is done to its Job on the way in, by JSON path; `seeds` are
    objects of the namespace or the cluster that must be there before; `is_kubelets` when only a real node finds it.
    """

    name: str
    reason: str
    words: tuple[str, ...]
    spec: Json = field(default_factory=dict)
    mutation: dict[str, Any] = field(default_factory=dict)
    seeds: tuple[Json, ...] = ()
    is_kubelets: bool = False

    def __str__(self) -> str:
        return self.name


def _quota(name: str, **hard: str) -> Json:
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name}, "spec": {"hard": hard}}


def _limit_range(most: str) -> Json:
    # With defaults, or it would take its bound for what everybody else asks for.
    bounded = {"max": {STORAGE: most}, "default": {STORAGE: most}, "defaultRequest": {STORAGE: "1Mi"}}
    limits = [{"type": "Container"} | bounded]
    return {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "modest"}, "spec": {"limits": limits}}


def _claim(name: str, storage_class: str) -> Json:
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": storage_class,
        "resources": {"requests": {"storage": "1Gi"}},
    }
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}


def _config_map(name: str, **data: str) -> Json:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def _secret(name: str, **data: str) -> Json:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}


def _reads(path: str, type_: str = "uriFile") -> Json:
    return {"inputs": {"train": {"type": type_, "path": path}}}


POD = "/spec/template/spec"
VARIABLE = f"{POD}/containers/0/env/-"
VOLUME = f"{POD}/volumes/-"
PROGRAM = f"{POD}/containers/0/command/0"
MOUNT = f"{POD}/containers/0/volumeMounts/-"


def _variable(**source: Json) -> dict[str, Any]:
    return {VARIABLE: {"name": "INJECTED", "valueFrom": source}}


def _volume(**source: Json) -> dict[str, Any]:
    return {
        VOLUME: {"name": "injected"} | source,
        MOUNT: {"name": "injected", "mountPath": "/injected", "readOnly": True},
    }


SAYS_NO = "pods of this run are not wanted here"

STUCK = (
    Stuck(
        "no-experiment", "WaitingForExperiment", ("'absent'", "does not exist", "apply it"), {"experiment": "absent"}
    ),
    Stuck("no-type", "UnknownInstanceType", ("'nothing'", "spec.instanceTypes"), {"instanceType": "nothing"}),
    Stuck(
        "no-config-map",
        "WaitingForConfigMap",
        ("ConfigMap 'absent'", "code.configMap", "does not exist", "apply it"),
        {"code": {"configMap": "absent"}},
    ),
    Stuck(
        "no-config-map-key",
        "WaitingForConfigMap",
        ("ConfigMap 'rows'", "inputs.train", "no key 'absent.csv'", "rows.csv"),
        _reads("configmap://rows/absent.csv"),
        seeds=(_config_map("rows", **{"rows.csv": "a\n1\n"}),),
    ),
    Stuck(
        "no-claim",
        "ClaimNotFound",
        ("inputs.train", "PersistentVolumeClaim 'absent'", "does not exist", "create it"),
        _reads("pvc://absent/rows.csv"),
    ),
    Stuck(
        "no-storage-class",
        "StorageClassNotFound",
        ("PersistentVolumeClaim 'classless'", "StorageClass 'no-such-class'", "kubectl get storageclasses"),
        _reads("pvc://classless", "uriFolder"),
        seeds=(_claim("classless", "no-such-class"),),
    ),
    Stuck(
        "no-volume",
        "VolumePending",
        ("PersistentVolumeClaim 'unbound'", "not bound", "kubectl describe pvc unbound"),
        _reads("pvc://unbound", "uriFolder"),
        seeds=(_claim("unbound", ""),),
    ),
    Stuck(
        "too-much-memory",
        "Unschedulable",
        ("memory: 3.9Ti wanted", "missing", "smaller instanceType"),
        {"instanceType": "huge"},
    ),
    Stuck("too-much-cpu", "Unschedulable", ("cpu: 5000", "missing", "smaller instanceType"), {"instanceType": "wide"}),
    Stuck(
        "no-device",
        "Unschedulable",
        ("example.com/fpga: 1 wanted, it has none", "smaller instanceType"),
        {"instanceType": "fpga"},
    ),
    Stuck(
        "no-such-label",
        "Unschedulable",
        ("smalt.test/accelerator=a100", "nodeSelector", "label a node"),
        {"instanceType": "a100"},
    ),
    Stuck(
        "taint",
        "Unschedulable",
        ("the taint smalt.test/reserved=yes:NoSchedule", "does not tolerate", "toleration"),
        {"instanceType": "reserved"},
    ),
    Stuck("cordoned", "Unschedulable", ("'ghost-cordoned'", "cordoned", "uncordon"), {"instanceType": "cordoned"}),
    Stuck(
        "quota",
        "QuotaExceeded",
        ("ResourceQuota 'few-gpus'", "requests.nvidia.com/gpu: 1 wanted, 0 of 0 used", "goes on"),
        {"instanceType": "gpu"},
        seeds=(_quota("few-gpus", **{"requests.nvidia.com/gpu": "0"}),),
    ),
    Stuck(
        "limit-range",
        "LimitRangeRefused",
        ("LimitRange", "ephemeral-storage at most 16Gi per Container", "limit is 24Gi", "spec.instanceTypes"),
        {"instanceType": "large"},
        seeds=(_limit_range("16Gi"),),
    ),
    Stuck(
        "pod-security",
        "PodSecurityRefused",
        ("'restricted:latest'", "hostNetwork=true", "sidecar injector"),
        mutation={f"{POD}/hostNetwork": True},
    ),
    Stuck(
        "no-priority-class",
        "UnknownPriorityClass",
        ("PriorityClass 'no-such-priority'", "kubectl get priorityclasses"),
        mutation={f"{POD}/priorityClassName": "no-such-priority"},
    ),
    Stuck(
        "no-runtime-class",
        "RuntimeClassNotFound",
        ("RuntimeClass 'no-such-runtime'", "create it"),
        mutation={f"{POD}/runtimeClassName": "no-such-runtime"},
    ),
    Stuck(
        "no-service-account",
        "ServiceAccountNotFound",
        ("ServiceAccount 'no-such-account'", "Workspace"),
        mutation={f"{POD}/serviceAccountName": "no-such-account"},
    ),
    Stuck("policy", "PolicyRefused", ("ValidatingAdmissionPolicy", SAYS_NO, "administrator")),
    Stuck("webhook", "WebhookUnavailable", ("admission webhook 'down.smalt.test'", "does not answer", "administrator")),
    Stuck(
        "suspended",
        "JobSuspended",
        ("Job 'suspended-1' is suspended", "starts when it is resumed"),
        mutation={"/spec/suspend": True},
    ),
    Stuck(
        "overdue",
        "TimedOut",
        ("Job 'overdue-1'", "deadline", "before the script started", "memory: 3.9Ti wanted", "under another name"),
        {"instanceType": "huge"},
        # Long enough for the cause to be told, and short enough to be seen ending.
        mutation={"/spec/activeDeadlineSeconds": 7},
    ),
    Stuck(
        "lost-node",
        "NodeNotReady",
        ("node 'ghost-lost'", "not ready", "kubectl describe node ghost-lost"),
        mutation={f"{POD}/nodeName": "ghost-lost"},
    ),
    Stuck(
        "no-image",
        "ImagePullFailed",
        ("smalt.invalid/nothing:1", "environment.image"),
        {"environment": {"image": "smalt.invalid/nothing:1"}},
        is_kubelets=True,
    ),
    Stuck(
        "no-secret",
        "SecretNotFound",
        ("Secret 'absent'", "does not exist", "create it"),
        mutation=_variable(secretKeyRef={"name": "absent", "key": "password"}),
        is_kubelets=True,
    ),
    Stuck(
        "no-secret-key",
        "SecretKeyNotFound",
        ("Secret 'keys'", "no key 'password'", "add it"),
        mutation=_variable(secretKeyRef={"name": "keys", "key": "password"}),
        seeds=(_secret("keys", user="me"),),
        is_kubelets=True,
    ),
    Stuck(
        "no-config-map-variable",
        "ConfigMapKeyNotFound",
        ("ConfigMap 'settings'", "no key 'absent'", "add it"),
        mutation=_variable(configMapKeyRef={"name": "settings", "key": "absent"}),
        seeds=(_config_map("settings", present="1"),),
        is_kubelets=True,
    ),
    Stuck(
        "no-secret-volume",
        "SecretNotFound",
        ("Secret 'absent'", "does not exist", "create it"),
        mutation=_volume(secret={"secretName": "absent"}),
        is_kubelets=True,
    ),
    Stuck(
        "no-secret-file",
        "SecretKeyNotFound",
        ("Secret 'files'", "no key 'absent.pem'", "add it"),
        mutation=_volume(secret={"secretName": "files", "items": [{"key": "absent.pem", "path": "absent.pem"}]}),
        seeds=(_secret("files", **{"present.pem": "x"}),),
        is_kubelets=True,
    ),
    Stuck(
        "no-driver",
        "VolumeNotMounted",
        ("volume 'injected'", "no.such.driver", "kubectl describe pod"),
        mutation=_volume(csi={"driver": "no.such.driver"}),
        is_kubelets=True,
    ),
    Stuck(
        "no-python",
        "NoPython",
        ("has no", "python3", "Python 3.9", "environment.image", "under another name"),
        mutation={PROGRAM: "/absent/python3"},
        is_kubelets=True,
    ),
    Stuck(
        "init-crash",
        "InitContainerFailed",
        ("init container 'injected'", "exit code 3", "kubectl logs", "under another name"),
        mutation={
            f"{POD}/initContainers/-": {
                "name": "injected",
                "image": "smalt/trainer:0.1.0",
                "imagePullPolicy": "IfNotPresent",
                "command": ["python3", "-c", "raise SystemExit(3)"],
                "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}},
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "runAsNonRoot": True,
                    "capabilities": {"drop": ["ALL"]},
                },
            }
        },
        is_kubelets=True,
    ),
)


def named(name: str) -> Stuck:
    return next(each for each in STUCK if each.name == name)


class Told(NamedTuple):
    """What a run's Ready condition said last, and after how many seconds it first had the reason that it must have."""

    reason: str
    message: str
    seconds: float | None


def told(seeded: Sequence[Stuck], look: Callable[[], list[Json]]) -> dict[str, Told]:
    """What each of the runs says, which have just been applied, until all say what they must or the time is over."""
    began, found = time.monotonic(), {each.name: Told("", "", None) for each in seeded}
    expected = {each.name: each.reason for each in seeded}
    while any(each.seconds is None for each in found.values()) and time.monotonic() - began < SECONDS:
        runs = look()
        seconds = time.monotonic() - began
        for name, ready in ((each["metadata"]["name"], _ready(each)) for each in runs):
            if name in found and found[name].seconds is None:
                is_it = ready.get("reason") == expected[name]
                found[name] = Told(ready.get("reason", ""), ready.get("message", ""), seconds if is_it else None)
        time.sleep(0.2)
    return found


def _ready(run: Json) -> Json:
    conditions = (run.get("status") or {}).get("conditions") or []
    return next((each for each in conditions if each["type"] == "Ready"), {})


def base() -> list[Json]:
    """The Workspace and Experiment that all of them share."""
    return [
        {
            "apiVersion": "smalt.dev/v1alpha1",
            "kind": "Workspace",
            "metadata": {"name": WORKSPACE},
            "spec": {"instanceTypes": TYPES},
        },
        {
            "apiVersion": "smalt.dev/v1alpha1",
            "kind": "Experiment",
            "metadata": {"name": EXPERIMENT},
            "spec": {"workspace": WORKSPACE},
        },
    ]


def run(stuck: Stuck) -> Json:
    whole = {"experiment": EXPERIMENT, "code": {"inline": {"train.py": "pass"}}, "command": "python train.py"}
    return {
        "apiVersion": "smalt.dev/v1alpha1",
        "kind": "TrainingRun",
        "metadata": {"name": stuck.name},
        "spec": whole | stuck.spec,
    }


# --- the cluster's part -----------------------------------------------------------------------------------------------


def of_cluster(namespace: str) -> list[Json]:
    """What is seeded outside of the namespace; its name is part of every name, or stands in a selector."""
    return [
        *(each for stuck in STUCK if stuck.mutation for each in mutating(namespace, stuck)),
        *refusing(namespace, named("policy")),
        dead_webhook(namespace, named("webhook")),
    ]


# Those of the ghosts for which the test reports.
REPORTING = ("ghost-tainted", "ghost-cordoned")


def ghosts() -> list[Json]:
    """Nodes without a kubelet: one with a taint, one that is cordoned, one that has never reported. The test reports for
    the first two what `node_status` says."""
    taint = {"key": "smalt.test/reserved", "value": "yes", "effect": "NoSchedule"}
    return [
        _node("ghost-tainted", {"taints": [taint]}, "tainted"),
        _node("ghost-cordoned", {"unschedulable": True, "taints": [taint | {"key": "smalt.test/ghost"}]}, "cordoned"),
        _node("ghost-lost", {"taints": [taint | {"key": "smalt.test/ghost"}]}, "lost"),
    ]


def _node(name: str, spec: Json, label: str) -> Json:
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {GHOST: label}}, "spec": spec}


def node_status(**allocatable: str) -> Json:
    """What the kubelet of a good node reports."""
    room = {"cpu": "4", "memory": "8Gi", "pods": "110", "ephemeral-storage": "100Gi"} | allocatable
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "kubelet is posting ready status"}
    return {"capacity": room, "allocatable": room, "conditions": [ready]}


def _of_run(namespace: str, stuck: Stuck) -> Json:
    return {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "objectSelector": {"matchLabels": {"smalt.dev/run": stuck.name}},
    }


def _rule(group: str, plural: str) -> Json:
    return {"apiGroups": [group], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": [plural]}


def mutating(namespace: str, stuck: Stuck) -> list[Json]:
    """A policy that changes the run's Job, and its binding."""
    name = f"{namespace}-{stuck.name}"
    patches = ", ".join(
        f"JSONPatch{{op: '{'replace' if path == PROGRAM else 'add'}', path: '{path}', value: {cel(value, _type(path))}}}"
        for path, value in stuck.mutation.items()
    )
    policy = {
        "matchConstraints": _of_run(namespace, stuck) | {"resourceRules": [_rule("batch", "jobs")]},
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": f"[{patches}]"}}],
    }
    return _bound("Mutating", name, policy, {})


def _type(path: str) -> str:
    steps = [step for step in path.split("/") if step and step != "-" and not step.isdigit()]
    return ".".join(["Object", *steps])


def cel(value: Any, type_: str) -> str:
    """A value as CEL writes it, its objects with their types."""
    if isinstance(value, dict):
        fields = [f"{key}: {cel(each, type_ + '.' + key)}" for key, each in value.items()]
        return type_ + "{" + ", ".join(fields) + "}"
    if isinstance(value, list):
        return f"[{', '.join(cel(each, type_) for each in value)}]"
    return json.dumps(value)


def refusing(namespace: str, stuck: Stuck) -> list[Json]:
    """A policy that wants no pod of the run, and its binding."""
    policy = {
        "failurePolicy": "Fail",
        "matchConstraints": _of_run(namespace, stuck) | {"resourceRules": [_rule("", "pods")]},
        "validations": [{"expression": "false", "message": SAYS_NO}],
    }
    return _bound("Validating", f"{namespace}-{stuck.name}", policy, {"validationActions": ["Deny"]})


def _bound(which: str, name: str, policy: Json, binding: Json) -> list[Json]:
    api, kind = "admissionregistration.k8s.io/v1", f"{which}AdmissionPolicy"
    return [
        {"apiVersion": api, "kind": kind, "metadata": {"name": name}, "spec": policy},
        {
            "apiVersion": api,
            "kind": f"{kind}Binding",
            "metadata": {"name": name},
            "spec": {"policyName": name} | binding,
        },
    ]


def dead_webhook(namespace: str, stuck: Stuck) -> Json:
    """A webhook for the run's pods that nobody answers."""
    webhook = {
        "name": "down.smalt.test",
        "clientConfig": {"url": "https://127.0.0.1:1/refuse"},
        "rules": [_rule("", "pods")],
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "timeoutSeconds": 2,
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": f"{namespace}-{stuck.name}"},
        "webhooks": [webhook | _of_run(namespace, stuck)],
    }
