"""Plays the node for thousands of runs: the same reports as tests/support/player.py, without a kubectl for each."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime

from bench.operator.api import Api, Json, each
from bench.operator.audit import Jobs
from smalt.api.kinds import APPS_DEPLOYMENT, JOB, POD
from support.player import DIGEST, successful_result


async def play_deployments(api: Api, namespace: str) -> None:
    """Every Deployment becomes available."""
    for found in (await api.get(APPS_DEPLOYMENT.path(namespace)))["items"]:
        if (found.get("status") or {}).get("availableReplicas"):
            continue
        status = {
            "observedGeneration": found["metadata"]["generation"],
            "replicas": 1,
            "readyReplicas": 1,
            "updatedReplicas": 1,
            "availableReplicas": 1,
        }
        await api.merge(APPS_DEPLOYMENT.path(namespace, found["metadata"]["name"], "status"), {"status": status})


async def finish(api: Api, namespace: str, jobs: Jobs, count: int, seconds: float = 0.0) -> None:
    """Plays each Job as soon as it is made, until so many have succeeded after running for some seconds."""
    queue: asyncio.Queue[str] = asyncio.Queue()

    async def watch() -> None:
        seen = 0
        for name in jobs.made:
            queue.put_nowait(name)
            seen += 1
        while seen < count:
            for name in jobs.look():
                queue.put_nowait(name)
                seen += 1
            await asyncio.sleep(0.05)

    async def play(_: int) -> None:
        await play_job(api, namespace, await queue.get(), seconds)

    async with asyncio.TaskGroup() as group:
        group.create_task(watch())
        group.create_task(each(range(count), play))


async def play_job(api: Api, namespace: str, name: str, seconds: float) -> None:
    """Its pod runs (for a while, when anybody should see that) and succeeds."""
    job = await api.get(JOB.path(namespace, name))
    containers = _containers(job)
    began = _now()
    pod = _pod(job, containers)
    await api.create(POD.path(namespace), pod)
    path = POD.path(namespace, pod["metadata"]["name"], "status")
    if seconds:
        await api.merge(JOB.path(namespace, name, "status"), {"status": {"startTime": began, "active": 1}})
        await api.merge(path, {"status": _running(containers, began)})
        await asyncio.sleep(seconds)
    await api.merge(path, {"status": _succeeded(containers, began)})
    condition = {"status": "True", "lastTransitionTime": _now(), "reason": "CompletionsReached", "message": ""}
    status = {
        "startTime": began,
        "completionTime": _now(),
        "active": 0,
        "succeeded": 1,
        "uncountedTerminatedPods": {},
        "conditions": [condition | {"type": "SuccessCriteriaMet"}, condition | {"type": "Complete"}],
    }
    await api.merge(JOB.path(namespace, name, "status"), {"status": status})


async def start_job(api: Api, namespace: str, name: str) -> None:
    """Its pod runs, and goes on running."""
    job = await api.get(JOB.path(namespace, name))
    containers = _containers(job)
    pod = _pod(job, containers)
    await api.create(POD.path(namespace), pod)
    await api.merge(JOB.path(namespace, name, "status"), {"status": {"startTime": _now(), "active": 1}})
    await api.merge(POD.path(namespace, pod["metadata"]["name"], "status"), {"status": _running(containers, _now())})


def _containers(job: Json) -> list[str]:
    return [container["name"] for container in job["spec"]["template"]["spec"]["containers"]]


def _pod(job: Json, containers: list[str]) -> Json:
    name = job["metadata"]["name"]
    owner = {
        "apiVersion": job["apiVersion"],
        "kind": job["kind"],
        "name": name,
        "uid": job["metadata"]["uid"],
        "controller": True,
    }
    template = job["spec"]["template"]["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{name}-pod",
            "labels": template["labels"],
            "annotations": template.get("annotations", {}),
            "ownerReferences": [owner],
        },
        # No volumes: nothing runs, only the report matters.
        "spec": {
            "containers": [{"name": name, "image": "played"} for name in containers],
            "automountServiceAccountToken": False,
        },
    }


def _about(container: str) -> Json:
    return {"name": container, "image": "played", "imageID": f"played@{DIGEST}", "restartCount": 0}


def _running(containers: list[str], began: str) -> Json:
    running = {"ready": True, "started": True, "state": {"running": {"startedAt": began}}}
    return {
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": "True"}],
        "containerStatuses": [_about(name) | running for name in containers],
    }


def _succeeded(containers: list[str], began: str) -> Json:
    state = {
        "exitCode": 0,
        "reason": "Completed",
        "message": json.dumps(successful_result()),
        "startedAt": began,
        "finishedAt": _now(),
    }
    over = {"ready": False, "state": {"terminated": state}}
    return {"phase": "Succeeded", "containerStatuses": [_about(name) | over for name in containers]}


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
