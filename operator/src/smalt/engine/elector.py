"""Which replica leads, by a Lease.

Election saves work, it guarantees nothing: every write carries its own precondition. A leader that could not renew
in time ends, rather than believe; one that is told to stop gives the Lease back, so that the next need not wait.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime

from smalt.api.kinds import LEASE
from smalt.api.schema import Json
from smalt.engine.ports import Api
from smalt.errors import AlreadyExists, ApiError, Conflict, LeaseLost

log = logging.getLogger(__name__)

LEASE_SECONDS = 15
RENEW_SECONDS = 5.5
# After a renewal that failed.
RETRY_SECONDS = 1.0
# A standby only reads, and a lease that was given back is to be seen soon.
LOOK_SECONDS = 1.0
# Before others may take over, with a margin for a slow clock.
GIVE_UP_SECONDS = 10.0


class Elector:
    """One candidate for one Lease."""

    def __init__(self, api: Api, namespace: str, name: str, identity: str, clock: Callable[[], float] = time.monotonic):
        self._api, self._namespace, self._name, self._identity = api, namespace, name, identity
        self._clock = clock
        self._seen: tuple[object, float] = (None, clock())
        self._lease: Json | None = None
        # A renewal and the release must not meet: the second would find a version that it does not know.
        self._writing = asyncio.Lock()

    async def acquire(self) -> None:
        """Returns when this replica leads. Trouble with the API server only delays."""
        log.info("waiting for lease %s/%s as %s", self._namespace, self._name, self._identity)
        while True:
            try:
                if await self._try():
                    log.info("leading: lease %s/%s is held by %s", self._namespace, self._name, self._identity)
                    return
            except (Conflict, AlreadyExists):
                log.info("another replica was faster")
            except ApiError as error:
                log.warning("the lease cannot be read or written: %s", error)
            await asyncio.sleep(LOOK_SECONDS)

    async def hold(self) -> None:
        """Renews until it is released. LeaseLost when another replica leads, or renewing failed for too long."""
        # Counted from before the request: a renewal is as old as the time in it.
        renewed, wait = self._clock(), RENEW_SECONDS
        while self._lease is not None:
            await asyncio.sleep(wait)
            began = self._clock()
            try:
                async with asyncio.timeout(max(0.0, renewed + GIVE_UP_SECONDS - began)):
                    await self._write(self._renewed)
                renewed, wait = began, RENEW_SECONDS
            except Conflict as error:
                raise LeaseLost(
                    f"lease {self._namespace}/{self._name} was taken or changed by another: {error}"
                ) from error
            except (ApiError, TimeoutError) as error:
                log.warning("the lease could not be renewed: %s", error or "no answer in time")
                if self._clock() - renewed >= GIVE_UP_SECONDS or isinstance(error, TimeoutError):
                    raise LeaseLost(f"lease {self._namespace}/{self._name} could not be renewed in time") from error
                wait = RETRY_SECONDS

    async def release(self) -> None:
        """Gives the Lease back; whoever waits sees it within a second."""
        if self._lease is None:
            return
        try:
            async with asyncio.timeout(GIVE_UP_SECONDS):
                await self._write(self._released)
            log.info("lease %s/%s is released", self._namespace, self._name)
        except (ApiError, TimeoutError) as error:
            log.warning("the lease could not be released, others wait until it has run out: %s", error)
        self._lease = None

    async def _try(self) -> bool:
        found = await self._api.find(LEASE, self._namespace, self._name)
        if found is None:
            manifest = {
                "apiVersion": LEASE.api_version,
                "kind": LEASE.kind,
                "metadata": {"name": self._name, "namespace": self._namespace},
                "spec": self._spec(0),
            }
            self._lease = await self._api.create(LEASE, manifest)
            return True
        spec = found.get("spec") or {}
        # Our own name stands there when the answer to an attempt of ours was lost.
        if spec.get("holderIdentity") not in (None, "", self._identity) and not self._has_run_out(found):
            return False
        transitions = int(spec.get("leaseTransitions") or 0) + 1
        self._lease = await self._api.replace(LEASE, found | {"spec": self._spec(transitions)})
        return True

    def _has_run_out(self, found: Json) -> bool:
        """By our own clock: unchanged for its duration since we first saw it so."""
        version = (found["metadata"].get("uid"), found["metadata"].get("resourceVersion"))
        if version != self._seen[0]:
            self._seen = (version, self._clock())
        duration = float((found.get("spec") or {}).get("leaseDurationSeconds") or LEASE_SECONDS)
        return self._clock() - self._seen[1] > duration

    async def _write(self, change: Callable[[], Json]) -> None:
        """Replaces the spec of the Lease that we hold. Conflict when it is another's."""
        async with self._writing:
            if self._lease is None:
                return
            try:
                self._lease = await self._api.replace(LEASE, self._lease | {"spec": self._lease["spec"] | change()})
            except Conflict:
                # An answer of ours may have been lost: then the Lease is newer than we know, and still ours.
                found = await self._api.find(LEASE, self._namespace, self._name)
                if found is None or (found.get("spec") or {}).get("holderIdentity") != self._identity:
                    raise
                self._lease = await self._api.replace(LEASE, found | {"spec": found["spec"] | change()})

    def _renewed(self) -> Json:
        return {"renewTime": _now()}

    def _released(self) -> Json:
        return {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": _now()}

    def _spec(self, transitions: int) -> Json:
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": LEASE_SECONDS,
            "acquireTime": _now(),
            "renewTime": _now(),
            "leaseTransitions": transitions,
        }


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
