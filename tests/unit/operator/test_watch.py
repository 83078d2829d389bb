"""Events go into the cache and the queue and nowhere else; lists forget what is gone; kopf writes nothing."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import kopf
import pytest

from smalt import watch as module
from smalt.api.kinds import CHILDREN, GROUP, JOB, MANAGED_SELECTOR, NODE, OURS, TRAINING_RUN, WATCHED, Kind
from smalt.api.references import address
from smalt.engine.loop import Loop
from smalt.errors import NotFound, Unavailable, WatchLost
from smalt.metrics import Metrics
from smalt.settings import Settings
from smalt.watch import Backoffs, NoDiffBase, Watch, kopf_settings
from support.memory_api import MemoryApi
from support.resources import NAMESPACE, job, run

Json = dict[str, Any]


class Lists:
    """The part of a cluster that a watch asks: lists in pages, and which CRDs there are."""

    def __init__(self) -> None:
        self.objects: dict[Kind, list[Json]] = {}
        self.taken_at = "100"
        self.asked: list[tuple[Kind, str, str]] = []
        self.answers: list[Any] = []

    async def pages(self, kind: Kind, namespace: str, selector: str = "") -> AsyncIterator[Json]:
        self.asked.append((kind, namespace, selector))
        found = self.objects.get(kind, [])
        for number in range(max(1, len(found))):
            # Later pages carry a later version, which says nothing about the list's own.
            yield {"metadata": {"resourceVersion": str(int(self.taken_at) + number)}, "items": found[number:][:1]}

    async def request(self, method: str, path: str) -> Json:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return {"resources": [{"name": name} for name in answer]}


@pytest.fixture
def cluster() -> Lists:
    return Lists()


@pytest.fixture
async def loop() -> Loop:
    made = Loop(MemoryApi(), Settings(namespace=NAMESPACE), Metrics())
    made.is_leading = True
    return made


@pytest.fixture
async def watch(cluster: Lists, loop: Loop) -> Watch:
    return Watch(cluster, loop)  # type: ignore[arg-type]


def versioned(it: Json, version: str) -> Json:
    return it | {"metadata": it["metadata"] | {"resourceVersion": version}}


def bare(it: Json) -> Json:
    """As an item of a list, which does not repeat its type."""
    return {key: value for key, value in it.items() if key not in ("apiVersion", "kind")}


@pytest.mark.parametrize("type_", ["ADDED", "MODIFIED", None])
async def test_an_event_fills_the_cache_and_queues_whom_it_concerns(
    watch: Watch, loop: Loop, type_: str | None
) -> None:
    watch.take(TRAINING_RUN, type_, bare(run()))
    found = loop.store.get(TRAINING_RUN, NAMESPACE, "first")
    assert found is not None and (found["apiVersion"], found["kind"]) == (TRAINING_RUN.api_version, "TrainingRun")
    assert await loop.queue.get() == address(TRAINING_RUN, run())


async def test_a_deletion_empties_it_and_of_something_unknown_does_nothing(watch: Watch, loop: Loop) -> None:
    watch.take(TRAINING_RUN, "ADDED", run())
    watch.take(TRAINING_RUN, "DELETED", run())
    watch.take(TRAINING_RUN, "DELETED", run("never-seen"))
    assert loop.store.all(TRAINING_RUN) == []


async def test_a_relist_of_kopfs_asks_for_an_audit_and_an_event_does_not(
    watch: Watch, cluster: Lists, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CALM_SECONDS", 0.0)
    watch._started_at = float("-inf")
    auditing = asyncio.create_task(watch.audit())
    watch.take(TRAINING_RUN, "ADDED", run())
    await asyncio.sleep(0.02)
    assert cluster.asked == []
    watch.take(TRAINING_RUN, None, run("second"))
    await asyncio.sleep(0.02)
    assert [kind for kind, *_ in cluster.asked] == list(WATCHED)
    auditing.cancel()


async def audits(watch: Watch, cluster: Lists, seconds: float = 0.1) -> int:
    """How many lists of everything there are in so long."""
    auditing = asyncio.create_task(watch.audit())
    await asyncio.sleep(seconds)
    auditing.cancel()
    return len(cluster.asked) // len(WATCHED)


async def test_one_audit_follows_the_start_for_what_was_deleted_between_our_lists_and_kopfs(
    watch: Watch, cluster: Lists, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SETTLING_SECONDS", 0.001)
    assert await audits(watch, cluster) == 1


async def test_an_audit_that_could_not_be_finished_comes_again_soon(
    watch: Watch, cluster: Lists, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SETTLING_SECONDS", 0.001)
    monkeypatch.setattr(module, "AGAIN_SECONDS", 0.001)
    failures = iter([Unavailable("down", 503), Unavailable("down", 503)])
    prime = watch.prime

    async def failing() -> None:
        for failure in failures:
            raise failure
        await prime()

    monkeypatch.setattr(watch, "prime", failing)
    assert await audits(watch, cluster) == 1


async def test_what_is_deleted_while_a_list_is_read_does_not_come_back_with_a_later_page(
    watch: Watch, cluster: Lists, loop: Loop
) -> None:
    cluster.objects[TRAINING_RUN] = [versioned(run(name), "50") for name in ("first", "second")]
    pages = cluster.pages

    async def meanwhile(kind: Kind, *asked: str) -> AsyncIterator[Json]:
        async for page in pages(kind, *asked):
            yield page
            if kind is TRAINING_RUN:
                watch.take(TRAINING_RUN, "DELETED", versioned(run("second"), "60"))

    cluster.pages = meanwhile  # type: ignore[assignment, method-assign]
    await watch.prime()
    assert [each["metadata"]["name"] for each in loop.store.all(TRAINING_RUN)] == ["first"]
    watch.take(TRAINING_RUN, "ADDED", versioned(run("second"), "70"))
    assert len(loop.store.all(TRAINING_RUN)) == 2, "a new one of that name is another object"


async def test_of_two_who_list_at_once_one_waits_for_the_other(watch: Watch, cluster: Lists) -> None:
    pages = cluster.pages

    async def slowly(*asked: str) -> AsyncIterator[Json]:
        async for page in pages(*asked):  # type: ignore[arg-type]
            await asyncio.sleep(0)
            yield page

    cluster.pages = slowly  # type: ignore[assignment, method-assign]
    await asyncio.gather(watch.prime(), watch.prime())
    assert [kind for kind, *_ in cluster.asked] == [*WATCHED, *WATCHED]


async def test_children_are_listed_by_their_label_and_ours_without_one(watch: Watch, cluster: Lists) -> None:
    await watch.prime()
    assert {kind: selector for kind, _, selector in cluster.asked} == {
        **dict.fromkeys(OURS, ""),
        **dict.fromkeys(CHILDREN, MANAGED_SELECTOR),
    }
    assert {namespace for _, namespace, _ in cluster.asked} == {NAMESPACE}


async def test_a_list_forgets_what_is_gone_and_keeps_what_came_after_it(
    watch: Watch, cluster: Lists, loop: Loop
) -> None:
    for name, version in (("stays", "50"), ("gone", "99"), ("came-later", "101")):
        loop.absorb(TRAINING_RUN, versioned(run(name), version))
    cluster.objects[TRAINING_RUN] = [versioned(run("stays"), "50"), versioned(run("new"), "60")]
    await watch.prime()
    assert {each["metadata"]["name"] for each in loop.store.all(TRAINING_RUN)} == {"stays", "new", "came-later"}


async def test_an_object_of_another_uid_is_gone_even_when_its_name_is_not(
    watch: Watch, cluster: Lists, loop: Loop
) -> None:
    before = job(run())
    loop.absorb(JOB, before)
    after = versioned(before, "90")
    after["metadata"]["uid"] = "another"
    cluster.objects[JOB] = [after]
    await watch.prime()
    (found,) = loop.store.all(JOB)
    assert found["metadata"]["uid"] == "another"


async def test_it_waits_until_every_crd_is_there_and_the_api_server_answers(
    watch: Watch, cluster: Lists, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.001)
    plurals = [kind.plural for kind in OURS]
    cluster.answers = [Unavailable("down", 503), NotFound("no group", 404), plurals[1:], plurals]
    await asyncio.wait_for(watch.wait_for_api(), 1)
    assert cluster.answers == []
    assert f"waiting for CRDs {plurals[0]}: apply them" in caplog.text


async def test_a_watch_that_has_died_is_told_and_another_tasks_trouble_is_not(watch: Watch) -> None:
    running = asyncio.get_running_loop()
    running.set_exception_handler(lambda *_: None)
    staying = asyncio.create_task(watch.stay())
    watch._on_loop_error(running, {"message": "x", "exception": ValueError("somebody else's")})
    await asyncio.sleep(0)
    assert not staying.done()
    watch._on_loop_error(running, {"message": "x", "exception": kopf.PermanentError("410 Gone")})
    with pytest.raises(WatchLost, match="410 Gone"):
        await asyncio.wait_for(staying, 1)


def test_kopf_posts_nothing_stores_nothing_and_watches_children_by_label() -> None:
    settings = kopf_settings()
    assert (settings.posting.enabled, settings.peering.standalone) == (False, True)
    patch = kopf.Patch()
    body = kopf.Body(run())
    storage = settings.persistence.diffbase_storage
    assert isinstance(storage, NoDiffBase)
    storage.store(body=body, patch=patch, essence=storage.build(body=body))
    assert dict(patch) == {} and storage.fetch(body=body) is None
    selectors = settings.watching.label_selectors
    assert {selectors[kind.group, kind.version, kind.plural] for kind in CHILDREN} == {MANAGED_SELECTOR}
    assert GROUP not in {each.group for each in selectors}


def test_attempts_never_end_and_never_wait_for_long() -> None:
    waits = list(itertools.islice(Backoffs(), 200))
    assert waits[0] < 1 and min(waits[4:]) >= 6 and max(waits) <= 10
    assert len(set(waits)) > 100, "replicas do not knock in step"


async def test_nodes_are_listed_and_watched_only_where_all_namespaces_are_served(cluster: Lists) -> None:
    for namespace, expected in (("", 1), (NAMESPACE, 0)):
        made = Watch(cluster, Loop(MemoryApi(), Settings(namespace=namespace), Metrics()))  # type: ignore[arg-type]
        cluster.asked.clear()
        await made.prime()
        assert [kind for kind, *_ in cluster.asked].count(NODE) == expected
        handlers = made._registry()._watching.get_all_handlers()
        assert sum("nodes" in repr(each.selector) for each in handlers) == expected
