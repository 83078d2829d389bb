"""One API server, its users, and the objects that an experiment begins with."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import socket
from collections.abc import Iterable
from pathlib import Path

from bench.operator.api import Api, Json, each
from bench.operator.audit import Jobs
from bench.operator.player import play_deployments
from bench.operator.program import PEERS, Program, naive, ours, plain_loop
from bench.rows import CannotMeasure
from smalt.api import conditions
from smalt.api.kinds import EXPERIMENT, JOB, TRAINING_RUN, WORKSPACE, Kind
from support.controlplane import ControlPlane

OURS, NAIVE, LOOP, LOADER = "bench-ours", "bench-naive", "bench-loop", "bench-loader"
NAIVE_RUN = Kind("NaiveRun", "naiveruns", "bench.smalt.dev", "v1")
ROUNDS = 3


def scaled(count: int) -> int:
    """BENCH_SCALE=0.1 tries everything with a tenth of the objects."""
    return max(1, round(count * float(os.environ.get("BENCH_SCALE", "1"))))


class Lab:
    """Everybody has a user of their own, so that the audit log tells them apart."""

    def __init__(self, plane: ControlPlane, folder: Path) -> None:
        self.plane, self.folder = plane, folder
        self._numbers = itertools.count(1)
        self.users = {
            user: plane.plane.kubeconfig_for(user, f"/O=system:masters/CN={user}")
            for user in (OURS, NAIVE, LOOP, LOADER)
        }
        self.template = folder / "job.json"

    def api(self) -> Api:
        return Api(self.users[LOADER])

    def jobs(self, namespace: str, user: str) -> Jobs:
        return Jobs(self.plane.audit_log, namespace, user)

    # --- programs ---

    def ours(self, namespace: str) -> Program:
        """With a Lease of its own: waiting for a dead one's is not what is measured."""
        number = next(self._numbers)
        self.port = _free_port()
        log = self.folder / f"ours-{number}.log"
        return ours(self.users[OURS], namespace, f"smalt-{number}", self.port, log)

    def naive(self, namespace: str) -> Program:
        log = self.folder / f"naive-{next(self._numbers)}.log"
        return naive(self.users[NAIVE], namespace, self.template, log)

    def plain_loop(self, namespace: str, count: int) -> Program:
        log = self.folder / f"loop-{next(self._numbers)}.log"
        return plain_loop(self.users[LOOP], namespace, self.template, count, log)

    # --- objects ---

    def namespace(self, word: str) -> str:
        name = f"{word}-{next(self._numbers)}"
        self.plane.kubectl("create", "namespace", name)
        return name

    async def workspace(self, namespace: str) -> None:
        """A Workspace whose tracking server is played available, and an Experiment ready for runs; ours is running."""
        async with self.api() as api:
            await api.create(WORKSPACE.path(namespace), _named(WORKSPACE, "lab", {}))
            objective = {"primaryMetric": "auc", "goal": "maximize"}
            experiment = _named(EXPERIMENT, "trials", {"workspace": "lab", "objective": objective})
            await api.create(EXPERIMENT.path(namespace), experiment)
            for _ in range(300):
                await play_deployments(api, namespace)
                found = await api.get(EXPERIMENT.path(namespace, "trials"))
                if conditions.is_ready(found):
                    return
                await asyncio.sleep(0.1)
        raise CannotMeasure(f"Experiment 'trials' in {namespace} is not ready: {found.get('status')}")

    async def load(self, kind: Kind, namespace: str, names: Iterable[str], spec: Json | None = None) -> None:
        """Sixteen creations at a time."""
        path, whole = kind.path(namespace), spec or run_spec()
        async with self.api() as api:
            await each(names, lambda name: api.create(path, _named(kind, name, whole)))

    def file(self, kind: Kind, namespace: str, names: Iterable[str]) -> Path:
        """All of them in a file, for `kubectl apply -f`."""
        path = self.folder / f"{namespace}.json"
        documents = [_named(kind, name, run_spec(), namespace) for name in names]
        path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": documents}))
        return path

    def warm(self, program: Program, kind: Kind, namespace: str, user: str) -> None:
        """Until the program serves: one object of its own gets its Job. Imports and connections are then paid."""
        jobs = self.jobs(namespace, user)
        self.plane.kubectl("apply", "--server-side", "-f", str(self.file(kind, namespace, ["warm"])))
        program.wait(jobs.reach(1), "first Job")

    async def learn_job(self) -> None:
        """Writes down the Job that ours makes of a run, so that the peers make the same."""
        self.plane.kubectl("apply", "--server-side", "-f", str(PEERS / "naive_crd.yaml"))
        self.plane.kubectl("wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")
        namespace = self.namespace("learn")
        with self.ours(namespace) as program:
            await self.workspace(namespace)
            self.warm(program, TRAINING_RUN, namespace, OURS)
            async with self.api() as api:
                found = await api.get(JOB.path(namespace, "warm-1"))
        self.template.write_text(json.dumps(_template(found)))


def names(count: int, word: str = "run") -> list[str]:
    return [f"{word}-{number}" for number in range(count)]


def run_spec(registers: bool = False) -> Json:
    """A run of ordinary size: inline code, two parameters, packages."""
    code = "\n".join(f"print('step {number} of the training')" for number in range(20))
    spec: Json = {
        "experiment": "trials",
        "code": {"inline": {"train.py": code}},
        "command": "python train.py --C ${{parameters.C}} --model ${{outputs.model}}",
        "environment": {"pip": ["scikit-learn==1.7.2"]},
        "parameters": {"C": 0.5, "kernel": "linear"},
        "outputs": {"model": {"type": "customModel"}},
    }
    return spec | ({"register": {"model": "trials", "from": "model"}} if registers else {})


def _named(kind: Kind, name: str, spec: Json, namespace: str = "") -> Json:
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, "spec": spec}


def _template(job: Json) -> Json:
    """As it was asked for, without what the API server has added to this one."""
    spec = {key: value for key, value in job["spec"].items() if key not in ("selector", "suspend")}
    labels = {key: value for key, value in job["metadata"]["labels"].items() if "job-name" not in key}
    pod = dict(spec["template"]["metadata"])
    pod["labels"] = {
        key: value for key, value in pod["labels"].items() if "job-name" not in key and "controller-uid" not in key
    }
    pod.pop("creationTimestamp", None)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"labels": labels},
        "spec": spec | {"template": {**spec["template"], "metadata": pod}},
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
