"""Workspace: keeps a tracking server running on a volume, and counts what hangs on it."""

from __future__ import annotations

from datetime import datetime

from smalt.api import conditions
from smalt.api.kinds import APPS_DEPLOYMENT, CLAIM, DEPLOYMENT, EXPERIMENT, POD, SECRET, WORKSPACE
from smalt.api.policy import Policy
from smalt.api.quantities import amount
from smalt.api.references import Address, address
from smalt.api.schema import Json
from smalt.api.workspace import WorkspaceSpec
from smalt.builders import preparing, tracking
from smalt.builders.volumes import claimed
from smalt.reconcilers import budget, diagnosis, instance_types, queueing, retention
from smalt.reconcilers.budget import Verdict
from smalt.reconcilers.causes import admission, scheduling, starting, volumes
from smalt.reconcilers.causes import pod as causes
from smalt.reconcilers.causes.finding import Finding
from smalt.reconcilers.plan import Child, Plan
from smalt.reconcilers.queueing import Admission
from smalt.reconcilers.reporting import InvalidSpec, invalid, only_counts_changed, parsed, status
from smalt.reconcilers.world import Live, LiveRead, Occupied, Read, Warnings, World, events_of
from smalt.settings import Settings

COUNTED = ("pending", "running", "succeeded", "failed", "canceled")
NO_BUDGET = Verdict(False, [])
# The Secret is not watched, so that its contents are in no cache; it is looked at again this often.
REST_SECONDS = 60.0


def reads(resource: Json, world: World, now: datetime) -> tuple[LiveRead, ...]:
    at = address(WORKSPACE, resource)
    try:
        spec = parsed(WorkspaceSpec, resource)
    except InvalidSpec:
        return ()
    wanted: list[LiveRead] = [Occupied()] if world.nodes() else []
    if tracking.external(spec):
        return tuple(wanted)
    name = tracking.child_name(at.name)
    wanted += [Read(SECRET, at.namespace, each) for each in (name, tracking.registry_name(at.name))]
    if is_unbound(world.get(CLAIM, at.namespace, name)):
        wanted.append(Warnings(at.namespace, CLAIM))
    for pod in server_pods(at, world):
        wanted += causes.reads(pod, world, now)
    return tuple(dict.fromkeys(wanted))


def plan(resource: Json, world: World, live: Live, now: datetime, settings: Settings) -> Plan:
    try:
        spec = parsed(WorkspaceSpec, resource)
    except InvalidSpec as error:
        return invalid(resource, error, now)
    at = address(WORKSPACE, resource)
    secret = live.get(Read(SECRET, at.namespace, tracking.child_name(at.name)))
    users = sorted(each["metadata"]["name"] for each in world.referrers(DEPLOYMENT, at))
    policy = spec.policy or Policy()
    used = budget.usage(resource, world)
    judged = budget.verdict(resource, policy.budget, used, world, now) if policy.budget else NO_BUDGET
    places = (
        queueing.admission(resource, policy.max_concurrent_runs, not judged.is_exceeded, world)
        if policy.max_concurrent_runs
        else Admission(None)
    )
    old, next_old = retention.due(resource, spec.retention.finished_runs if spec.retention else None, world, now)
    # The Secret's UID belongs into the server's template, so the server follows as soon as the Secret exists.
    looks = (
        next_look_at(at, world, now) if secret or tracking.external(spec) else 0.0,
        judged.again,
        places.again,
        next_old,
    )
    new = status(
        resource,
        said(at, spec, world, live) + conditions.in_use(users) + judged.said,
        now,
        trackingUri=tracking.access(at, spec, "runs").uri,
        instanceTypes=instance_types.offered(at, spec, world.nodes(), live.get(Occupied()) or {}, settings),
        runs=counts(at, world),
        queue=places.queue,
        usage=used,
        modelVersions=model_versions(at, resource, world) or None,
        usedBy=users,
    )
    return Plan(
        status=new,
        apply=children(at, spec, world, secret, settings),
        requeue_after=min(seconds for seconds in looks if seconds is not None),
        counts_only=only_counts_changed(resource, new, "runs", "usage", "modelVersions", "instanceTypes"),
        is_awaited=places.queue != (resource.get("status") or {}).get("queue"),
        delete=old,
        wake=places.wake,
    )


def next_look_at(at: Address, world: World, now: datetime) -> float:
    """Soon while something is under way that no event of what is watched would tell."""
    claim = world.get(CLAIM, at.namespace, tracking.child_name(at.name))
    waiting = [pod for pod in server_pods(at, world) if causes.is_pending(pod)]
    waiting += [claim] if claim and is_unbound(claim) else []
    return min((causes.next_look(each, now) for each in waiting), default=REST_SECONDS)


def children(
    at: Address, spec: WorkspaceSpec, world: World, secret: Json | None, settings: Settings
) -> tuple[Child, ...]:
    if tracking.external(spec):
        return (Child(tracking.run_service_account(at)),)
    keeps_volume = not (spec.storage and spec.storage.reclaim_policy == "Delete")
    claim = world.get(CLAIM, at.namespace, tracking.child_name(at.name))
    made = [
        Child(tracking.tracking_secret(at), once=True, random=tracking.SECRET_KEYS),
        Child(tracking.registry_secret(at), once=True, random=tracking.REGISTRY_KEYS),
        *(
            [Child(tracking.tracking_claim(at, spec, claim), owned=not keeps_volume)]
            if tracking.needs_volume(spec)
            else []
        ),
        Child(tracking.run_service_account(at)),
        Child(tracking.tracking_service(at)),
        Child(tracking.tracking_network_policy(at)),
    ]
    cache = preparing.cache_of(spec)
    if cache:
        present = world.get(CLAIM, at.namespace, preparing.cache_name(at.name))
        made.append(Child(preparing.cache_claim(at, cache, present)))
    if secret:
        server = tracking.Server(
            workspace=at,
            spec=spec,
            secret_uid=secret["metadata"]["uid"],
            image=settings.tracking_image,
            pull_policy=settings.image_pull_policy,
            domain=settings.cluster_domain,
        )
        made.append(Child(tracking.tracking_deployment(server)))
    return tuple(made)


