"""Experiment: mirrors its Workspace's readiness for its runs, counts them and ranks them."""

from __future__ import annotations

from datetime import datetime

from smalt.api import conditions
from smalt.api.experiment import LEADERBOARD_SIZE, ExperimentSpec
from smalt.api.kinds import EXPERIMENT, TRAINING_RUN, WORKSPACE
from smalt.api.references import address
from smalt.api.schema import Json
from smalt.reconcilers.plan import Plan
from smalt.reconcilers.reporting import InvalidSpec, invalid, only_counts_changed, parsed, status
from smalt.reconcilers.world import Live, LiveRead, World
from smalt.settings import Settings


def reads(resource: Json, world: World, now: datetime) -> tuple[LiveRead, ...]:
    return ()


def plan(resource: Json, world: World, live: Live, now: datetime, settings: Settings) -> Plan:
    try:
        spec = parsed(ExperimentSpec, resource)
    except InvalidSpec as error:
        return invalid(resource, error, now)
    at = address(EXPERIMENT, resource)
    runs = world.referrers(TRAINING_RUN, at)
    board = leaderboard(spec, runs)
    new = status(
        resource,
        said(spec, at.namespace, world),
        now,
        runs=counts(runs),
        best={"run": board[0]["run"], "metric": board[0]["metric"]} if board else None,
        leaderboard=board or None,
    )
    return Plan(status=new, counts_only=only_counts_changed(resource, new, "runs", "best", "leaderboard"))


def said(spec: ExperimentSpec, namespace: str, world: World) -> list[Json]:
    workspace = world.get(WORKSPACE, namespace, spec.workspace)
    if workspace is None:
        return conditions.waiting(
            "WaitingForWorkspace",
            f"Workspace '{spec.workspace}' does not exist in namespace '{namespace}': apply it, or correct spec.workspace",
        )
    if not conditions.is_ready(workspace):
        return conditions.waiting(
            "WaitingForWorkspace", f"Workspace '{spec.workspace}' is not ready: {conditions.why_not(workspace)}"
        )
    return conditions.ready("Available", f"runs of this experiment are recorded in Workspace '{spec.workspace}'")


COUNTED_AS = {
    "Running": "running",
    "Finalizing": "running",
    "Succeeded": "succeeded",
    "Failed": "failed",
    "Canceled": "canceled",
}


def counts(runs: list[Json]) -> Json:
    """By phase; all that comes before the script runs is pending."""
    made = {"total": len(runs), "pending": 0, "running": 0, "succeeded": 0, "failed": 0, "canceled": 0}
    for run in runs:
        made[COUNTED_AS.get((run.get("status") or {}).get("phase") or "", "pending")] += 1
    return made


def leaderboard(spec: ExperimentSpec, runs: list[Json]) -> list[Json]:
    """The best succeeded runs by the primary metric; of equals, the one whose name comes first."""
    if spec.objective is None:
        return []
    wanted, sign = spec.objective.primary_metric, -1 if spec.objective.goal == "maximize" else 1
    ranked = []
    for run in runs:
        report = run.get("status") or {}
        metric = (report.get("metrics") or {}).get(wanted)
        if report.get("phase") == "Succeeded" and metric is not None:
            line: Json = {"run": run["metadata"]["name"], "metric": metric}
            parameters = (run.get("spec") or {}).get("parameters")
            ranked.append(line | ({"parameters": parameters} if parameters else {}))
    ranked.sort(key=lambda line: (sign * line["metric"], line["run"]))
    return ranked[:LEADERBOARD_SIZE]
