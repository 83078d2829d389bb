"""The cache of everything watched, with the indices that reconcilers ask by: owner, label, reference.

Objects are kept trimmed to what somebody reads, since with thousands of runs the cache is most of the memory.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

from smalt.api.hours import Hours
from smalt.api.inputs import needed
from smalt.api.kinds import CACHED, JOB, MODEL, NODE, OURS, POD, TRAINING_RUN, WORKSPACE, Kind
from smalt.api.references import FAMILY, Address, refers_to
from smalt.api.schema import Json
from smalt.engine.requests import requested
from smalt.engine.run_index import RunIndex
from smalt.reconcilers import attempts

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
# As large as the user's code; nobody reads it from the cache.
HEAVY_ANNOTATIONS = frozenset({LAST_APPLIED, "smalt.dev/run", "smalt.dev/scoring", "smalt.dev/registration"})
# Words such as True, Complete or a name occur again and again.
_SHORT = 64
_CONTAINER_STATUS = ("name", "image", "imageID", "state", "lastState", "restartCount", "ready")
# What decides where a pod runs and which volumes it waits for.
_POD_SPEC = ("nodeName", "nodeSelector", "tolerations", "overhead", "resources")
_NAMED_VOLUMES = ("secret", "configMap", "persistentVolumeClaim")
_READY = ("type", "status", "reason", "message", "lastTransitionTime")
_POD_STATUS = (
    "phase",
    "podIP",
    "startTime",
    "reason",
    "message",
    "conditions",
    "initContainerStatuses",
    "containerStatuses",
)


class Change(NamedTuple):
    """What an event did to the cache: the object before and after, None where there is none."""

    before: Json | None
    after: Json | None


class Store:
    """Objects by kind and name. Everything found in it is shared: nobody changes it."""

    def __init__(self) -> None:
        self._objects: dict[Kind, dict[tuple[str, str], Json]] = {kind: {} for kind in CACHED}
        self._owned: dict[tuple[Kind, str], set[tuple[str, str]]] = defaultdict(set)
        self._labelled: dict[tuple[Kind, Address], set[tuple[str, str]]] = defaultdict(set)
        self._referrers: dict[tuple[Kind, Address], set[tuple[str, str]]] = defaultdict(set)
        # Outlives the objects: a version that was given and deleted before it was written down stays given.
        self._highest: dict[Address, int] = {}
        self._families: dict[Address, set[Address]] = defaultdict(set)
        self.runs = RunIndex()

    # --- what reconcilers ask (the World) ---

    def get(self, kind: Kind, namespace: str, name: str) -> Json | None:
        return self._objects[kind].get((namespace, name))

    def owned(self, kind: Kind, uid: str) -> list[Json]:
        return self._found(kind, self._owned.get((kind, uid)))

    def labelled(self, kind: Kind, owner: Address) -> list[Json]:
        return self._found(kind, self._labelled.get((kind, owner)))

    def referrers(self, kind: Kind, target: Address) -> list[Json]:
        return self._found(kind, self._referrers.get((kind, target)))

    def highest_version(self, family: Address) -> int:
        return self._highest.get(family, 0)

    def families(self, workspace: Address) -> list[Address]:
        return sorted(self._families.get(workspace, ()), key=lambda family: family.name)

    def nodes(self) -> list[Json]:
        return list(self._objects[NODE].values())

    def all(self, kind: Kind) -> list[Json]:
        """A snapshot, safe to walk from another thread."""
        return list(self._objects[kind].values())

    def _found(self, kind: Kind, keys: set[tuple[str, str]] | None) -> list[Json]:
        objects = self._objects[kind]
        return [objects[key] for key in sorted(keys or ())]

    # --- what watches and answers bring ---

    def upsert(self, kind: Kind, resource: Json) -> Change | None:
        """Takes the object in. None when the cache holds it already, or something newer."""
        if self._is_history(kind, resource):
            self.remove(kind, resource)
            return None
        key = _key(resource)
        before = self._objects[kind].get(key)
        if before is not None and not _supersedes(resource, before):
            return None
        after = trimmed(kind, resource)
        if before is not None:
            self._unindex(kind, key, before)
        self._objects[kind][key] = after
        for workspace, family, version in given_versions(kind, after):
            self._highest[family] = max(version, self._highest.get(family, 0))
            if workspace:
                self._families[workspace].add(family)
        if kind is TRAINING_RUN:
            if before is not None and before["metadata"].get("uid") != after["metadata"].get("uid"):
                self.runs.leave(before, self._unsettled(before))
            self.runs.put(after)
            if is_finished(after):
                self._forget_witnesses(after)
        if kind is WORKSPACE:
            lately = ((after.get("status") or {}).get("usage") or {}).get("latelyDeleted") or []
            self.runs.settle(Address(WORKSPACE, *key), lately)
        for index, at in _indexed(kind, after):
            getattr(self, index)[(kind, at)].add(key)
        return Change(before, after)

    def remove(self, kind: Kind, resource: Json) -> Change | None:
        """Forgets the object. None when it is not known, or its name has gone to another one since.

        A pod of a run that goes on is marked as gone and kept: it may have said its last words with its very end.
        """
        key = _key(resource)
        before = self._objects[kind].get(key)
        if before is None or before["metadata"].get("uid") != resource["metadata"].get("uid"):
            return None
        if kind is POD and self._is_witness(before):
            if attempts.is_gone(before):
                return None
            last = trimmed(kind, resource) if "status" in resource else before
            self._objects[kind][key] = last | {"gone": True}
            return Change(before, None)
        self._discard(kind, key, before)
        return Change(before, None)

    def _discard(self, kind: Kind, key: tuple[str, str], before: Json) -> None:
        if kind is TRAINING_RUN:
            self.runs.leave(before, self._unsettled(before))
        if kind is WORKSPACE:
            self.runs.forget(Address(WORKSPACE, *key))
        self._unindex(kind, key, before)
        del self._objects[kind][key]
        if kind is JOB:
            for pod in filter(attempts.is_gone, self.owned(POD, before["metadata"]["uid"])):
                self._discard(POD, _key(pod), pod)

    def _is_witness(self, pod: Json) -> bool:
        """The pod of a run that goes on: what became of it is asked for, though it is deleted."""
        owner = controller(pod)
        job = self._objects[JOB].get((pod["metadata"].get("namespace", ""), owner["name"])) if owner else None
        is_ours = job is not None and owner is not None and job["metadata"].get("uid") == owner["uid"]
        return is_ours and not self._is_history(POD, pod)

    def _unsettled(self, run: Json) -> Hours:
        """What the present attempt of a run that is deleted has used, which its status does not have yet."""
        if is_finished(run):
            return Hours()
        name, now = (run.get("status") or {}).get("job"), datetime.now(UTC)
        jobs = [job for job in self.owned(JOB, run["metadata"]["uid"]) if job["metadata"]["name"] == name]
        return sum((attempts.used_by(job, self, now) for job in jobs), Hours())

    def _is_history(self, kind: Kind, resource: Json) -> bool:
        """A Job or pod of a run that has been written down as done: nobody asks for it again, and there are the most of it."""
        if kind not in (JOB, POD):
            return False
        runs = (self.get(at.kind, at.namespace, at.name) for at in served(resource) if at.kind is TRAINING_RUN)
        return any(run is not None and is_finished(run) for run in runs)

    def _forget_witnesses(self, run: Json) -> None:
        for job in self.owned(JOB, run["metadata"]["uid"]):
            for pod in self.owned(POD, job["metadata"]["uid"]):
                self._discard(POD, _key(pod), pod)
            self._discard(JOB, _key(job), job)

    def _unindex(self, kind: Kind, key: tuple[str, str], before: Json) -> None:
        if kind is TRAINING_RUN:
            self.runs.drop(before)
        for index, at in _indexed(kind, before):
            entries = getattr(self, index)
            entries[(kind, at)].discard(key)
            if not entries[(kind, at)]:
                del entries[(kind, at)]


def given_versions(kind: Kind, resource: Json) -> Iterator[tuple[Address | None, Address, int]]:
    """Versions that the object proves to have been given, with their model and, where it is known, its Workspace.

    A Model is one; a Workspace has a list of them; a run names the Model that it registered.
    """
    metadata, status = resource["metadata"], resource.get("status") or {}
    namespace = metadata.get("namespace", "")
    if kind is MODEL:
        spec = resource.get("spec") or {}
        name, version, workspace = spec.get("name"), spec.get("version"), spec.get("workspace")
        if isinstance(name, str) and isinstance(version, int):
            home = Address(WORKSPACE, namespace, workspace) if isinstance(workspace, str) and workspace else None
            yield home, Address(FAMILY, namespace, name), version
    elif kind is WORKSPACE:
        for name, version in (status.get("modelVersions") or {}).items():
            yield Address(WORKSPACE, namespace, metadata["name"]), Address(FAMILY, namespace, name), int(version)
    elif kind is TRAINING_RUN:
        name, _, number = str(status.get("model") or "").rpartition("-")
        if name and number.isdigit():
            yield None, Address(FAMILY, namespace, name), int(number)


def is_finished(run: Json) -> bool:
    return bool((run.get("status") or {}).get("completionTime"))


def _key(resource: Json) -> tuple[str, str]:
    return resource["metadata"].get("namespace", ""), resource["metadata"]["name"]


def _supersedes(resource: Json, present: Json) -> bool:
    """A newer version; another UID means another object, that replaces the one before."""
    new, old = resource["metadata"], present["metadata"]
    return new.get("uid") != old.get("uid") or is_newer(
        str(new.get("resourceVersion", "")), str(old.get("resourceVersion", ""))
    )


def is_newer(version: str, than: str) -> bool:
    """Resource versions count up; where they are no numbers, another one is taken for a newer one."""
    return int(version) > int(than) if version.isdigit() and than.isdigit() else version != than


def _indexed(kind: Kind, resource: Json) -> Iterator[tuple[str, object]]:
    """Every index entry of the object: the index's name and the key in it."""
    owner = controller(resource)
    if owner:
        yield "_owned", owner["uid"]
    if kind in OURS:
        for target in refers_to(kind, resource):
            yield "_referrers", target
    else:
        for at in served(resource):
            yield "_labelled", at


