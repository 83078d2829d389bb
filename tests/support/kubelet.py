"""Plays the kubelet beside the cluster's own Job controller: pods of Jobs run, and end when they are told to.

What becomes of a Job is the real controller's doing: when it makes pods, deletes them, and takes itself for done.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from support.player import DIGEST, Player, registered, successful_result
from support.rest import RequestRefused

Json = dict[str, Any]
RUNS = "app.kubernetes.io/component=training"
REGISTRATIONS = "app.kubernetes.io/component=registration"
RUN_LABEL = "smalt.dev/run"
TERMINATED: Json = {
    "version": 1,
    "outcome": "failed",
    "reason": "Terminated",
    "message": "the pod was told to end",
    "tracking": {"runId": "abc", "experimentId": "1"},
}


@dataclass(frozen=True)
class End:
    """How a pod ends: its containers' last words and exit code, and the reason of a disruption."""

    words: Json
    code: int = 0
    disruption: str = ""


def well() -> End:
    return End(successful_result())


@dataclass
class Kubelet(Player):
    """`lasts` is for how long pods run by themselves, for ever when None; `started_before` dates their start back."""

    lasts: float | None = None
    started_before: float = 0.0
    told: dict[str, End] = field(default_factory=dict)
    _since: dict[str, datetime] = field(default_factory=dict)

    def end(self, run: str, how: End | None = None) -> None:
        """The present pod of the run ends, once."""
        self.told[run] = how or well()

    def _finish(self, job: Json, pods: list[Json]) -> None:
        """Jobs have their own controller here."""

    def _step(self) -> None:
        super()._step()
        registering = [(pod, self._register) for pod in self._rest.list("pods", REGISTRATIONS)]
        for pod, act in [*registering, *((pod, self._carry_on) for pod in self._rest.list("pods", RUNS))]:
            try:
                act(pod)
            except RequestRefused as refused:
                if ": 404" not in str(refused) and ": 409" not in str(refused):
                    raise

    def _register(self, pod: Json) -> None:
        """What registers a Model is done at once."""
        if pod["status"].get("phase") not in ("Succeeded", "Failed"):
            self._terminate(pod, End(registered({"metadata": pod["metadata"]})))

    def _carry_on(self, pod: Json) -> None:
        name, phase = pod["metadata"]["name"], pod["status"].get("phase")
        if phase in ("Succeeded", "Failed"):
            if pod["metadata"].get("deletionTimestamp"):
                self._rest.delete("pods", name, {"gracePeriodSeconds": 0})
        elif pod["metadata"].get("deletionTimestamp"):
            self._terminate(pod, End(TERMINATED, 143))
        elif not pod["spec"].get("nodeName"):
            target = {"apiVersion": "v1", "kind": "Node", "name": "played"}
            binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
            self._rest.create("pods", binding, f"/{name}/binding")
        elif phase == "Pending":
            self._since[name] = datetime.now(UTC)
            self._rest.patch_status("pods", name, {"phase": "Running", **self._running(pod)})
        elif how := self._end_of(pod):
            self._terminate(pod, how)

    def _end_of(self, pod: Json) -> End | None:
        run = pod["metadata"]["labels"][RUN_LABEL]
        if run in self.told:
            return self.told.pop(run)
        since = self._since.get(pod["metadata"]["name"])
        if self.lasts is not None and since and (datetime.now(UTC) - since).total_seconds() >= self.lasts:
            return well()
        return None

    def _running(self, pod: Json) -> Json:
        start = instant(datetime.now(UTC) - timedelta(seconds=self.started_before))
        state = {"running": {"startedAt": start}}
        return {"startTime": start, "containerStatuses": statuses(pod, state, ready=True)}

    def _terminate(self, pod: Json, how: End) -> None:
        started = pod["status"].get("startTime") or instant(datetime.now(UTC))
        state = {
            "exitCode": how.code,
            "reason": "Error" if how.code else "Completed",
            "message": json.dumps(how.words),
            "startedAt": started,
            "finishedAt": instant(datetime.now(UTC)),
        }
        status: Json = {
            "phase": "Failed" if how.code else "Succeeded",
            "containerStatuses": statuses(pod, {"terminated": state}, ready=False),
        }
        if how.disruption:
            about = {"type": "DisruptionTarget", "status": "True", "reason": how.disruption, "message": "as played"}
            status["conditions"] = [about | {"lastTransitionTime": instant(datetime.now(UTC))}]
        self._rest.patch_status("pods", pod["metadata"]["name"], status)


def statuses(pod: Json, state: Json, ready: bool) -> list[Json]:
    about = {"image": "played", "imageID": f"played@{DIGEST}", "restartCount": 0, "ready": ready, "state": state}
    return [{"name": each["name"]} | about for each in pod["spec"]["containers"]]


def instant(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
