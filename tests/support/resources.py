"""Small resources to reason about, and a cache that holds them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from smalt.api.kinds import DEPLOYMENT, EXPERIMENT, JOB, MODEL, NODE, POD, TRAINING_RUN, WORKSPACE, Kind, kind_of
from smalt.engine.store import Store
from smalt.settings import Settings

Json = dict[str, Any]
NAMESPACE = "team-a"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
THEN = "2026-01-02T03:04:00Z"
SETTINGS = Settings()
DIGEST = "sha256:" + "ab" * 32


def resource(kind: Kind, name: str, spec: Json | None = None, status: Json | None = None, **metadata: Any) -> Json:
    head = {
        "name": name,
        "namespace": NAMESPACE,
        "uid": f"uid-{kind.plural}-{name}",
        "generation": 1,
        "resourceVersion": "1",
    }
    made: Json = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": head | metadata}
    return made | ({"spec": spec} if spec is not None else {}) | ({"status": status} if status is not None else {})


def ready(reason: str = "Available") -> Json:
    return {
        "observedGeneration": 1,
        "conditions": [{"type": "Ready", "status": "True", "reason": reason, "message": ""}],
    }


def workspace(spec: Json | None = None, status: Json | None = None) -> Json:
    return resource(WORKSPACE, "lab", spec or {}, ready() if status is None else status)


def experiment(status: Json | None = None, **spec: Any) -> Json:
    objective = {"primaryMetric": "auc", "goal": "maximize"}
    whole = {"workspace": "lab", "objective": objective} | spec
    return resource(EXPERIMENT, "trials", whole, ready() if status is None else status)


def run(name: str = "first", status: Json | None = None, **spec: Any) -> Json:
    whole = {"experiment": "trials", "code": {"inline": {"train.py": "pass"}}, "command": "python train.py"} | spec
    return resource(TRAINING_RUN, name, whole, status)


REGISTERING: Json = {"outputs": {"model": {"type": "customModel"}}, "register": {"model": "churn", "from": "model"}}


def finished_run(name: str = "first", **status: Any) -> Json:
    artifact = {"uri": "mlflow-artifacts:/1/a/artifacts/outputs/model", "digest": DIGEST, "bytes": 3, "files": 1}
    facts = {"phase": "Succeeded", "completionTime": THEN, "outputs": {"model": artifact}, "metrics": {"auc": 0.9}}
    digests = {"run": DIGEST, "code": DIGEST, "data": {"train": DIGEST}, "environment": DIGEST}
    return run(name, status=ready("Succeeded") | facts | {"digests": digests} | status, **REGISTERING)


def job(of: Json, attempt: int = 1, workspace: str = "lab", **status: Any) -> Json:
    name = f"{of['metadata']['name']}-{attempt}"
    about = {"labels": {TRAINING_RUN.label: of["metadata"]["name"]}, "annotations": {"smalt.dev/workspace": workspace}}
    return resource(JOB, name, None, status, **owned_by(of), **about)


def completed(kind: str = "Complete", reason: str = "") -> Json:
    condition = {"type": kind, "status": "True", "reason": reason, "lastTransitionTime": THEN}
    return {"startTime": THEN, "conditions": [condition]} | ({"completionTime": THEN} if kind == "Complete" else {})


def pod(
    of: Json, name: str = "pod", labels: Json | None = None, annotations: Json | None = None, **status: Any
) -> Json:
    metadata = owned_by(of) | {"labels": labels or {}, "annotations": annotations or {}, "creationTimestamp": THEN}
    return resource(POD, name, None, status, **metadata)


def node(
    name: str, ready: str = "True", message: str = "", labels: Json | None = None, spec: Json | None = None, **has: Any
) -> Json:
    """A node with room for everything but memory, unless `has` says otherwise."""
    taints = has.pop("taints", None)
    room = {"cpu": "64", "memory": "16Gi", "pods": "110", "ephemeral-storage": "500Gi"} | has
    condition = {"type": "Ready", "status": ready, "message": message, "lastTransitionTime": THEN}
    status = {"allocatable": room, "conditions": [condition | {"lastHeartbeatTime": THEN}]}
    whole = (spec or {}) | ({"taints": taints} if taints else {})
    made = resource(NODE, name, whole, status, labels=labels or {})
    del made["metadata"]["namespace"]
    return made


def ended(message: str = "", code: int = 0, reason: str = "Completed", recorder: Json | None = None) -> Json:
    """Both containers of a run's pod, with the same last words unless the recorder has some of its own."""
    told = {"exitCode": min(code, 1), "message": message, "reason": "Error" if code else "Completed"}
    states = {
        "training": {"terminated": {"exitCode": code, "message": message, "reason": reason}},
        "recorder": {"terminated": told if recorder is None else recorder},
    }
    image = {"imageID": f"docker.io/smalt/trainer@{DIGEST}"}
    return {"containerStatuses": [{"name": name, "state": state} | image for name, state in states.items()]}


def model(version: int = 1, stage: str = "None", status: Json | None = None, **metadata: Any) -> Json:
    spec = {
        "name": "churn",
        "version": version,
        "workspace": "lab",
        "stage": stage,
        "source": {"run": "first", "output": "model", "digest": DIGEST},
    }
    artifact = {"uri": "mlflow-artifacts:/1/a/artifacts/outputs/model", "digest": DIGEST, "bytes": 3, "files": 1}
    return resource(
        MODEL,
        f"churn-{version}",
        spec,
        ready("Registered") | {"artifact": artifact} if status is None else status,
        **metadata,
    )


def deployment(status: Json | None = None, **spec: Any) -> Json:
    whole = {"workspace": "lab", "model": {"name": "churn", "version": 1}} | spec
    return resource(DEPLOYMENT, "prod", whole, status)


def owned_by(owner: Json) -> Json:
    reference = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "controller": True}
    names = {"name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"]}
    return {"ownerReferences": [reference | names]}


def store_of(*resources: Json) -> Store:
    made = Store()
    for each in resources:
        made.upsert(kind_of(each["apiVersion"], each["kind"]), each)
    return made


def said(status: Json | None, kind: str = "Ready") -> Json:
    """The condition of that type."""
    assert status is not None
    return next((each for each in status["conditions"] if each["type"] == kind), {})