def said(at: Address, spec: WorkspaceSpec, world: World, live: Live) -> list[Json]:
    """Ready when the server answers; else the deepest cause that can be seen."""
    elsewhere = tracking.external(spec)
    if elsewhere:
        return conditions.ready("External", f"runs are recorded by the MLflow server at {elsewhere.uri}")
    name = tracking.child_name(at.name)
    server = world.get(APPS_DEPLOYMENT, at.namespace, name)
    claim = world.get(CLAIM, at.namespace, name)
    if server and is_available(server):
        words = f"the tracking server answers at {tracking.tracking_uri(at)}{unlike(claim, spec)}"
        return conditions.ready("Available", words)
    if claim and is_unbound(claim) and not claim["spec"].get("storageClassName"):
        return conditions.stalled(
            "NoStorageClass",
            f"volume claim '{name}' names no StorageClass and the cluster has no default one: set "
            "spec.storage.storageClassName, or mark a class with storageclass.kubernetes.io/is-default-class=true",
        )
    finding = server_trouble(at, world, live)
    if finding:
        return (conditions.stalled if finding.is_users else conditions.waiting)(finding.reason, finding.message)
    if claim and (claim.get("status") or {}).get("phase") == "Lost":
        return conditions.stalled(
            "VolumePending", f"the volume behind claim '{name}' is gone: restore it, or delete the claim"
        )
    return conditions.waiting("TrackingStarting", f"the tracking server of Workspace '{at.name}' is starting")


def unlike(claim: Json | None, spec: WorkspaceSpec) -> str:
    """How the volume differs from what the spec asks for, when it was there before; a volume neither shrinks nor moves."""
    if claim is None or spec.storage is None:
        return ""
    size, wanted = claimed(claim), spec.storage.size
    if size and wanted is not None and amount(size) > amount(wanted):
        return f"; its volume keeps {size}, more than spec.storage.size, since volumes do not shrink"
    there, asked = claim["spec"].get("storageClassName"), spec.storage.storage_class_name
    if there and asked and there != asked:
        return f"; its volume stays in StorageClass '{there}', since volumes do not move to '{asked}'"
    return ""


def server_trouble(at: Address, world: World, live: Live) -> Finding | None:
    name = tracking.child_name(at.name)
    unmade = admission.unmade(world.get(APPS_DEPLOYMENT, at.namespace, name) or {})
    if unmade:
        return unmade
    claim = world.get(CLAIM, at.namespace, name)
    for pod in server_pods(at, world):
        stuck = starting.blocked(pod, "the operator's SMALT_TRACKING_IMAGE")
        if stuck:
            return stuck._replace(reason="TrackingFailed")
        for each in diagnosis.statuses(pod):
            ended = (each.get("lastState") or {}).get("terminated")
            if ended and each.get("restartCount", 0) >= 2:
                words = last_line(ended.get("message") or "")
                return Finding(
                    "TrackingFailed",
                    f"the tracking server ends again and again (exit {ended.get('exitCode')}{words}): "
                    f"see `kubectl logs {pod['metadata']['name']} --previous`",
                )
        if claim and scheduling.is_unscheduled(pod):
            events = events_of(live.get(Warnings(at.namespace, CLAIM)), claim["metadata"]["uid"])
            unbound = volumes.unbound(name, claim, events, scheduling.blames_a_claim(pod))
            if unbound:
                return unbound
        found = causes.finding(pod, world, live, "the operator's SMALT_TRACKING_IMAGE")
        if found:
            return found
    return None


def last_line(log: str) -> str:
    """What the server said last, as part of a sentence."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return f": {lines[-1][:300]}" if lines else ""


def server_pods(at: Address, world: World) -> list[Json]:
    return [
        pod
        for pod in world.labelled(POD, at)
        if pod["metadata"].get("labels", {}).get("app.kubernetes.io/component") == tracking.COMPONENT
    ]


def is_unbound(claim: Json | None) -> bool:
    return claim is not None and (claim.get("status") or {}).get("phase") == "Pending"


def is_available(server: Json) -> bool:
    report = server.get("status") or {}
    seen = report.get("observedGeneration", 0) >= server["metadata"].get("generation", 1)
    return bool(seen and report.get("availableReplicas", 0) >= 1)


def counts(at: Address, world: World) -> Json:
    """The sums of what its experiments count."""
    each_counts = [(each.get("status") or {}).get("runs") or {} for each in world.referrers(EXPERIMENT, at)]
    return {name: sum(each.get(name, 0) for each in each_counts) for name in COUNTED}


def model_versions(at: Address, resource: Json, world: World) -> dict[str, int]:
    """The highest version ever given of each model: a number does not come back when its Model is deleted."""
    highest: dict[str, int] = dict((resource.get("status") or {}).get("modelVersions") or {})
    highest |= {family.name: world.highest_version(family) for family in world.families(at)}
    return dict(sorted(highest.items()))
