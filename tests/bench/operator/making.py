"""How soon there are Jobs: for runs that wait already, for a thousand that are applied, for one at a time."""

from __future__ import annotations

import asyncio
import time
from statistics import quantiles

from bench.operator.api import Json
from bench.operator.audit import Audit, Jobs
from bench.operator.lab import LOADER, LOOP, NAIVE, NAIVE_RUN, OURS, ROUNDS, Lab, names, run_spec, scaled
from bench.operator.program import Program
from bench.rows import CannotMeasure, Row
from cluster.progress import step
from smalt.api.kinds import TRAINING_RUN, Kind


async def burst(lab: Lab) -> list[Row]:
    """Runs exist and the operator starts; the peer is a loop that makes as many Jobs."""
    count = scaled(1000)
    mine: list[float] = []
    peer: list[float] = []
    await lab.learn_job()
    for number in range(1, ROUNDS + 1):
        with step(f"burst {number}: {count} runs exist, the operator starts"):
            namespace = lab.namespace("burst")
            with lab.ours(namespace):
                await lab.workspace(namespace)
            await lab.load(TRAINING_RUN, namespace, names(count))
            jobs = lab.jobs(namespace, OURS)
            with lab.ours(namespace) as program:
                mine.append(_span(program, jobs, count))
        with step(f"burst {number}: the plain loop makes {count} Jobs"):
            namespace = lab.namespace("loop")
            jobs = lab.jobs(namespace, LOOP)
            with lab.plain_loop(namespace, count) as program:
                peer.append(_span(program, jobs, count))
        print(f"    {mine[-1]:.2f} s and {peer[-1]:.2f} s", flush=True)
    return [Row(f"{count} runs exist: first to last Job", "s", "<= 1.4", mine, peer)]


def _span(program: Program, jobs: Jobs, count: int) -> float:
    program.wait(jobs.reach(count), f"{count} Jobs", every=0.25)
    return jobs.span


async def backlog(lab: Lab) -> list[Row]:
    """From the start of kubectl to the last Job; each side has its own kind, so that the other does not see it."""
    count = scaled(1000)
    mine: list[float] = []
    peer: list[float] = []
    await lab.learn_job()
    for number in range(1, ROUNDS + 1):
        with step(f"apply {number}: {count} runs, ours"):
            namespace = lab.namespace("apply")
            with lab.ours(namespace) as program:
                await lab.workspace(namespace)
                lab.warm(program, TRAINING_RUN, namespace, OURS)
                mine.append(_applied(lab, program, TRAINING_RUN, namespace, OURS, count))
        with step(f"apply {number}: {count} resources, naive kopf"):
            namespace = lab.namespace("naive")
            with lab.naive(namespace) as program:
                lab.warm(program, NAIVE_RUN, namespace, NAIVE)
                peer.append(_applied(lab, program, NAIVE_RUN, namespace, NAIVE, count))
        print(f"    {mine[-1]:.2f} s and {peer[-1]:.2f} s", flush=True)
    return [Row(f"apply of {count} runs: start to last Job", "s", "<= 0.5", mine, peer)]


def _applied(lab: Lab, program: Program, kind: Kind, namespace: str, user: str, count: int) -> float:
    file = lab.file(kind, namespace, names(count))
    jobs = lab.jobs(namespace, user)
    began = time.time()
    lab.plane.kubectl("apply", "--server-side", "-f", str(file))
    loaded = time.time() - began
    program.wait(jobs.reach(count), f"{count} Jobs", every=0.25)
    # kubectl sends one after the other and shares the CPUs: nobody can be done before it.
    print(f"    kubectl took {loaded:.2f} s, the last Job came {jobs.last - began - loaded:+.2f} s later", flush=True)
    return jobs.last - began


async def latency(lab: Lab) -> list[Row]:
    """One at a time, with nothing else to do: from the creation's arrival to the Job's answer."""
    count = max(10, scaled(50))
    mine: list[list[float]] = []
    peer: list[list[float]] = []
    await lab.learn_job()
    for number in range(1, ROUNDS + 1):
        with step(f"latency {number}: {count} runs one by one, ours"):
            namespace = lab.namespace("one")
            with lab.ours(namespace) as program:
                await lab.workspace(namespace)
                lab.warm(program, TRAINING_RUN, namespace, OURS)
                mine.append(await one_by_one(lab, TRAINING_RUN, namespace, OURS, names(count), run_spec()))
        with step(f"latency {number}: {count} resources one by one, naive kopf"):
            namespace = lab.namespace("naive")
            with lab.naive(namespace) as program:
                lab.warm(program, NAIVE_RUN, namespace, NAIVE)
                peer.append(await one_by_one(lab, NAIVE_RUN, namespace, NAIVE, names(count), run_spec()))
    return [
        Row(
            "one run to its Job, p50", "ms", "<= 0.7", [middle(each) for each in mine], [middle(each) for each in peer]
        ),
        Row("one run to its Job, p99", "ms", "<= 1", [last(each) for each in mine], [last(each) for each in peer]),
    ]


async def one_by_one(lab: Lab, kind: Kind, namespace: str, user: str, wanted: list[str], spec: Json) -> list[float]:
    """Milliseconds of each; the next is made when the one before has its Job and has been seen to have it."""
    audit = Audit(lab.plane.audit_log)
    jobs = lab.jobs(namespace, user)
    async with lab.api() as api:
        for name in wanted:
            made = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": name}, "spec": spec}
            await api.create(kind.path(namespace), made)
            await _until_seen(jobs, f"{name}-1")
    created = {
        entry.name: entry.received
        for entry in audit.new(b'"resource":"%s"' % kind.plural.encode())
        if entry.user == LOADER and entry.verb == "create" and entry.namespace == namespace
    }
    return [(jobs.made[f"{name}-1"].answered - created[name]) * 1000 for name in wanted]


async def _until_seen(jobs: Jobs, name: str) -> None:
    for _ in range(3000):
        jobs.look()
        if name in jobs.made:
            # What the operator does afterwards is not to be in the next one's way.
            await asyncio.sleep(0.1)
            return
        await asyncio.sleep(0.01)
    raise CannotMeasure(f"Job '{name}' was not made within 30 s")


def middle(numbers: list[float]) -> float:
    return quantiles(numbers, n=100, method="inclusive")[49]


def last(numbers: list[float]) -> float:
    return quantiles(numbers, n=100, method="inclusive")[98]
