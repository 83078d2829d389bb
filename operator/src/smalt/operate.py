"""The operator's process, from start to the end of its lease."""

from __future__ import annotations

import gc

# While there are only imports there is no garbage to find, and looking for it takes a sixth of their time.
gc.disable()

import asyncio
import logging
import signal
import sys

from pydantic import ValidationError

from smalt.cluster import Cluster
from smalt.engine.elector import Elector
from smalt.engine.loop import Loop
from smalt.errors import ApiError, LeaseLost, WatchLost
from smalt.live import Recorders
from smalt.metrics import Metrics
from smalt.probes import Health, ProbeServer
from smalt.settings import PREFIX, Settings
from smalt.watch import Watch

gc.freeze()
gc.enable()

log = logging.getLogger("smalt")
BEAT_SECONDS = 1.0
RETRY_SECONDS = 2.0
FRESH_SECONDS = 5.0


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        settings = Settings.from_environment()
    except ValidationError as error:
        for each in error.errors():
            name = PREFIX + str(each["loc"][0]).upper()
            print(f"{name} is {each['input']!r}: {each['msg']}", file=sys.stderr)
        return 2
    code = 0
    try:
        asyncio.run(operate(settings))
    except* LeaseLost as lost:
        log.error("%s: ending, so that the other replica works alone", lost.exceptions[0])
        code = 1
    except* WatchLost as lost:
        log.error("%s: ending, so that a new start watches again", lost.exceptions[0])
        code = 1
    return code


async def operate(settings: Settings) -> None:
    """Until a signal comes. LeaseLost when another replica leads."""
    health, metrics = Health(), Metrics()
    probes = ProbeServer(settings.metrics_port, health, metrics.registry)
    probes.start()
    log.info("probes and metrics on port %d", probes.port)
    cluster = await Cluster.connect(metrics)
    recorders = Recorders(metrics)
    beating = asyncio.create_task(_beat(health))
    try:
        await _serve(settings, health, metrics, cluster, recorders)
    finally:
        beating.cancel()
        await recorders.close()
        await cluster.close()
        probes.stop()


async def _beat(health: Health) -> None:
    while True:
        health.beat()
        await asyncio.sleep(BEAT_SECONDS)


async def _serve(settings: Settings, health: Health, metrics: Metrics, cluster: Cluster, recorders: Recorders) -> None:
    loop = Loop(cluster, settings, metrics, recorders=recorders)
    watch = Watch(cluster, loop)
    elector = Elector(cluster, settings.lease_namespace, settings.lease_name, settings.identity)
    metrics.leads(settings.lease_name, False)
    stop = asyncio.Event()
    _on_signals(stop)
    until_stopped = asyncio.create_task(stop.wait())
    steps = asyncio.create_task(_work(watch, loop, elector, health, metrics, settings, stop))
    try:
        await asyncio.wait({until_stopped, steps}, return_when=asyncio.FIRST_COMPLETED)
        if steps.done():
            steps.result()
    finally:
        until_stopped.cancel()
        # In this order: once the Lease is given back another replica may write.
        await loop.finish()
        await elector.release()
        stop.set()
        steps.cancel()
        await asyncio.gather(steps, return_exceptions=True)


def _on_signals(stop: asyncio.Event) -> None:
    running = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        running.add_signal_handler(each, stop.set)


async def _work(
    watch: Watch,
    loop: Loop,
    elector: Elector,
    health: Health,
    metrics: Metrics,
    settings: Settings,
    stop: asyncio.Event,
) -> None:
    await watch.wait_for_api()
    await _prime(watch)
    watching = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(watch.run(watching, asyncio.Event()))
        await watching.wait()
        # kopf has put its own handlers in place of ours; ours give the lease back.
        _on_signals(stop)
        health.is_primed = True
        group.create_task(watch.audit())
        group.create_task(watch.stay())
        await elector.acquire()
        group.create_task(elector.hold())
        if watch.seconds_since_primed() > FRESH_SECONDS:
            # Who has waited may have missed what the leader before wrote last, and would do it again.
            await _prime(watch)
        metrics.leads(settings.lease_name, True)
        # The cache stays, too: walking through all that is here for good would hold up everything, again and again.
        gc.freeze()
        loop.lead()
        group.create_task(loop.work())


async def _prime(watch: Watch) -> None:
    while True:
        try:
            await watch.prime()
            return
        except ApiError as error:
            log.warning("the cache cannot be filled yet: %s", error)
            await asyncio.sleep(RETRY_SECONDS)
