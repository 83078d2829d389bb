"""The operator's experiments in order, each on an API server of its own: none inherits another's etcd."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from bench.operator import growing, making, writing
from bench.operator.lab import Lab
from bench.rows import Row
from cluster.progress import step
from support.controlplane import ControlPlane

EXPERIMENTS: tuple[Callable[[Lab], Awaitable[list[Row]]], ...] = (
    making.burst,
    making.backlog,
    making.latency,
    writing.finished,
    writing.rest,
    growing.history,
    growing.start,
)


def measure(only: Sequence[str] = ()) -> list[Row]:
    """All rows; `only` some experiments by name, for whoever works on one of them."""
    rows: list[Row] = []
    for experiment in EXPERIMENTS:
        name = experiment.__name__
        if only and name not in only:
            continue
        with tempfile.TemporaryDirectory(prefix=f"bench-{name}-") as place:
            folder = Path(place)
            with step(f"{name}: an API server"):
                plane = ControlPlane(folder / "plane")
            with plane:
                rows += asyncio.run(_run(experiment, Lab(plane, folder)))
    return rows


async def _run(experiment: Callable[[Lab], Awaitable[list[Row]]], lab: Lab) -> list[Row]:
    return await experiment(lab)
