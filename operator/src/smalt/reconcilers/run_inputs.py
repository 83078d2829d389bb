"""What a run's inputs wait for: the runs and Models that make them, and which of their files exactly it gets.

What an input got stands in the annotation of the attempt's Job and, from there, in the run's status: a later attempt
gets the same, whatever has become of the producer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

from smalt.api import conditions
from smalt.api.inputs import Needed, needed
from smalt.api.kinds import EXPERIMENT, JOB, MODEL, TRAINING_RUN, Kind
from smalt.api.references import Address, refers_to
from smalt.api.schema import Json
from smalt.api.training_run import ANOTHER_NAME, TrainingRunSpec
from smalt.builders.training_job import INPUTS_ANNOTATION, PINNED_ANNOTATION
from smalt.reconcilers.world import World

_STORED = "mlflow-artifacts:/"
_FACTS = ("uri", "digest", "bytes", "files")


@dataclass(frozen=True)
class Resolved:
    """The artifact of every input that is made by somebody, by the input's name; or what stands in the way."""

    artifacts: Json = field(default_factory=dict)
    said: list[Json] | None = None


def resolved(resource: Json, spec: TrainingRunSpec, workspace: str, world: World) -> Resolved:
    """What has been pinned stays; the rest is looked up."""
    artifacts = pinned(resource, world)
    for name, given in (spec.inputs or {}).items():
        need = needed(given.path)
        if need is None or name in artifacts:
            continue
        lookup = _of_run if need.run else _of_model
        found = lookup(f"inputs.{name}", need, resource, workspace, world)
        if isinstance(found, list):
            return Resolved(said=found)
        artifacts[name] = {key: found[key] for key in _FACTS if key in found}
    return Resolved(artifacts)


def pinned(resource: Json, world: World) -> Json:
    """What an attempt was given already."""
    found: Json = {}
    for job in world.owned(JOB, resource["metadata"]["uid"]):
        found |= given_to(job)
    return found | ((resource.get("status") or {}).get("inputs") or {})


def given_to(job: Json) -> Json:
    """The artifacts that the Job was made with."""
    text = (job["metadata"].get("annotations") or {}).get(INPUTS_ANNOTATION)
    found: Json = json.loads(text) if text else {}
    return found


def read_before(job: Json) -> Json:
    """The digests of inputs that attempts before this Job's have read."""
    text = (job["metadata"].get("annotations") or {}).get(PINNED_ANNOTATION)
    found: Json = json.loads(text) if text else {}
    return found


def facts(artifacts: Json) -> Json:
    """As the run's status shows them from the Job's making on."""
    if not artifacts:
        return {}
    return {"inputs": artifacts, "digests": {"data": {name: each["digest"] for name, each in artifacts.items()}}}


def _of_run(where: str, need: Needed, resource: Json, workspace: str, world: World) -> Json | list[Json]:
    namespace = resource["metadata"]["namespace"]
    shown = f"TrainingRun '{need.run}'"
    producer = world.get(TRAINING_RUN, namespace, need.run)
    if producer is None:
        return conditions.waiting(
            "WaitingForRun",
            f"{where} waits for {shown}, which does not exist in namespace '{namespace}': apply it; this run follows by "
            "itself",
        )
    elsewhere = _workspace_of(producer, world)
    if elsewhere and elsewhere != workspace:
        return _failed(
            f"{where} names {shown} of Workspace '{elsewhere}', and this run belongs to Workspace '{workspace}': a run "
            f"reads from its own Workspace alone; run both in one, {ANOTHER_NAME}"
        )
    report = producer.get("status") or {}
    phase = report.get("phase") or "Pending"
    is_over = bool(report.get("completionTime"))
    if (is_over and phase != "Succeeded") or _is_stalled(producer):
        return _failed(
            f"{where} needs output '{need.output}' of {shown}, which is {phase}: {conditions.why_not(producer)}. Delete it "
            f"and apply it anew under the same name, or name another run in this input {ANOTHER_NAME}"
        )
    if not is_over:
        circle = cycle(resource, world)
        if circle:
            return conditions.stalled(
                "InputCycle",
                f"{where} needs {shown}, which in the end waits for this run itself ({' -> '.join(circle)}): none of them "
                f"can begin; delete them, and apply one with another input",
            )
        why = "" if phase == "Running" else f": {conditions.why_not(producer)}"
        return conditions.waiting(
            "WaitingForRun", f"{where} waits for output '{need.output}' of {shown}, which is {phase}{why}"
        )
    artifact = (report.get("outputs") or {}).get(need.output)
    if artifact is None:
        has = ", ".join(sorted(report.get("outputs") or {})) or "none"
        return _failed(
            f"{where} names output '{need.output}', which {shown} does not have (it has {has}): correct the path, "
            f"{ANOTHER_NAME}"
        )
    return _readable(where, shown, artifact)


