"""Model: takes over what its run left behind, and knows who serves it."""

from __future__ import annotations

from datetime import datetime

from smalt.api import conditions
from smalt.api.kinds import DEPLOYMENT, MODEL, TRAINING_RUN
from smalt.api.model import ModelSpec
from smalt.api.references import FAMILY, Address, address
from smalt.api.schema import Json
from smalt.reconcilers.deployment import resolved
from smalt.reconcilers.plan import Plan
from smalt.reconcilers.reporting import InvalidSpec, invalid, kept, parsed, status
from smalt.reconcilers.world import Live, LiveRead, World
from smalt.settings import Settings


def reads(resource: Json, world: World, now: datetime) -> tuple[LiveRead, ...]:
    return ()


def plan(resource: Json, world: World, live: Live, now: datetime, settings: Settings) -> Plan:
    try:
        spec = parsed(ModelSpec, resource)
    except InvalidSpec as error:
        return invalid(resource, error, now)
    facts = kept(resource, "artifact", "metrics", "lineage")
    said = conditions.ready("Registered", registered(resource))
    if "artifact" not in facts:
        said, facts = from_run(resource, spec, world)
    needed_by = users(resource, spec, world)
    new = status(resource, said + conditions.in_use(needed_by), now, **facts, usedBy=needed_by)
    return Plan(status=new, is_final="artifact" in facts)


def registered(resource: Json) -> str:
    return f"Model '{resource['metadata']['name']}' is registered"


def from_run(resource: Json, spec: ModelSpec, world: World) -> tuple[list[Json], Json]:
    """What the run says of the artifact. Once taken over it stays, whatever becomes of the run."""
    source, namespace = spec.source, resource["metadata"]["namespace"]
    run = world.get(TRAINING_RUN, namespace, source.run)
    if run is None:
        words = f"TrainingRun '{source.run}' does not exist in namespace '{namespace}': apply it, or delete this Model"
        return conditions.waiting("WaitingForRun", words), {}
    report = run.get("status") or {}
    artifact = (report.get("outputs") or {}).get(source.output)
    if not report.get("completionTime"):
        return conditions.waiting("WaitingForRun", f"TrainingRun '{source.run}' has not finished yet"), {}
    if report.get("phase") != "Succeeded":
        words = f"TrainingRun '{source.run}' failed: {conditions.why_not(run)}"
        return conditions.stalled("RunFailed", words), {}
    if artifact is None:
        has = ", ".join(sorted(report.get("outputs") or {})) or "none"
        words = f"TrainingRun '{source.run}' has no output '{source.output}' (it has {has}): register another output under a new version"
        return conditions.stalled("OutputMissing", words), {}
    if source.digest and source.digest != artifact["digest"]:
        words = (
            f"output '{source.output}' of TrainingRun '{source.run}' has digest {artifact['digest']}, and spec.source.digest "
            f"wants {source.digest}: register the run's own digest under a new version"
        )
        return conditions.stalled("DigestMismatch", words), {}
    facts: Json = {"artifact": artifact, "lineage": lineage(run)}
    if report.get("metrics"):
        facts["metrics"] = report["metrics"]
    return conditions.ready("Registered", registered(resource)), facts


def lineage(run: Json) -> Json:
    report = run.get("status") or {}
    digests = report.get("digests") or {}
    made: Json = {"run": run["metadata"]["name"], "experiment": run["spec"]["experiment"]}
    commit = (report.get("code") or {}).get("commit")
    code = ({"commit": commit} if commit else {}) | ({"digest": digests["code"]} if "code" in digests else {})
    made |= {"code": code} if code else {}
    made |= {key: digests[key] for key in ("data", "environment") if key in digests}
    return made | ({"runDigest": digests["run"]} if "run" in digests else {})


def users(resource: Json, spec: ModelSpec, world: World) -> list[str]:
    """Deployments that serve this version now, or are about to."""
    name, namespace = resource["metadata"]["name"], resource["metadata"]["namespace"]
    found = []
    for deployment in world.referrers(DEPLOYMENT, Address(FAMILY, namespace, spec.name)):
        serves = (deployment.get("status") or {}).get("effectiveModel") == name
        wants = resolved(deployment, world)
        if serves or (wants is not None and address(MODEL, wants).name == name):
            found.append(deployment["metadata"]["name"])
    return sorted(found)
