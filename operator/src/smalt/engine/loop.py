"""One reconcile: read what the reconciler names, plan, make children, write the status last and only when it changed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from smalt.api import conditions
from smalt.api.kinds import CACHED, EVENT, JOB, OURS, Kind, kind_of
from smalt.api.references import Address, address
from smalt.api.schema import Json
from smalt.engine.applier import Applier
from smalt.engine.burst import Burst
from smalt.engine.occupancy import Occupancy
from smalt.engine.polling import POLL_SECONDS, Poller
from smalt.engine.ports import Api, Recorders
from smalt.engine.queue import Queue
from smalt.engine.sharing import Shared
from smalt.engine.store import Change, Store
from smalt.engine.waking import woken
from smalt.errors import ApiError, Conflict, NameTaken, NotFound, NotYetGone, Refused, Unavailable
from smalt.metrics import Metrics
from smalt.reconcilers.plan import Child, Deletion, Plan
from smalt.reconcilers.registry import RECONCILERS
from smalt.reconcilers.reporting import status as report
from smalt.reconcilers.world import Labelled, Live, LiveRead, Occupied, Read, Refusals, StatusOf, Warnings
from smalt.settings import Settings

log = logging.getLogger(__name__)

# A child that was just made is about to change the status again: one write then instead of two now.
HOLD_SECONDS = 3.0
# Counts of runs may lag; a burst of them is one write.
COUNTS_SECONDS = 5.0
# What a running script says of itself is written no more often than that.
WORDS_SECONDS = POLL_SECONDS
# Why the Job controller makes no pod.
REFUSED_JOBS = f"involvedObject.kind={JOB.kind},reason=FailedCreate"
# What is being carried out when the end comes gets so long; a standby waits for it.
FINISH_SECONDS = 0.7


@dataclass
class Loop:
    """The workers and what they share."""

    api: Api
    settings: Settings
    metrics: Metrics
    store: Store = field(default_factory=Store)
    clock: Callable[[], float] = time.monotonic
    is_leading: bool = False
    recorders: Recorders | None = None

    def __post_init__(self) -> None:
        self.queue = Queue(self.metrics, self.clock)
        self.applier = Applier(self.api, self.store, self.absorb)
        self.occupancy = Occupancy(self.api, self.clock)
        self._held: dict[Address, float] = {}
        self._written: dict[Address, float] = {}
        self._poller = Poller(self.recorders, self._look_again) if self.recorders else None
        self._burst = Burst()
        self._told: Shared[Json] = Shared(self.clock)
        self._workers: list[asyncio.Task[None]] = []
        self._idle = asyncio.Event()
        self._idle.set()
        self.metrics.watch_queue(self.queue.working)
        self.metrics.workers(self.settings.workers)
        self.metrics.show_conditions(self.store.all, lambda: self.is_leading)

    # --- what comes in ---

    def absorb(self, kind: Kind, resource: Json, maker: Address | None = None) -> None:
        """An object as it is now, from a watch or an answer. What is not watched is not cached either."""
        if kind not in CACHED:
            return
        change = self.store.upsert(kind, resource)
        if change:
            # Nobody has done anything about a Job that was asked for a moment ago: its run looks again when its first
            # status is due. What the Job controller does wakes it before.
            self._wake(kind, change, but=maker if kind is JOB else None)

    def lose(self, kind: Kind, resource: Json) -> None:
        """An object is gone."""
        change = self.store.remove(kind, resource)
        if change is None:
            return
        self.applier.forget(str(resource["metadata"].get("uid")))
        if kind in OURS:
            self._held.pop(address(kind, resource), None)
            self._written.pop(address(kind, resource), None)
            self._burst.forget(address(kind, resource))
            self._follow(address(kind, resource), ())
        self._wake(kind, change)

    def _wake(self, kind: Kind, change: Change, but: Address | None = None) -> None:
        if not self.is_leading:
            return
        for wake in woken(kind, change, self.store):
            if wake.target == but:
                continue
            if wake.seconds:
                self.queue.add_after(wake.target, wake.seconds)
            else:
                self.queue.add(wake.target, urgent=wake.urgent)

    def _look_again(self, who: Address) -> None:
        if self.is_leading:
            self.queue.add(who)

    def lead(self) -> None:
        """From now on this replica writes; everything is looked at once."""
        self.is_leading = self.store.runs.is_recording = True
        for kind in OURS:
            for resource in self.store.all(kind):
                is_new = not (resource.get("status") or {}).get("conditions")
                self.queue.add(address(kind, resource), urgent=is_new)

    # --- workers ---

    async def work(self) -> None:
        """Until `finish`."""
        async with asyncio.TaskGroup() as group:
            self._workers = [group.create_task(self._worker()) for _ in range(self.settings.workers)]

    async def finish(self) -> None:
        """Takes nothing new, waits a moment for what is being carried out, and ends the workers: no write comes after."""
        self.is_leading = False
        try:
            await asyncio.wait_for(self._idle.wait(), FINISH_SECONDS)
        except TimeoutError:
            log.warning("reconciles that were under way are cut off: whoever leads next carries them on")
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        if self._poller:
            await self._poller.stop()

    async def _worker(self) -> None:
        while True:
            key = await self.queue.get()
            assert isinstance(key, Address)
            try:
                if self.is_leading:
                    self._idle.clear()
                    await self._handle(key)
            finally:
                self.queue.done(key)
                if not self.queue.working():
                    self._idle.set()

    async def _handle(self, key: Address) -> None:
        began = self.metrics.began(key.kind)
        result = "error"
        try:
            again = await self.reconcile(key)
            self.queue.forget(key)
            result = "success" if again is None else "requeue_after"
            if again is not None:
                self.queue.add_after(key, again) if again > 0 else self.queue.add(key)
        except (Conflict, NotYetGone) as passing:
            log.debug("%s %s/%s: %s", key.kind.kind, key.namespace, key.name, passing)
            result = "requeue"
            self.queue.retry(key)
        except Unavailable as error:
            log.warning("%s %s/%s: %s", key.kind.kind, key.namespace, key.name, error)
            self.queue.retry(key, at_least=error.retry_after or 0.0)
        except ApiError as error:
            log.error("%s %s/%s: %s", key.kind.kind, key.namespace, key.name, error)
            self.queue.retry(key)
        except Exception as error:
            # A defect of ours must not end the operator for everybody else: it is told, counted and tried again.
            log.exception("%s %s/%s: internal error", key.kind.kind, key.namespace, key.name)
            self.metrics.panicked(key.kind)
            self.queue.retry(key)
            await self._confess(key, error)
        finally:
            self.metrics.ended(key.kind, began, result)

    async def reconcile(self, key: Address) -> float | None:
        """One look at one object; the seconds after which to look again, if any."""
        with self.store.runs.busy(key):
            return await self._look_at(key)

    async def _look_at(self, key: Address) -> float | None:
        resource = self.store.get(key.kind, key.namespace, key.name)
        if resource is None or resource["metadata"].get("deletionTimestamp"):
            return None
        reconciler = RECONCILERS[key.kind]
        now = datetime.now(UTC)
        reads = reconciler.reads(resource, self.store, now)
        self._follow(key, reads)
        live = await self._read_all(key, reads)
        plan = reconciler.plan(resource, self.store, live, now, self.settings)
        try:
            made = await self._carry_out(resource, plan, live)
        except NameTaken as error:
            plan = self._instead(resource, conditions.stalled("NameTaken", str(error)), plan)
            made = False
        except Refused as error:
            plan = self._instead(
                resource, conditions.waiting("ChildRefused", f"the API server refuses a child: {error}"), plan
            )
            await self._write_status(key, resource, plan)
            raise
        if made:
            self._held[key] = self.clock() + HOLD_SECONDS
        wait = await self._write_status(key, resource, plan)
        for deletion in plan.delete:
            await self._delete(deletion)
        for each in plan.wake:
            self.queue.add(each)
        return _sooner(plan.requeue_after, _sooner(wait, HOLD_SECONDS if made else None))

    async def _delete(self, deletion: Deletion) -> None:
        try:
            await self.api.delete(deletion.kind, deletion.namespace, deletion.name, deletion.uid, deletion.version)
        except Conflict:
            log.debug("%s %s/%s has changed since: it stays", deletion.kind.kind, deletion.namespace, deletion.name)
        except NotFound:
            gone = self.store.get(deletion.kind, deletion.namespace, deletion.name)
            if gone and gone["metadata"]["uid"] == deletion.uid:
                self.lose(deletion.kind, gone)

    def _follow(self, who: Address, reads: tuple[LiveRead, ...]) -> None:
        if self._poller:
            self._poller.follow(who, reads)

    async def _read_all(self, key: Address, reads: tuple[LiveRead, ...]) -> Live:
        """All at once: a run with many ConfigMaps waits for its Job no longer than one with one."""
        return dict(zip(reads, await asyncio.gather(*(self._read(key, each) for each in reads)), strict=True))

    async def _read(self, key: Address, read: LiveRead) -> Json | None:
        match read:
            case Read(kind, namespace, name):
                return await self.api.find(kind, namespace, name)
            case Refusals(namespace):
                return await self._events(namespace, REFUSED_JOBS)
            case Warnings(namespace, kind):
                return await self._events(namespace, f"involvedObject.kind={kind.kind},type=Warning")
            case Occupied():
                return await self.occupancy.read()
            case Labelled(kind, namespace, selector):
                return await self.api.select(kind, namespace, labelSelector=selector)
            case StatusOf():
                return self._poller.said(key) if self._poller else None

    async def _events(self, namespace: str, fields: str) -> Json:
        return await self._told.ask(
            (namespace, fields), lambda: self.api.select(EVENT, namespace, fieldSelector=fields)
        )

    async def _carry_out(self, resource: Json, plan: Plan, live: Live) -> bool:
        made = False
        for child in plan.apply:
            with self._holding(child):
                is_new = await self.applier.ensure(resource, child, live)
            if is_new and child.manifest["kind"] == JOB.kind:
                self._burst.made(self.clock())
            made = made or is_new
        return made

    @contextmanager
    def _holding(self, child: Child) -> Iterator[None]:
        """A Model that is being registered waits only for the status that comes with this very plan; its own events may
        come before the answer to our request does."""
        kind = kind_of(child.manifest["apiVersion"], child.manifest["kind"])
        at = address(kind, child.manifest)
        if kind in OURS:
            self._held[at] = self.clock() + HOLD_SECONDS
        try:
            yield
        except Exception:
            self._held.pop(at, None)
            raise

    def _instead(self, resource: Json, said: list[Json], plan: Plan) -> Plan:
        """The plan could not be carried out: its facts stay as they were, and the status says why."""
        known = {
            name: fact
            for name, fact in (resource.get("status") or {}).items()
            if name not in ("conditions", "observedGeneration")
        }
        return Plan(status=report(resource, said, datetime.now(UTC), **known), requeue_after=plan.requeue_after or 60.0)

    async def _write_status(self, key: Address, resource: Json, plan: Plan) -> float | None:
        """Writes the status if it differs; or the seconds after which that is due."""
        present = resource.get("status") or {}
        if plan.status is None or plan.status == present:
            return None
        wait = self._held_back(key, plan, is_first="conditions" not in present)
        if wait > 0:
            return wait
        try:
            written = await self.api.patch_status(key.kind, resource, difference(present, plan.status))
        except NotFound:
            # Its deletion was missed, and nobody else would tell: what it left behind is not to be made again.
            self.lose(key.kind, resource)
            return None
        if plan.counts_only or plan.words_only:
            self._written[key] = self.clock()
        self._held.pop(key, None)
        self._burst.forget(key)
        self.absorb(key.kind, {"apiVersion": key.kind.api_version, "kind": key.kind.kind, **written})
        return None

    def _held_back(self, key: Address, plan: Plan, is_first: bool) -> float:
        assert plan.status is not None
        if plan.is_final or plan.is_awaited:
            return 0.0
        # What is ready has arrived: nothing is about to follow.
        is_ready = conditions.find(plan.status, "Ready").get("status") == "True"
        held = 0.0 if is_ready else self._held.get(key, 0.0) - self.clock()
        # That work begins can be told a little later while there is more to begin; how it goes on cannot.
        crowded = self._burst.wait(key, self.clock()) if is_first and not is_ready else 0.0
        distance = COUNTS_SECONDS if plan.counts_only else WORDS_SECONDS if plan.words_only else 0.0
        repeated = self._written.get(key, float("-inf")) + distance - self.clock() if distance else 0.0
        return max(held, crowded, repeated, 0.0)

    async def _confess(self, key: Address, error: Exception) -> None:
        """Ready=Unknown, so that nobody waits for a silent operator."""
        resource = self.store.get(key.kind, key.namespace, key.name)
        if resource is None:
            return
        words = f"the operator met a defect of its own ({type(error).__name__}) and tries again: see its log"
        plan = self._instead(resource, conditions.unknown("InternalError", words), Plan())
        try:
            await self._write_status(key, resource, plan)
        except ApiError as second:
            log.warning(
                "%s %s/%s: the defect could not be written down: %s", key.kind.kind, key.namespace, key.name, second
            )


def difference(present: Json, new: Json) -> Json:
    """A merge patch that turns the one status into the other."""
    made: Json = dict.fromkeys(present.keys() - new.keys())
    for name, value in new.items():
        old = present.get(name)
        if isinstance(value, dict) and isinstance(old, dict):
            inner = difference(old, value)
            if inner:
                made[name] = inner
        elif name not in present or old != value:
            made[name] = value
    return made


def _sooner(one: float | None, other: float | None) -> float | None:
    return min(one, other) if one is not None and other is not None else (one if other is None else other)
