"""Plays the node: without one, pods, Jobs, volumes and Deployments get the results that a test chooses.

The API server is real; only what a kubelet and the controllers would report is written here, so that a round of
the whole quickstart takes seconds.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from support.controlplane import ControlPlane
from support.rest import Rest

Json = dict[str, Any]
DIGEST = "sha256:" + "ab" * 32
MANAGED = "app.kubernetes.io/managed-by=smalt"


def successful_result() -> Json:
    """What the trainer leaves as its termination message (the contract's version 1)."""
    return {
        "version": 1,
        "outcome": "succeeded",
        "reason": "",
        "message": "",
        "exitCode": 0,
        "metrics": {"auc": 0.97},
        "nonFinite": [],
        "digests": {"code": DIGEST, "data": {"train": DIGEST}, "environment": DIGEST, "parameters": DIGEST},
        "outputs": {
            "model": {
                "uri": "mlflow-artifacts:/1/abc/artifacts/outputs/model",
                "digest": DIGEST,
                "bytes": 10,
                "files": 1,
            }
        },
        "tracking": {"runId": "abc", "experimentId": "1"},
    }


def is_registration(template: Json) -> bool:
    return bool(template["metadata"]["labels"].get("app.kubernetes.io/component") == "registration")


def registered(template: Json) -> Json:
    """What a registration Job's last container says of the files that its contract names."""
    contract = json.loads(template["metadata"]["annotations"]["smalt.dev/registration"])
    uri = f"mlflow-artifacts:/9/{contract['model']['object']}/artifacts"
    return {
        "artifact": {"uri": f"{uri}/model", "digest": contract["source"]["digest"], "bytes": 10, "files": 1},
        "format": "joblib",
        "card": f"{uri}/card.html",
        "registry": {"version": str(contract["model"]["version"]), "runId": contract["model"]["object"]},
    }


@dataclass
class Player:
    """Watches one namespace and answers."""

    plane: ControlPlane
    namespace: str
    result: Callable[[], Json] = successful_result
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Player:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        assert self._thread is not None
        self._thread.join(10)

    def _run(self) -> None:
        self._rest = Rest(self.plane.kubeconfig, self.namespace)
        while not self._stop.wait(0.2):
            self._step()

    def _step(self) -> None:
        """One look at everything that waits for a node, and its answer."""
        pods = self._rest.list("pods", MANAGED)
        for claim in self._rest.list("persistentvolumeclaims", MANAGED):
            self._bind(claim)
        for deployment in self._rest.list("deployments", MANAGED):
            self._roll_out(deployment, pods)
        for job in self._rest.list("jobs", MANAGED):
            self._finish(job, pods)

    def _bind(self, claim: Json) -> None:
        if claim.get("status", {}).get("phase") != "Bound":
            self._rest.patch_status("persistentvolumeclaims", claim["metadata"]["name"], {"phase": "Bound"})

    def _roll_out(self, deployment: Json, pods: list[Json]) -> None:
        """A pod that is ready for the current template, and a status that says so."""
        generation = deployment["metadata"]["generation"]
        name = f"{deployment['metadata']['name']}-{generation}"
        if not any(pod["metadata"]["name"] == name for pod in pods):
            self._pod(name, deployment, deployment["spec"]["template"])
        status = {
            "observedGeneration": generation,
            "replicas": 1,
            "readyReplicas": 1,
            "updatedReplicas": 1,
            "availableReplicas": 1,
            "conditions": [
                {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable", "message": ""}
            ],
        }
        if deployment.get("status", {}).get("observedGeneration") != generation:
            self._rest.patch_status("deployments", deployment["metadata"]["name"], status)

    def _finish(self, job: Json, pods: list[Json]) -> None:
        if any(condition["type"] == "Complete" for condition in job.get("status", {}).get("conditions", [])):
            return
        name = f"{job['metadata']['name']}-pod"
        if not any(pod["metadata"]["name"] == name for pod in pods):
            self._pod(name, job, job["spec"]["template"], finished=True)
        started = job["metadata"]["creationTimestamp"]
        condition = {"status": "True", "lastTransitionTime": started, "reason": "CompletionsReached", "message": ""}
        status = {
            "startTime": started,
            "completionTime": started,
            "succeeded": 1,
            "uncountedTerminatedPods": {},
            "conditions": [condition | {"type": "SuccessCriteriaMet"}, condition | {"type": "Complete"}],
        }
        self._rest.patch_status("jobs", job["metadata"]["name"], status)

    def _pod(self, name: str, owner: Json, template: Json, finished: bool = False) -> None:
        metadata = {
            "name": name,
            "labels": template["metadata"]["labels"],
            "annotations": template["metadata"].get("annotations", {}),
            "ownerReferences": [
                {
                    "apiVersion": owner["apiVersion"],
                    "kind": owner["kind"],
                    "name": owner["metadata"]["name"],
                    "uid": owner["metadata"]["uid"],
                    "controller": True,
                }
            ],
        }
        if owner["kind"] == "Job":
            metadata["labels"] = metadata["labels"] | {"batch.kubernetes.io/job-name": owner["metadata"]["name"]}
        # A pod of its own API kind, but without volumes: nothing runs, only its report matters.
        containers = [{"name": each["name"], "image": "played"} for each in template["spec"]["containers"]]
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": containers}}
        self._rest.create("pods", pod)
        said = registered(template) if is_registration(template) else self.result() if finished else {}
        self._rest.patch_status("pods", name, self._report([each["name"] for each in containers], finished, said))

    def _report(self, containers: list[str], finished: bool, said: Json) -> Json:
        instant = "2026-01-01T00:00:00Z"
        about = [
            {"name": name, "image": "played", "imageID": f"played@{DIGEST}", "restartCount": 0} for name in containers
        ]
        if finished:
            state = {
                "exitCode": 0,
                "reason": "Completed",
                "message": json.dumps(said),
                "startedAt": instant,
                "finishedAt": instant,
            }
            return {
                "phase": "Succeeded",
                "containerStatuses": [each | {"ready": False, "state": {"terminated": state}} for each in about],
            }
        running = {"ready": True, "started": True, "state": {"running": {"startedAt": instant}}}
        return {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [each | running for each in about],
        }
