"""Why a pod's volumes are not there: claims that cannot be bound, and what the kubelet says of mounting."""

from __future__ import annotations

import re
from collections.abc import Mapping

from smalt.api.schema import Json
from smalt.reconcilers.causes.admission import time_of
from smalt.reconcilers.causes.finding import Finding, brief

_MOUNTING = ("FailedMount", "FailedAttachVolume", "FailedMapVolume")
_VOLUME = re.compile(r'for volume "([^"]*)" : (.*)', re.DOTALL)
_ABSENT = re.compile(r'(secret|configmap)s? "([^"]*)" not found')
_ABSENT_KEY = re.compile(r"references non-existent (secret|config) key: (\S+)")
_NO_KEY = re.compile(r"couldn't find key (\S+) in (Secret|ConfigMap) [^/\s]*/(\S+)")
_NO_CLASS = re.compile(r'storageclass\.storage\.k8s\.io "([^"]*)" not found')
_KINDS = {"secret": "Secret", "configmap": "ConfigMap", "config": "ConfigMap"}


def claims_of(pod: Json) -> list[str]:
    """The volume claims that the pod mounts."""
    volumes = (pod.get("spec") or {}).get("volumes") or []
    return [each["persistentVolumeClaim"]["claimName"] for each in volumes if each.get("persistentVolumeClaim")]


def unbound(name: str, claim: Json | None, events: list[Json], is_blamed: bool = True) -> Finding | None:
    """What is the matter with a claim; None when it is bound, or only waits for the pod to get a node.

    Whether it waits for that is the class's to say; `is_blamed` when the scheduler names claims as the cause.
    """
    if claim is None:
        return Finding(
            "ClaimNotFound",
            f"PersistentVolumeClaim '{name}' does not exist in this namespace: create it; it goes on by itself",
        )
    phase = (claim.get("status") or {}).get("phase")
    if claim["metadata"].get("deletionTimestamp"):
        return Finding(
            "VolumePending",
            f"PersistentVolumeClaim '{name}' is being deleted: wait until it is gone and create it anew, or name another",
        )
    if phase == "Lost":
        return Finding(
            "VolumePending",
            f"PersistentVolumeClaim '{name}' is lost, for its volume '{claim['spec'].get('volumeName', '')}' is gone: "
            "restore the volume, or delete the claim and create it anew",
        )
    if phase == "Bound" or not (is_blamed or newest(events, "ProvisioningFailed")):
        return None
    return _pending(name, claim, events)


def _pending(name: str, claim: Json, events: list[Json]) -> Finding:
    wanted = claim["spec"].get("storageClassName")
    words = newest(events, "ProvisioningFailed")
    if wanted and (found := _NO_CLASS.search(words)):
        return Finding(
            "StorageClassNotFound",
            f"PersistentVolumeClaim '{name}' waits for StorageClass '{found[1]}', which does not exist: create the class, "
            "or the claim anew with one of `kubectl get storageclasses`",
        )
    if wanted is None:
        return Finding(
            "NoStorageClass",
            f"PersistentVolumeClaim '{name}' names no StorageClass and the cluster has no default one: create the claim "
            "anew with storageClassName, or mark a class with storageclass.kubernetes.io/is-default-class=true",
        )
    why = f": {brief(words)}" if words else ""
    of = (
        f"of StorageClass '{wanted}'"
        if wanted
        else "without a StorageClass, for which a PersistentVolume must be made,"
    )
    return Finding(
        "VolumePending",
        f"PersistentVolumeClaim '{name}' {of} is not bound yet{why}. See `kubectl describe pvc {name}`; it goes on by itself",
    )


def newest(events: list[Json], *reasons: str) -> str:
    """The message of the newest event with one of the reasons."""
    found = [each for each in events if each.get("reason") in reasons]
    return str(max(found, key=time_of).get("message") or "") if found else ""


def unmounted(pod: Json, events: list[Json]) -> Finding | None:
    """A volume that the kubelet cannot mount, from the newest of the pod's events."""
    words = newest(events, *_MOUNTING)
    if not words:
        return None
    found = _VOLUME.search(words)
    volume, why = (found[1], found[2]) if found else ("", words)
    return missing(why, _sources(pod).get(volume, "")) or Finding(
        "VolumeNotMounted",
        f"volume{f' {volume!r}' if volume else 's'} of pod '{pod['metadata']['name']}' cannot be mounted: {brief(why)}. It is "
        f"tried again: see `kubectl describe pod {pod['metadata']['name']}`",
    )


def _sources(pod: Json) -> Mapping[str, str]:
    """By volume, the name of the Secret or ConfigMap in it."""
    made = {}
    for each in (pod.get("spec") or {}).get("volumes") or []:
        secret, config_map = each.get("secret") or {}, each.get("configMap") or {}
        made[each["name"]] = secret.get("secretName") or config_map.get("name") or ""
    return made


def missing(words: str, source: str = "") -> Finding | None:
    """A Secret, a ConfigMap or a key in one that does not exist, from what the kubelet says; `source` is its name."""
    if found := _ABSENT.search(words):
        kind, name = _KINDS[found[1]], found[2]
        return Finding(
            f"{kind}NotFound", f"{kind} '{name}' does not exist in this namespace: create it; it goes on by itself"
        )
    if found := _NO_KEY.search(words):
        key, kind, name = found.groups()
    elif found := _ABSENT_KEY.search(words):
        key, kind, name = found[2], _KINDS[found[1]], source
    else:
        return None
    which = f"{kind} '{name}'" if name else f"a {kind} that the pod mounts"
    return Finding(f"{kind}KeyNotFound", f"{which} has no key '{key.rstrip('.,')}': add it; it goes on by itself")
