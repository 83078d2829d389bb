"""What a long history costs: memory, the time of one more run, and the next start."""

from __future__ import annotations

import asyncio
import re
import urllib.request
from dataclasses import dataclass

from bench.operator.api import each
from bench.operator.lab import OURS, ROUNDS, Lab, names, run_spec, scaled
from bench.operator.making import middle, one_by_one
from bench.operator.player import finish
from bench.operator.program import Program
from bench.rows import CannotMeasure, Row
from cluster.progress import step
from smalt.api.kinds import TRAINING_RUN

# kopf ends its worker for an object after five idle seconds, and counts are written by then too.
SETTLE_SECONDS = 15.0
RUNS = 50


async def history(lab: Lab) -> list[Row]:
    """One namespace grows to three thousand finished runs, with their Jobs and pods; then it is compared with an empty one."""
    few, many = scaled(1000), scaled(3000)
    grown = lab.namespace("grown")
    with lab.ours(grown) as program:
        await lab.workspace(grown)
        first = await _grow(lab, program, grown, names(many)[:few])
        second = await _grow(lab, program, grown, names(many)[few:])
    print(f"    {first:.0f} MiB with {few} runs, {second:.0f} MiB with {many}", flush=True)
    # Both goals together: the second number above hides what the first one's burst left unused in the process.
    allowed = round(130 + (many - few) * 30 / 1024)
    rows = [
        Row(f"resident memory, {few} finished runs", "MiB", "<= 130", [first]),
        Row(f"memory for each more, {few} to {many}", "kB", "<= 30", [(second - first) * 1024 / (many - few)]),
    ]
    return rows + await _reconciles(lab, grown, many, f"<= {allowed}")


async def _grow(lab: Lab, program: Program, namespace: str, runs: list[str]) -> float:
    """MiB resident after so many more runs have gone through it."""
    with step(f"{len(runs)} runs to their end"):
        jobs = lab.jobs(namespace, OURS)
        await lab.load(TRAINING_RUN, namespace, runs)
        async with lab.api() as api:
            await finish(api, namespace, jobs, len(runs))
            await asyncio.sleep(SETTLE_SECONDS)
            found = await api.get(TRAINING_RUN.path(namespace, runs[-1]))
        if not (found.get("status") or {}).get("completionTime"):
            raise CannotMeasure(f"TrainingRun '{runs[-1]}' is not finished: {found.get('status')}")
    return program.resident_mib


@dataclass(frozen=True)
class Spent:
    """What the operator says of its reconciles, and the kernel of its CPU."""

    reconciles: float
    seconds: float
    cpu: float

    def since(self, before: Spent) -> Spent:
        return Spent(self.reconciles - before.reconciles, self.seconds - before.seconds, self.cpu - before.cpu)


async def _reconciles(lab: Lab, grown: str, many: int, allowed: str) -> list[Row]:
    """By the operator's own histogram; the empty namespace is a fresh one each round."""
    full: list[float] = []
    empty: list[float] = []
    resident: list[float] = []
    for number in range(1, ROUNDS + 1):
        with step(f"reconciles {number}: {RUNS} runs with none and with {many} finished"):
            fresh = lab.namespace("fresh")
            for namespace, into in ((fresh, empty), (grown, full)):
                mean, after_start = await _mean(lab, namespace, number, is_new=namespace == fresh)
                into.append(mean)
            resident.append(after_start)
    return [
        Row(f"memory after a restart, {many} finished runs", "MiB", allowed, resident),
        Row(f"one reconcile: with {many} finished runs, with none", "ms", "<= 1.5", full, empty),
    ]


async def _mean(lab: Lab, namespace: str, number: int, is_new: bool) -> tuple[float, float]:
    """Milliseconds of one reconcile of a run, and the MiB that were resident after the start."""
    wanted = names(RUNS, f"more-{number}")
    with lab.ours(namespace) as program:
        if is_new:
            await lab.workspace(namespace)
        jobs = lab.jobs(namespace, OURS)
        await lab.load(TRAINING_RUN, namespace, [f"first-{number}"])
        program.wait(jobs.reach(1), "first Job")
        program.wait_until_idle()
        resident, before = program.resident_mib, _spent(lab, program)
        latencies = await one_by_one(lab, TRAINING_RUN, namespace, OURS, wanted, run_spec())
        async with lab.api() as api:
            # Played to their end too: most reconciles of a run's life come after its Job.
            await finish(api, namespace, jobs, len(wanted) + 1)
        await asyncio.sleep(2)
        spent = _spent(lab, program).since(before)
    mean = spent.seconds / spent.reconciles * 1000
    cpu = spent.cpu / len(wanted) * 1000
    print(
        f"    {namespace}: {mean:.1f} ms a reconcile, {middle(latencies):.1f} ms to the Job, {cpu:.0f} ms CPU a run, "
        f"{resident:.0f} MiB after the start",
        flush=True,
    )
    return mean, resident


def _spent(lab: Lab, program: Program) -> Spent:
    with urllib.request.urlopen(f"http://127.0.0.1:{lab.port}/metrics", timeout=30) as answer:
        text = answer.read().decode()

    def of_runs(name: str) -> float:
        found = re.search(rf'^{name}{{controller="trainingrun"}} (\S+)$', text, re.MULTILINE)
        if found is None:
            raise CannotMeasure(f"the operator's metrics have no {name} of runs")
        return float(found[1])

    family = "controller_runtime_reconcile_time_seconds"
    return Spent(of_runs(f"{family}_count"), of_runs(f"{family}_sum"), program.cpu_seconds)


async def start(lab: Lab) -> list[Row]:
    """Ten thousand finished runs and a new one exist; from the process's start to the new one's Job."""
    count = scaled(10_000)
    namespace = lab.namespace("start")
    with step(f"{count} finished runs"):
        with lab.ours(namespace) as program:
            await lab.workspace(namespace)
            jobs = lab.jobs(namespace, OURS)
            await lab.load(TRAINING_RUN, namespace, ["pattern"])
            async with lab.api() as api:
                await finish(api, namespace, jobs, 1)
                await asyncio.sleep(2)
                pattern = (await api.get(TRAINING_RUN.path(namespace, "pattern")))["status"]
            program.wait(jobs.reach(1), "first Job")
        await lab.load(TRAINING_RUN, namespace, names(count))
        async with lab.api() as api:
            # Written here: ten thousand real ends would take many minutes and leave the same objects.
            await each(
                names(count),
                lambda name: api.merge(TRAINING_RUN.path(namespace, name, "status"), {"status": pattern}),
            )
    seconds = []
    for number in range(1, ROUNDS + 1):
        with step(f"start {number} with {count} objects"):
            await lab.load(TRAINING_RUN, namespace, [f"new-{number}"])
            jobs = lab.jobs(namespace, OURS)
            with lab.ours(namespace) as program:
                program.wait(jobs.reach(1), "first Job")
                seconds.append(jobs.last - program.started)
                program.wait_until_idle()
                resident = program.resident_mib
        print(f"    {seconds[-1]:.1f} s, {resident:.0f} MiB", flush=True)
    return [Row(f"start with {count} objects to the first Job", "s", "<= 30", seconds)]
