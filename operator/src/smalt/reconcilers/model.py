"""Model: has what its run left behind registered, and knows who serves it."""

from __future__ import annotations

from datetime import datetime

from smalt.api import conditions
from smalt.api.kinds import DEPLOYMENT, MODEL, TRAINING_RUN, WORKSPACE
from smalt.api.model import ModelSpec
from smalt.api.references import FAMILY, Address, address
from smalt.api.schema import Json
from smalt.builders.registered_model import UID_LABEL
from smalt.reconcilers import registration
from smalt.reconcilers.conversion import environment_of
from smalt.reconcilers.evaluations import evaluations
from smalt.reconcilers.gates import missed, verdicts
from smalt.reconcilers.plan import Plan
from smalt.reconcilers.reporting import InvalidSpec, invalid, kept, parsed, status
from smalt.reconcilers.served_model import SIGNATURE_VERIFIED, resolved
from smalt.reconcilers.world import Live, LiveRead, World
from smalt.settings import Settings

FACTS = ("artifact", "metrics", "lineage", "format", "card", "registry", "signature", "environment", "onnx", "schema")
# What is said of these is a promotion.
PROMOTED = ("Staging", "Production")


def reads(resource: Json, world: World, now: datetime) -> tuple[LiveRead, ...]:
    return ()


def plan(resource: Json, world: World, live: Live, now: datetime, settings: Settings) -> Plan:
    try:
        spec = parsed(ModelSpec, resource)
    except InvalidSpec as error:
        return invalid(resource, error, now)
    facts = kept(resource, *FACTS)
    said, going = conditions.ready("Registered", registered(resource)), None
    spent = registration.spent(resource, world) if "artifact" in facts else ()
    if "artifact" not in facts:
        said, source = imported(spec) if spec.source.uri else from_run(resource, spec, world)
        if "artifact" not in source and (begun := registration.asked(resource, world)):
            source = begun
        if "artifact" in source:
            going = registration.progress(resource, spec, source, world, now, settings)
            said = going.said
            facts = {key: source[key] for key in ("metrics", "lineage") if source.get(key)} | dict(going.facts or {})
    measured = evaluations(resource, world)
    facts |= {"evaluations": measured} if measured else {}
    if spec.gates and "artifact" in facts:
        facts["gates"] = verdicts(resource, facts, spec.gates, world)
        said = judged(resource, spec, facts["gates"]) or said
    said += signed(resource, spec, facts, world)
    needed_by = users(resource, spec, world)
    new = status(resource, said + conditions.in_use(needed_by), now, **facts, usedBy=needed_by)
    return Plan(
        status=new,
        apply=going.apply if going else (),
        delete=going.delete if going else spent,
        requeue_after=going.again if going else None,
        is_final="artifact" in facts,
    )


def registered(resource: Json) -> str:
    return f"Model '{resource['metadata']['name']}' is registered"


def signed(resource: Json, spec: ModelSpec, facts: Json, world: World) -> list[Json]:
    """Whether the registry has signed the files; nothing where no key is configured."""
    if "signature" in facts:
        words = f"the files are signed with the key {facts['signature']['keyDigest']}"
        return conditions.information(SIGNATURE_VERIFIED, True, "Signed", words)
    workspace = world.get(WORKSPACE, resource["metadata"]["namespace"], spec.workspace)
    if "artifact" not in facts or workspace is None or not workspace["spec"].get("signing"):
        return []
    words = f"it was registered before Workspace '{spec.workspace}' had a key: register it again, as a new version"
    return conditions.information(SIGNATURE_VERIFIED, False, "NotSigned", words)


def judged(resource: Json, spec: ModelSpec, found: list[Json]) -> list[Json] | None:
    """What is said of a version that has missed a gate; None of one that has passed them all."""
    why = missed(found)
    if not why:
        return None
    name, stage = resource["metadata"]["name"], spec.stage or "None"
    fate = f"is not promoted to {stage}" if stage in PROMOTED else "passes not all of its gates"
    words = f"Model '{name}' is registered and {fate}: {'; '.join(why)}. No Deployment follows it: register a better version"
    return conditions.stalled("GateFailed", words)


def imported(spec: ModelSpec) -> tuple[list[Json], Json]:
    """What is known of files before they are brought: where they lie, and the digest that they must have."""
    uri, digest = spec.source.uri or "", spec.source.digest
    # What stands in a query may be a signature; it is of no use to who asks later.
    lineage = {"source": {"uri": uri.partition("?")[0] if uri.startswith("https:") else uri, "digest": digest}}
    return [], {"artifact": {"uri": uri, "digest": digest}, "lineage": lineage}


def from_run(resource: Json, spec: ModelSpec, world: World) -> tuple[list[Json], Json]:
    """What the run says of the artifact. Once taken over it stays, whatever becomes of the run."""
    source, namespace = spec.source, resource["metadata"]["namespace"]
    assert source.run is not None and source.output is not None  # the schema's rules: one or the other
    run = world.get(TRAINING_RUN, namespace, source.run)
    if run is None and UID_LABEL in (resource["metadata"].get("labels") or {}):
        words = (
            f"TrainingRun '{source.run}' was deleted before its output '{source.output}' was registered, and what it left is not "
            "known any more: delete this Model, and apply the run again"
        )
        return conditions.stalled("RunDeleted", words), {}
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
    facts: Json = {"artifact": artifact, "lineage": lineage(run), "profiles": profiles(report)}
    facts["parameters"] = run["spec"].get("parameters") or {}
    facts["trained"] = environment_of(run)
    if report.get("metrics"):
        facts["metrics"] = report["metrics"]
    return [], facts


def profiles(report: Json) -> Json:
    """Where the profiles of the run's inputs lie."""
    found = report.get("dataProfile") or {}
    reports = {name: str(each.get("report") or "") for name, each in found.items()}
    return {name: place for name, place in reports.items() if "/profiles/inputs/" in place}


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
