"""Throughput of one worker at 1, 16 and 64 callers, probes meanwhile, cold start and memory: all servers in turn, in one sitting.

A ratio is ours to Azure's own server in the same round, or to the best of the others at its best setting.
BENCH_SECONDS=… makes each measurement longer (3 s), BENCH_ROUNDS=… their number (3).
"""

from __future__ import annotations

import os
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.rows import Row
from bench.scoring import models
from bench.scoring.load import Load, loaded
from bench.scoring.models import Iris
from bench.scoring.servers import AZURE, OTHERS, OURS, Program, running
from cluster.progress import step

CALLERS = (1, 16, 64)
WARM_UP_SECONDS = 1
# Ours, the model, and the ratios to Azure's server with the same model at 1, 16 and 64 callers.
GOALS = {
    ("script", "linear"): (3, 9, 11),
    ("direct", "linear"): (3, 12, 14),
    ("script", "forest"): (7, 45, 70),
    ("direct", "forest"): (7, 50, 90),
    ("onnx", "forest"): (18, 80, 100),
    ("script alone", "linear"): (2, 3, 3),
}
# To the best of the others at 64 callers.
BEST = {"linear": 4, "forest": 5}
P99_MS = {"linear": 6, "forest": 8}
Found = dict[tuple[str, str, int], list[Load]]
Costs = dict[tuple[str, str], list[tuple[float, float]]]


def measure(only: Sequence[str] = ()) -> list[Row]:
    """All rows; `only` names models, or servers of ours."""
    rounds, seconds = int(os.environ.get("BENCH_ROUNDS", "3")), int(os.environ.get("BENCH_SECONDS", "3"))
    found: Found = defaultdict(list)
    costs: Costs = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="bench-scoring-models-") as folder:
        irises = {iris.name: iris for iris in (models.linear(Path(folder)), models.forest(Path(folder)))}
        for number in range(1, rounds + 1):
            for name, program, iris in _turns(irises, only):
                with step(f"scoring {number}: {name}, {iris.name}"):
                    _one(name, program, iris, seconds, found, costs)
    return [*_against_azure(found), *_against_best(found), *_delays(found), *_costs(costs)]


def _turns(irises: dict[str, Iris], only: Sequence[str]) -> Iterator[tuple[str, Program, Iris]]:
    """A model's servers one after the other, so that what they are compared by is minutes old at most."""
    for model, iris in irises.items():
        if only and model not in only and not set(only) & set(OURS):
            continue
        for name, program in OTHERS.items():
            if not only or name == AZURE:
                yield name, program, iris
        for ours, of in GOALS:
            if of == model and (not only or ours in only or model in only):
                yield ours, OURS[ours], iris


def _one(name: str, program: Program, iris: Iris, seconds: int, found: Found, costs: Costs) -> None:
    with running(program, iris) as server:
        loaded(server, iris, CALLERS[-1], WARM_UP_SECONDS)
        for callers in CALLERS:
            found[name, iris.name, callers].append(loaded(server, iris, callers, seconds))
        costs[name, iris.name].append((server.start_seconds, server.memory_mib()))


def _against_azure(found: Found) -> list[Row]:
    made = []
    for (ours, model), goals in GOALS.items():
        for callers, goal in zip(CALLERS, goals, strict=True):
            mine, peer = found[ours, model, callers], found[AZURE, model, callers]
            if mine and peer:
                what = f"{model}, {ours}, {callers} callers: against {AZURE}"
                made.append(Row(what, "1/s", f">= {goal}", _speeds(mine), _speeds(peer)))
    return made


def _against_best(found: Found) -> list[Row]:
    made = []
    for model, goal in BEST.items():
        others = {name: _speeds(found[name, model, CALLERS[-1]]) for name in OTHERS if found[name, model, CALLERS[-1]]}
        mine = found["direct", model, CALLERS[-1]]
        if mine and len(others) == len(OTHERS):
            best = max(others, key=lambda name: max(others[name]))
            what = f"{model}, direct, {CALLERS[-1]} callers: against the best other, {best}"
            made.append(Row(what, "1/s", f">= {goal}", _speeds(mine), others[best]))
    return made


def _delays(found: Found) -> list[Row]:
    made = []
    for ours, model in GOALS:
        loads = found[ours, model, CALLERS[-1]]
        if not loads or ours == "script alone":
            continue
        azure = found[AZURE, model, CALLERS[-1]]
        what, p99 = f"{model}, {ours}, {CALLERS[-1]} callers", [each.p99_ms for each in loads]
        theirs = [each.p99_ms for each in azure]
        made.append(Row(f"{what}: p99", "ms", f"<= {P99_MS[model]}", p99, theirs, is_absolute=True))
        probes, failed = [each.probe_p99_ms for each in loads], [float(each.probes_failed) for each in loads]
        theirs = [each.probe_p99_ms for each in azure]
        made.append(Row(f"{what}: p99 of a probe", "ms", "<= 20", probes, theirs, is_absolute=True))
        made.append(Row(f"{what}: probes that failed", "", "<= 0", failed))
    return made


def _costs(costs: Costs) -> list[Row]:
    made = []
    for (ours, model), found in costs.items():
        if ours not in ("script", "direct", "onnx"):
            continue
        azure = costs[AZURE, model]
        seconds, memory = (0.5, 105) if ours == "onnx" else (1.2, 145)
        what = f"{model}, {ours}"
        starts, theirs = [each[0] for each in found], [each[0] for each in azure]
        made.append(Row(f"{what}: cold start", "s", f"<= {seconds}", starts, theirs, is_absolute=True))
        sizes, theirs = [each[1] for each in found], [each[1] for each in azure]
        made.append(Row(f"{what}: memory", "MiB", f"<= {memory}", sizes, theirs, is_absolute=True))
    return made


def _speeds(loads: Sequence[Load]) -> list[float]:
    return [each.per_second for each in loads]
