"""What runs measured that had a Model as an input."""

from __future__ import annotations

from smalt.api.inputs import needed
from smalt.api.kinds import MODEL, TRAINING_RUN
from smalt.api.references import address
from smalt.api.schema import Json
from smalt.reconcilers.world import World

MOST = 10


def evaluations(resource: Json, world: World) -> list[Json]:
    """The latest first. What was written down stays when its run is deleted."""
    written = {each["run"]: each for each in (resource.get("status") or {}).get("evaluations") or []}
    found = {
        run["metadata"]["name"]: _evaluation(run)
        for run in world.referrers(TRAINING_RUN, address(MODEL, resource))
        if _is_evaluation(run)
    }
    every = sorted((written | found).values(), key=lambda each: each["run"])
    return sorted(every, key=lambda each: str(each.get("completionTime", "")), reverse=True)[:MOST]


def _is_evaluation(run: Json) -> bool:
    """It succeeded and measured something; one that registers a model has used this one to make another."""
    report = run.get("status") or {}
    is_done = report.get("phase") == "Succeeded" and bool(report.get("metrics"))
    return is_done and "register" not in run["spec"]


def _evaluation(run: Json) -> Json:
    report = run["status"]
    read = (report.get("digests") or {}).get("data") or {}
    inputs = run["spec"].get("inputs") or {}
    return {
        "run": run["metadata"]["name"],
        "completionTime": report.get("completionTime", ""),
        "data": {name: digest for name, digest in sorted(read.items()) if not _is_model(inputs.get(name))},
        "metrics": report["metrics"],
    }


def _is_model(given: Json | None) -> bool:
    place = needed((given or {}).get("path"))
    return place is not None and bool(place.model)
