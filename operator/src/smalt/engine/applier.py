"""Makes children what a plan says, with as few writes as that takes.

A Job, Secret or Model is made once, by POST. Everything else is server-side applied, and only when what is wanted
differs from what was last applied, or what is there differs from what came of it.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from typing import Protocol

from smalt.api.kinds import MODEL, SECRET, Kind, kind_of
from smalt.api.references import Address, address
from smalt.api.schema import Json
from smalt.engine.ports import Api
from smalt.engine.store import Store, controller
from smalt.errors import AlreadyExists, Conflict, NameTaken, NotYetGone
from smalt.reconcilers.plan import Child
from smalt.reconcilers.world import Live, Read

APPLIED = "smalt.dev/applied"


class Absorb(Protocol):
    """Takes an object into the cache; `maker` is whose child it is that was made just now, and knows."""

    def __call__(self, kind: Kind, resource: Json, maker: Address | None = None) -> None: ...


class Applier:
    """Carries out the children's part of plans. `absorb` takes what the API server answers into the cache."""

    def __init__(self, api: Api, store: Store, absorb: Absorb) -> None:
        self._api, self._store, self._absorb = api, store, absorb
        self._settled: dict[str, str] = {}

    async def ensure(self, owner: Json, child: Child, live: Live) -> bool:
        """True when the child was made just now. NameTaken, NotYetGone, or an ApiError when it cannot be."""
        kind = kind_of(child.manifest["apiVersion"], child.manifest["kind"])
        manifest = wanted(owner, child)
        namespace, name = manifest["metadata"]["namespace"], child.name
        seen = live.get(Read(kind, namespace, name)) if kind is SECRET else self._store.get(kind, namespace, name)
        if seen is None and not child.once:
            # What does not carry our label never reaches the cache: look before taking a name.
            seen = await self._api.find(kind, namespace, name)
        if seen is None and child.once:
            return await self._make(owner, child, kind, manifest)
        if seen is not None:
            check_ours(owner, child, kind, seen)
        if child.once:
            return False
        return await self._apply(kind, manifest, seen)

    def forget(self, uid: str) -> None:
        """A child is gone: what is known of it is of no use."""
        self._settled.pop(uid, None)

    async def _make(self, owner: Json, child: Child, kind: Kind, manifest: Json) -> bool:
        if child.random:
            # Letters and digits alone, so that a key can be pasted anywhere; 32 bytes of randomness.
            manifest = manifest | {"stringData": {key: secrets.token_hex(32) for key in child.random}}
        try:
            made = await self._api.create(kind, manifest)
        except AlreadyExists:
            found = await self._api.find(kind, manifest["metadata"]["namespace"], child.name)
            if found is None:
                raise NotYetGone(f"{kind.kind} '{child.name}' was there a moment ago") from None
            check_ours(owner, child, kind, found)
            self._absorb(kind, found)
            return False
        self._absorb(kind, made, address(kind_of(owner["apiVersion"], owner["kind"]), owner))
        return True

    async def _apply(self, kind: Kind, manifest: Json, seen: Json | None) -> bool:
        if seen is not None:
            if seen["metadata"].get("deletionTimestamp"):
                raise NotYetGone(f"{kind.kind} '{manifest['metadata']['name']}' is being deleted")
            if self._is_settled(manifest, seen):
                return False
            manifest = manifest | {"metadata": manifest["metadata"] | {"uid": seen["metadata"]["uid"]}}
        made = await self._api.apply(kind, manifest)
        self._settled[made["metadata"]["uid"]] = _fingerprint(made)
        self._absorb(kind, made)
        return seen is None

    def _is_settled(self, manifest: Json, seen: Json) -> bool:
        """The same was applied last, and what is there is what came of it, or holds all of it in so many words."""
        applied = (seen["metadata"].get("annotations") or {}).get(APPLIED)
        if applied != manifest["metadata"]["annotations"][APPLIED]:
            return False
        return self._settled.get(seen["metadata"]["uid"]) == _fingerprint(seen) or holds(seen, manifest)


def wanted(owner: Json, child: Child) -> Json:
    """The child's manifest with its owner, and a digest of itself: a field that is no longer wanted changes it."""
    manifest = child.manifest
    metadata = dict(manifest["metadata"])
    if child.owned:
        metadata["ownerReferences"] = [
            {
                "apiVersion": owner["apiVersion"],
                "kind": owner["kind"],
                "name": owner["metadata"]["name"],
                "uid": owner["metadata"]["uid"],
                "controller": True,
            }
        ]
    if not child.once:
        digest = _digest(manifest | {"metadata": metadata})
        metadata["annotations"] = (metadata.get("annotations") or {}) | {APPLIED: digest}
    return manifest | {"metadata": metadata}


def check_ours(owner: Json, child: Child, kind: Kind, seen: Json) -> None:
    """NameTaken for what somebody else made; NotYetGone for what belonged to an earlier object of the owner's name."""
    holder = controller(seen)
    if holder and holder["uid"] == owner["metadata"]["uid"]:
        return
    if holder and (holder["kind"], holder["name"]) == (owner["kind"], owner["metadata"]["name"]):
        raise NotYetGone(f"{kind.kind} '{child.name}' of an earlier {owner['kind']} is not gone yet")
    labels = child.manifest["metadata"].get("labels") or {}
    has = seen["metadata"].get("labels") or {}
    # What is made once is never applied again, so that an owner it has lost stays lost: it is no child any more.
    is_claimable = not (child.once and child.owned)
    if holder is None and is_claimable and all(has.get(key) == value for key, value in labels.items()):
        return
    if kind is MODEL:
        raise Conflict(f"Model '{child.name}' was registered by another run a moment ago")
    raise NameTaken(kind.kind, child.name)


def holds(seen: object, part: object) -> bool:
    """Every field of `part` stands in `seen` with the same value; elements of lists are found by name."""
    if isinstance(part, dict):
        return isinstance(seen, dict) and all(key in seen and holds(seen[key], value) for key, value in part.items())
    if isinstance(part, list):
        if not isinstance(seen, list):
            return False
        return all(any(holds(each, element) for each in seen) for element in part)
    return seen == part


def _fingerprint(resource: Json) -> str:
    """All that an edit can touch, without what controllers write there."""
    metadata = resource["metadata"]
    annotations = {
        key: value
        for key, value in (metadata.get("annotations") or {}).items()
        if not key.startswith(("deployment.kubernetes.io/", "pv.kubernetes.io/", "volume.", "kubectl."))
    }
    rest = {key: value for key, value in resource.items() if key not in ("metadata", "status")}
    return _digest([metadata.get("labels"), annotations, metadata.get("ownerReferences"), rest])


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]
