"""What the operator writes: for a run from its beginning to its end, and when there is nothing to do."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter

from bench.operator.api import each
from bench.operator.audit import Audit, Entry
from bench.operator.lab import OURS, Lab, names, run_spec, scaled
from bench.operator.player import finish, start_job
from bench.operator.program import Program
from bench.rows import CannotMeasure, Row
from cluster.progress import step
from smalt.api.kinds import TRAINING_RUN

# Long enough for every state of a run to be seen and written, as with real pods.
RUNNING_SECONDS = 3.0
# Counts of runs may lag by five seconds; nothing that is due comes later than this.
CALM_SECONDS = 12.0
RENEW_SECONDS = 5.0


async def finished(lab: Lab) -> list[Row]:
    """Everything the operator writes while runs are made, run for three seconds and register a model each."""
    count = scaled(50)
    namespace = lab.namespace("finished")
    with lab.ours(namespace) as program:
        await lab.workspace(namespace)
        await _calm(lab, program)
        with step(f"{count} runs to their end, a model each"):
            audit = Audit(lab.plane.audit_log)
            await _finish(lab, namespace, names(count))
            await _calm(lab, program)
    writes = _writes(audit)
    print(f"    {_told(writes)}", flush=True)
    return [Row("writes for a finished run", "writes", "<= 6", [len(writes) / count])]


async def rest(lab: Lab) -> list[Row]:
    """Finished runs, their models, and running ones; then nothing happens for BENCH_REST_SECONDS (300)."""
    seconds = float(os.environ.get("BENCH_REST_SECONDS", "300"))
    ended, running = scaled(60), scaled(78)
    namespace = lab.namespace("rest")
    with lab.ours(namespace) as program:
        await lab.workspace(namespace)
        with step(f"{2 * ended + running + 2} objects: {ended} finished runs with models, {running} that run"):
            await _finish(lab, namespace, names(ended, "ended"), seconds=0.5)
            await _start(lab, program, namespace, names(running, "running"))
            await _calm(lab, program)
        with step(f"at rest for {seconds:.0f} s"):
            cpu = program.cpu_seconds
            entries = await _watched(lab, seconds)
            spent = program.cpu_seconds - cpu
    writes = [entry for _, entry in entries if entry.resource != "leases"]
    renewals = [seen for seen, entry in entries if entry.resource == "leases"]
    if len(renewals) < 3:
        raise CannotMeasure(f"{seconds:.0f} s are too short to see how often the Lease is renewed: BENCH_REST_SECONDS")
    # By their distance: a window's edges would count one too many or too few.
    rate = RENEW_SECONDS * (len(renewals) - 1) / (renewals[-1] - renewals[0])
    print(f"    {_told(writes) or 'no writes'}; {spent / seconds * 1000:.1f} ms of CPU a second", flush=True)
    return [
        Row(f"writes at rest, {2 * ended + running + 2} objects, {seconds:.0f} s", "writes", "<= 0", [len(writes)]),
        Row("renewals of the Lease in 5 s", "writes", "<= 1", [rate]),
    ]


async def _watched(lab: Lab, seconds: float) -> list[tuple[float, Entry]]:
    """The operator's writes, and when they were seen by the clock that nobody sets: the log's own may be corrected."""
    audit, deadline = Audit(lab.plane.audit_log), time.monotonic() + seconds
    entries: list[tuple[float, Entry]] = []
    while time.monotonic() < deadline:
        await asyncio.sleep(0.1)
        seen = time.monotonic()
        entries += [(seen, entry) for entry in audit.new(OURS.encode()) if entry.user == OURS and entry.is_write]
    return entries


async def _finish(lab: Lab, namespace: str, runs: list[str], seconds: float = RUNNING_SECONDS) -> None:
    jobs = lab.jobs(namespace, OURS)
    await lab.load(TRAINING_RUN, namespace, runs, run_spec(registers=True))
    async with lab.api() as api:
        await finish(api, namespace, jobs, len(runs), seconds)


async def _start(lab: Lab, program: Program, namespace: str, runs: list[str]) -> None:
    jobs = lab.jobs(namespace, OURS)
    await lab.load(TRAINING_RUN, namespace, runs)
    program.wait(jobs.reach(len(runs)), f"{len(runs)} Jobs")
    async with lab.api() as api:
        await each(jobs.made, lambda name: start_job(api, namespace, name))


async def _calm(lab: Lab, program: Program) -> None:
    """Until the operator has written nothing for a while. CannotMeasure when it goes on for minutes."""
    deadline = time.monotonic() + 180
    audit, since = Audit(lab.plane.audit_log), time.monotonic()
    while time.monotonic() - since < CALM_SECONDS:
        if _writes(audit):
            since = time.monotonic()
        if time.monotonic() > deadline:
            raise CannotMeasure(f"the operator still writes after three minutes: see {program.log}")
        await asyncio.sleep(0.5)


def _writes(audit: Audit) -> list[Entry]:
    """By the operator, besides its Lease."""
    mine = (entry for entry in audit.new(OURS.encode()) if entry.user == OURS)
    return [entry for entry in mine if entry.is_write and entry.resource != "leases"]


def _told(writes: list[Entry]) -> str:
    """Which ones, the most frequent first."""
    kinds = Counter(
        f"{entry.verb} {entry.resource}{'/' * bool(entry.subresource)}{entry.subresource}" for entry in writes
    )
    return ", ".join(f"{number} x {kind}" for kind, number in kinds.most_common())
