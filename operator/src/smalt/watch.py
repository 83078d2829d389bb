"""kopf's stateless half: events go into the cache and the queue, and nothing else happens in a handler.

No handler here decides or writes, so kopf stores nothing on anybody's objects: no finalizer, no annotation.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import kopf

from smalt.api.kinds import CHILDREN, GROUP, MANAGED_SELECTOR, OURS, VERSION, Kind, watched
from smalt.api.schema import Json
from smalt.cluster import CHUNK, Cluster
from smalt.engine.loop import Loop
from smalt.engine.store import is_newer
from smalt.errors import ApiError, NotFound, WatchLost

log = logging.getLogger(__name__)

AUDIT_SECONDS = 600.0
# After an audit that could not be finished.
AGAIN_SECONDS = 15.0
# After a watch was lost, its list comes again event by event; one audit follows when it has calmed down.
CALM_SECONDS = 5.0
LOOK_SECONDS = 2.0
# kopf lists everything once more when it starts, moments after we did: what was deleted between the two lists is told
# by neither, so that one audit follows.
SETTLING_SECONDS = 60.0


class NoDiffBase(kopf.DiffBaseStorage):
    """kopf would copy every object to remember what it had handled; nothing here is handled."""

    def build(self, *, body: kopf.Body, extra_fields: Any = None) -> kopf.BodyEssence:
        return kopf.BodyEssence({})

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        return None


class Backoffs:
    """Delays between attempts, without end, jittered so that replicas do not knock in step."""

    def __iter__(self) -> Iterator[float]:
        for step in itertools.chain((0.5, 1.0, 2.0, 4.0), itertools.repeat(8.0)):
            yield step * random.uniform(0.75, 1.25)


def kopf_settings() -> kopf.OperatorSettings:
    """kopf without everything that writes or asks on its own."""
    settings = kopf.OperatorSettings()
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.posting.enabled = False
    settings.persistence.diffbase_storage = NoDiffBase()
    settings.networking.error_backoffs = Backoffs()
    settings.networking.request_timeout = 60.0
    settings.networking.connect_timeout = 10.0
    settings.watching.connect_timeout = 10.0
    # Whole seconds: the API server parses nothing else.
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 360.0
    settings.watching.chunk_size = CHUNK
    # kopf keeps a task, and the last event, of every object for so long; at the start that is all objects at once.
    settings.queueing.idle_timeout = 0.1
    for kind in CHILDREN:
        settings.watching.label_selectors[kind.group, kind.version, kind.plural] = MANAGED_SELECTOR
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)
    return settings


class Watch:
    """Feeds a loop from the API server: at first by lists, then by watches, now and then by an audit."""

    def __init__(self, cluster: Cluster, loop: Loop) -> None:
        self._cluster, self._loop = cluster, loop
        self._namespace = loop.settings.namespace
        self._relisted = asyncio.Event()
        self._started_at, self._primed_at = float("inf"), float("-inf")
        # UIDs whose deletion was told while a list was being read: its later pages are as old as its first.
        self._lost: set[str] | None = None
        self._priming = asyncio.Lock()
        self._broken: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def wait_for_api(self) -> None:
        """Until the CRDs are installed; says so while they are not."""
        wanted = {kind.plural for kind in OURS}
        while True:
            try:
                found = await self._cluster.request("GET", f"/apis/{GROUP}/{VERSION}")
                missing = wanted - {each["name"] for each in found.get("resources", [])}
            except NotFound:
                missing = wanted
            except ApiError as error:
                log.warning("the API server cannot be asked yet: %s", error)
                missing = set()
                await asyncio.sleep(LOOK_SECONDS)
                continue
            if not missing:
                return
            log.warning(
                "waiting for CRDs %s: apply them with `kubectl apply -k manifests/`", ", ".join(sorted(missing))
            )
            await asyncio.sleep(LOOK_SECONDS)

    async def prime(self) -> None:
        """Fills the cache before anybody decides by it. Objects that are gone are forgotten."""
        # One at a time: an audit and a new leader's list would else take each other's note of what was deleted meanwhile.
        async with self._priming:
            for kind in watched(self._namespace):
                await self._list(kind)
        self._primed_at = time.monotonic()
        self._started_at = min(self._started_at, self._primed_at)

    def seconds_since_primed(self) -> float:
        return time.monotonic() - self._primed_at

    async def _list(self, kind: Kind) -> None:
        lost: set[str] = set()
        self._lost = lost
        try:
            await self._absorb_pages(kind, lost)
        finally:
            self._lost = None

    async def _absorb_pages(self, kind: Kind, lost: set[str]) -> None:
        selector = MANAGED_SELECTOR if kind in CHILDREN else ""
        before = {_uid(each): each for each in self._loop.store.all(kind)}
        taken_at = ""
        async for page in self._cluster.pages(kind, self._namespace, selector):
            taken_at = taken_at or str(page["metadata"].get("resourceVersion", ""))
            for resource in page.get("items") or []:
                before.pop(_uid(resource), None)
                if _uid(resource) not in lost:
                    self._loop.absorb(kind, resource)
        for gone in before.values():
            # What came after the list was taken is not in it either.
            if not is_newer(str(gone["metadata"].get("resourceVersion", "")), taken_at):
                self._loop.lose(kind, gone)

    async def audit(self) -> None:
        """For ever: looks for what events have missed, once after the start, every ten minutes, after a watch was lost."""
        wait = SETTLING_SECONDS
        while True:
            try:
                await asyncio.wait_for(self._relisted.wait(), wait)
                await asyncio.sleep(CALM_SECONDS)
            except TimeoutError:
                log.debug("time for an audit")
            self._relisted.clear()
            try:
                await self.prime()
                wait = AUDIT_SECONDS
            except ApiError as error:
                log.warning("the audit could not be finished and comes again: %s", error)
                wait = AGAIN_SECONDS

    async def stay(self) -> None:
        """For ever. WatchLost when one of kopf's own tasks has died: it does not start them again, nor tell anybody."""
        raise WatchLost(await self._broken)

    def _on_loop_error(self, running: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """The event loop's last word on a task that nobody waited for."""
        running.default_exception_handler(context)
        error = context.get("exception")
        if type(error).__module__.startswith("kopf.") and not self._broken.done():
            self._broken.set_result(f"a watch has ended: {error}")

    async def run(self, ready: asyncio.Event, stop: asyncio.Event) -> None:
        """kopf, until `stop`."""
        asyncio.get_running_loop().set_exception_handler(self._on_loop_error)
        namespaces = [self._namespace] if self._namespace else []
        await kopf.operator(
            registry=self._registry(),
            settings=kopf_settings(),
            clusterwide=not namespaces,
            namespaces=namespaces,
            ready_flag=ready,
            stop_flag=stop,
            # kopf would otherwise ask who the user is, and a pod's user has no name.
            identity=kopf_identity(self._loop.settings.identity),
        )

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry)(log_in)
        for kind in watched(self._namespace):
            kopf.on.event(kind.group, kind.version, kind.plural, registry=registry)(self._handler(kind))
        return registry

    def _handler(self, kind: Kind) -> Callable[..., Any]:
        async def on_event(event: Json, **_: Any) -> None:
            self.take(kind, event["type"], dict(event["object"]))

        return on_event

    def take(self, kind: Kind, type_: str | None, resource: Json) -> None:
        """One event: the cache and the queue, no work."""
        resource.setdefault("apiVersion", kind.api_version)
        resource.setdefault("kind", kind.kind)
        if type_ == "DELETED":
            if self._lost is not None:
                self._lost.add(_uid(resource))
            self._loop.lose(kind, resource)
            return
        self._loop.absorb(kind, resource)
        if type_ is None and time.monotonic() - self._started_at > SETTLING_SECONDS:
            self._relisted.set()


def kopf_identity(name: str) -> Any:
    """kopf's type for it is its own; peering, which it is for, is off."""
    return name


def log_in(**kwargs: Any) -> kopf.ConnectionInfo | None:
    """The pod's service account, else the kubeconfig: the same as ours."""
    return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)


def _uid(resource: Json) -> str:
    return str(resource["metadata"].get("uid"))