def controller(resource: Json) -> Json | None:
    """The owner reference of the object's controller."""
    for each in resource["metadata"].get("ownerReferences") or []:
        if each.get("controller"):
            return dict(each)
    return None


def served(child: Json) -> list[Address]:
    """The objects of ours that a child is labelled for."""
    metadata = child["metadata"]
    labels = metadata.get("labels") or {}
    return [Address(kind, metadata.get("namespace", ""), labels[kind.label]) for kind in OURS if kind.label in labels]


def trimmed(kind: Kind, resource: Json) -> Json:
    """The object without what nobody reads, its field names shared with all other objects."""
    kept: Json = _shared(_kept(kind, resource))
    return kept


def _shared(value: Any) -> Any:
    """A parser makes every field's name anew for every document; a hundred of them weigh more than what they name."""
    if isinstance(value, dict):
        return {sys.intern(key): _shared(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_shared(each) for each in value]
    return sys.intern(value) if isinstance(value, str) and len(value) < _SHORT else value


def _pod_part(name: str, part: Any) -> Any:
    """Of a container, how it is; what it mounts and was given is in no status that anybody reads."""
    if not name.endswith("ontainerStatuses"):
        return part
    return [{key: each[key] for key in _CONTAINER_STATUS if key in each} for each in part or []]


def _pod_spec(spec: Json, is_waiting: bool) -> Json:
    """Where it is; before it runs, also what it waits for."""
    if not is_waiting:
        return {"nodeName": spec["nodeName"]} if spec.get("nodeName") else {}
    made = {key: spec[key] for key in _POD_SPEC if key in spec}
    for group in ("initContainers", "containers"):
        if spec.get(group):
            made[group] = [
                {key: each[key] for key in ("resources", "restartPolicy") if key in each} for each in spec[group]
            ]
    volumes = [_volume(each) for each in spec.get("volumes") or [] if any(key in each for key in _NAMED_VOLUMES)]
    return made | ({"volumes": volumes} if volumes else {})


def _volume(volume: Json) -> Json:
    return {key: volume[key] for key in ("name", *_NAMED_VOLUMES) if key in volume}


def _node(node: Json) -> Json:
    """Who it takes and what it has. A kubelet's report changes every few minutes: what changes at each is left out."""
    metadata, spec, report = node["metadata"], node.get("spec") or {}, node.get("status") or {}
    ready = [
        {key: each[key] for key in _READY if key in each}
        for each in report.get("conditions") or []
        if each.get("type") == "Ready"
    ]
    return {
        "metadata": {key: metadata[key] for key in ("name", "uid", "resourceVersion", "labels") if key in metadata},
        "spec": {key: spec[key] for key in ("taints", "unschedulable") if key in spec},
        "status": {"allocatable": report.get("allocatable") or {}, "conditions": ready},
    }


def _kept(kind: Kind, resource: Json) -> Json:
    metadata = {key: value for key, value in resource["metadata"].items() if key != "managedFields"}
    annotations = metadata.get("annotations")
    if annotations:
        metadata["annotations"] = {key: value for key, value in annotations.items() if key not in HEAVY_ANNOTATIONS}
    made = {**resource, "metadata": metadata}
    if kind is POD:
        report = resource.get("status") or {}
        return {
            "metadata": metadata,
            "spec": _pod_spec(resource.get("spec") or {}, is_waiting=report.get("phase", "Pending") == "Pending"),
            "status": {key: _pod_part(key, report[key]) for key in _POD_STATUS if key in report},
            "requests": requested(resource),
        }
    if kind is NODE:
        return _node(resource)
    if kind is JOB:
        spec = resource.get("spec") or {}
        kept_spec = {key: spec[key] for key in ("suspend",) if key in spec}
        return {"metadata": metadata, "spec": kept_spec, "status": resource.get("status") or {}}
    if kind is TRAINING_RUN and is_finished(resource):
        made["spec"] = _ended_run(resource.get("spec") or {})
    return made


def _ended_run(spec: Json) -> Json:
    """What counts it, of which Models it is an evaluation, and in what a Model of it is converted: the image, and whether
    there were packages, but not their text."""
    made: Json = {key: spec[key] for key in ("experiment", "parameters") if key in spec}
    asked = spec.get("environment")
    if isinstance(asked, dict) and asked:
        made["environment"] = {key: value if key == "image" else True for key, value in asked.items()}
    given = spec.get("inputs")
    read = {name: each for name, each in given.items() if _reads_model(each)} if isinstance(given, dict) else {}
    if read:
        made |= {"inputs": {name: {"path": each["path"]} for name, each in read.items()}}
        made |= {"register": {}} if spec.get("register") else {}
    return made


def _reads_model(given: object) -> bool:
    found = needed(given.get("path")) if isinstance(given, dict) else None
    return found is not None and bool(found.model)
