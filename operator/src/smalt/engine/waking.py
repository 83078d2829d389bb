"""Who has to look again when an object has changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from smalt.api.conditions import find
from smalt.api.kinds import EXPERIMENT, MODEL, NODE, OURS, POD, TRAINING_RUN, WORKSPACE, Kind
from smalt.api.references import FAMILY, Address, address, known_as, refers_to, seen_by_referred, seen_by_referrers
from smalt.api.schema import Json
from smalt.engine.store import Change, Store, is_finished, served

# Counting can wait a little, so that a burst of runs is counted once.
COUNTING_SECONDS = 0.5
# So are places in a queue, but somebody waits for them.
POLICY_SECONDS = 0.05

# Nodes come and go in groups.
NODES_SECONDS = 2.0


class Wake(NamedTuple):
    """One object to be looked at, and when."""

    target: Address
    urgent: bool = False
    seconds: float = 0.0


def woken(kind: Kind, change: Change, store: Store) -> Iterator[Wake]:
    """All whom the change concerns."""
    resource = change.after or change.before
    if resource is None:
        return
    if kind is NODE:
        yield from _by_node(change, store)
        return
    if kind not in OURS:
        yield from (Wake(owner) for owner in served(resource))
        return
    is_new = change.after is not None and not (change.after.get("status") or {}).get("conditions")
    if change.after is not None and _concerns_itself(change):
        yield Wake(address(kind, resource), urgent=is_new and kind is TRAINING_RUN)
    if kind is TRAINING_RUN:
        yield from _its_workspace(change, store)
    yield from _neighbours(kind, change, store)


def _its_workspace(change: Change, store: Store) -> Iterator[Wake]:
    """A run that comes, asks, rests or goes may free or want a place, or use up a budget: where there is a policy."""
    if not _differs(_seen_by_policy, TRAINING_RUN, change):
        return
    for run in filter(None, change):
        for target in refers_to(TRAINING_RUN, run):
            experiment = store.get(EXPERIMENT, target.namespace, target.name) if target.kind is EXPERIMENT else None
            named = (run.get("status") or {}).get("workspace") or ((experiment or {}).get("spec") or {}).get(
                "workspace"
            )
            workspace = store.get(WORKSPACE, target.namespace, named) if isinstance(named, str) else None
            if workspace and (workspace.get("spec") or {}).get("policy"):
                yield Wake(address(WORKSPACE, workspace), seconds=POLICY_SECONDS)


def _seen_by_policy(_: Kind, run: Json) -> object:
    metadata, spec, status = run["metadata"], run.get("spec") or {}, run.get("status") or {}
    reason = find(status, "Ready").get("reason")
    asked = spec.get("suspend"), spec.get("cancel")
    return metadata.get("uid"), metadata.get("deletionTimestamp"), asked, status.get("completionTime"), reason


def _by_node(change: Change, store: Store) -> Iterator[Wake]:
    """A node that takes other pods than before concerns every Workspace, which says who fits; one that is lost or back,
    those whose pods are on it."""
    before, after = (_offer(each) if each else None for each in change)
    if before == after:
        return
    for workspace in store.all(WORKSPACE):
        yield Wake(address(WORKSPACE, workspace), seconds=NODES_SECONDS)
    name = (change.after or change.before or {})["metadata"]["name"]
    for pod in store.all(POD):
        if (pod.get("spec") or {}).get("nodeName") == name:
            yield from (Wake(owner) for owner in served(pod))


def _offer(node: Json) -> object:
    """All of a node that decides who may run on it. The kubelet's own reports, every few minutes, change none of it."""
    metadata, report = node["metadata"], node["status"]
    ready = [(each.get("status"), each.get("message")) for each in report["conditions"]]
    return metadata.get("uid"), metadata.get("labels"), node["spec"], report["allocatable"], ready


def _concerns_itself(change: Change) -> bool:
    """Its own status write tells an object nothing new."""
    if change.before is None or change.after is None:
        return True
    before, after = change.before["metadata"], change.after["metadata"]
    parts = ("uid", "generation", "labels", "annotations", "deletionTimestamp")
    return any(before.get(part) != after.get(part) for part in parts)


def _neighbours(kind: Kind, change: Change, store: Store) -> Iterator[Wake]:
    if _differs(seen_by_referrers, kind, change):
        for resource in filter(None, change):
            for name in known_as(kind, resource):
                yield from _referrers(name, store)
    if _differs(seen_by_referred, kind, change):
        counting = COUNTING_SECONDS if kind in (TRAINING_RUN, EXPERIMENT) else 0.0
        for resource in filter(None, change):
            for target in refers_to(kind, resource):
                # What a run is made from counts nobody who reads it; a Model keeps what is measured of it.
                if kind is not TRAINING_RUN or target.kind in (EXPERIMENT, MODEL):
                    yield from _referred(target, store, counting)


def _differs(seen: object, kind: Kind, change: Change) -> bool:
    assert callable(seen)
    before = seen(kind, change.before) if change.before else None
    after = seen(kind, change.after) if change.after else None
    return bool(before != after)


def _referrers(name: Address, store: Store) -> Iterator[Wake]:
    """Those who refer to the name; through experiments, a workspace's runs too."""
    for kind in OURS:
        for resource in store.referrers(kind, name):
            if kind is TRAINING_RUN and is_finished(resource):
                continue
            yield Wake(address(kind, resource))
            if name.kind is WORKSPACE and kind is EXPERIMENT:
                yield from _referrers(address(kind, resource), store)


def _referred(target: Address, store: Store, seconds: float) -> Iterator[Wake]:
    if target.kind is FAMILY:
        for model in store.referrers(MODEL, target):
            yield Wake(address(MODEL, model), seconds=seconds)
    elif store.get(target.kind, target.namespace, target.name):
        yield Wake(target, seconds=seconds)