def _of_model(where: str, need: Needed, resource: Json, workspace: str, world: World) -> Json | list[Json]:
    namespace = resource["metadata"]["namespace"]
    shown = f"Model '{need.model}'"
    model = world.get(MODEL, namespace, need.model)
    if model is None:
        return conditions.waiting(
            "WaitingForModel",
            f"{where} waits for {shown}, which does not exist in namespace '{namespace}': it comes with the run that "
            "registers it, or apply it; this run follows by itself",
        )
    elsewhere = (model.get("spec") or {}).get("workspace")
    if elsewhere != workspace:
        return _failed(
            f"{where} names {shown} of Workspace '{elsewhere}', and this run belongs to Workspace '{workspace}': a run "
            f"reads from its own Workspace alone; run both in one, {ANOTHER_NAME}"
        )
    artifact = (model.get("status") or {}).get("artifact")
    # One that has missed a gate is registered all the same: how else could a run measure it again?
    is_registered = conditions.is_ready(model) or _ready_reason(model) == "GateFailed"
    if artifact is None or not is_registered:
        why = conditions.why_not(model)
        if _is_stalled(model):
            return _failed(f"{where} needs {shown}, which is not ready: {why}. Name another version, {ANOTHER_NAME}")
        circle = cycle(resource, world)
        if circle:
            return conditions.stalled(
                "InputCycle",
                f"{where} needs {shown}, which is made by this run itself ({' -> '.join(circle)}): name another version, "
                f"{ANOTHER_NAME}",
            )
        return conditions.waiting("WaitingForModel", f"{where} waits for {shown}, which is not ready: {why}")
    return _readable(where, shown, artifact)


def _readable(where: str, shown: str, artifact: Json) -> Json | list[Json]:
    if not str(artifact.get("uri")).startswith(_STORED):
        return _failed(
            f"{where} names {shown}, whose files lie at {artifact.get('uri')}, not in the Workspace's own store: give that "
            f"address itself as the input's path, {ANOTHER_NAME}"
        )
    return artifact


def _failed(message: str) -> list[Json]:
    return conditions.stalled("InputFailed", message)


def _ready_reason(model: Json) -> str:
    return str(conditions.find(model.get("status") or {}, "Ready").get("reason"))


def _is_stalled(resource: Json) -> bool:
    return conditions.find(resource.get("status") or {}, "Stalled").get("status") == "True"


def _workspace_of(run: Json, world: World) -> str:
    """Empty where the Experiment is gone: then the store says whether the files are there."""
    experiment = world.get(EXPERIMENT, run["metadata"]["namespace"], str((run.get("spec") or {}).get("experiment")))
    return str(((experiment or {}).get("spec") or {}).get("workspace") or "")


def cycle(resource: Json, world: World) -> list[str]:
    """The names on the way from the run back to itself; empty when there is no such way."""
    here = Address(TRAINING_RUN, resource["metadata"]["namespace"], resource["metadata"]["name"])
    waiting, seen = [(here, [here.name])], set[Address]()
    while waiting:
        at, way = waiting.pop()
        for target in _made_by(at, world):
            if target == here:
                return [*way, here.name]
            if target not in seen:
                seen.add(target)
                waiting.append((target, [*way, target.name]))
    return []


def _made_by(at: Address, world: World) -> Iterator[Address]:
    """The runs and Models that the object cannot do without."""
    resource = world.get(at.kind, at.namespace, at.name)
    kinds: tuple[Kind, ...] = (TRAINING_RUN, MODEL)
    yield from (each for each in refers_to(at.kind, resource or {"metadata": {}}) if each.kind in kinds)
