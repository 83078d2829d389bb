"""Children are made once, put back when changed, left alone otherwise, and never taken from somebody else."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from smalt.api.kinds import JOB, MODEL, SECRET, SERVICE, TRAINING_RUN, WATCHED, Kind
from smalt.api.references import Address
from smalt.engine.applier import Applier
from smalt.engine.store import Store
from smalt.errors import Conflict, NameTaken, NotYetGone
from smalt.reconcilers.plan import Child
from smalt.reconcilers.world import Read
from support.memory_api import MemoryApi
from support.resources import NAMESPACE, owned_by, resource, run

Json = dict[str, Any]
OWNER = run()
LABELS = {TRAINING_RUN.label: "first", "app.kubernetes.io/managed-by": "smalt"}


def manifest(kind: Kind, **rest: Any) -> Json:
    metadata = {"name": "child", "namespace": NAMESPACE, "labels": dict(LABELS)}
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, **rest}


PORTS = {"ports": [{"name": "http", "port": 80, "targetPort": 8080}]}
SERVICE_CHILD = Child(manifest(SERVICE, spec=PORTS))
JOB_CHILD = Child(manifest(JOB, spec={}), once=True)


class Bench:
    """An applier between a cache and an API server, with the watch played by hand."""

    def __init__(self) -> None:
        self.api, self.store = MemoryApi(), Store()
        self.applier = Applier(self.api, self.store, self.absorb)

    def absorb(self, kind: Kind, found: Json, maker: Address | None = None) -> None:
        if kind in WATCHED:
            self.store.upsert(kind, found)

    async def ensure(self, child: Child, **live: Any) -> bool:
        return await self.applier.ensure(OWNER, child, live.get("live", {}))

    def somebody_edits(self, kind: Kind, change: Json) -> None:
        found = copy.deepcopy(next(each for key, each in self.api.objects.items() if key[0] == kind.kind))
        found["spec"] = found["spec"] | change.get("spec", {})
        found["metadata"]["labels"] |= change.get("labels", {})
        self.store.upsert(kind, self.api.put(kind, found))


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_a_child_is_made_with_its_owner_and_then_left_alone(bench: Bench) -> None:
    assert await bench.ensure(SERVICE_CHILD) is True
    assert await bench.ensure(SERVICE_CHILD) is False
    assert bench.api.writes == ["APPLY Service/child"]
    made = bench.store.get(SERVICE, NAMESPACE, "child")
    assert made is not None and made["metadata"]["ownerReferences"][0]["uid"] == OWNER["metadata"]["uid"]


async def test_a_changed_field_is_put_back(bench: Bench) -> None:
    await bench.ensure(SERVICE_CHILD)
    bench.somebody_edits(SERVICE, {"spec": {"ports": [{"name": "http", "port": 80, "targetPort": 9}]}})
    await bench.ensure(SERVICE_CHILD)
    found = bench.store.get(SERVICE, NAMESPACE, "child")
    assert found is not None and found["spec"]["ports"][0]["targetPort"] == 8080


async def test_what_others_add_stays_and_costs_no_write(bench: Bench) -> None:
    await bench.ensure(SERVICE_CHILD)
    bench.somebody_edits(SERVICE, {"spec": {"clusterIP": "10.0.0.1"}, "labels": {"team": "retention"}})
    await bench.ensure(SERVICE_CHILD)
    assert bench.api.writes == ["APPLY Service/child"]


async def test_a_field_that_is_no_longer_wanted_is_applied_away(bench: Bench) -> None:
    wide = Child(manifest(SERVICE, spec=PORTS | {"sessionAffinity": "ClientIP"}))
    await bench.ensure(wide)
    await bench.ensure(SERVICE_CHILD)
    assert len(bench.api.writes) == 2, "all wanted fields stand there, and yet there is something to remove"


async def test_after_a_restart_what_holds_all_is_left_alone(bench: Bench) -> None:
    await bench.ensure(SERVICE_CHILD)
    bench.applier = Applier(bench.api, bench.store, bench.absorb)
    await bench.ensure(SERVICE_CHILD)
    assert len(bench.api.writes) == 1


async def test_a_job_is_posted_once_and_never_again(bench: Bench) -> None:
    assert await bench.ensure(JOB_CHILD) is True
    assert await bench.ensure(JOB_CHILD) is False
    assert bench.api.writes == ["POST Job/child"]


async def test_our_own_job_that_the_cache_does_not_know_is_found(bench: Bench) -> None:
    bench.api.put(JOB, resource(JOB, "child", {}, **owned_by(OWNER)))
    assert await bench.ensure(JOB_CHILD) is False
    assert bench.store.get(JOB, NAMESPACE, "child") is not None


STRANGER = owned_by(resource(TRAINING_RUN, "other"))
GHOST = {"ownerReferences": [owned_by(OWNER)["ownerReferences"][0] | {"uid": "an-earlier-life"}]}


@pytest.mark.parametrize("child", [SERVICE_CHILD, JOB_CHILD], ids=["applied", "posted"])
@pytest.mark.parametrize(("metadata", "error"), [(STRANGER, NameTaken), ({}, NameTaken), (GHOST, NotYetGone)])
async def test_somebody_elses_object_is_never_touched(
    bench: Bench, child: Child, metadata: Json, error: type[Exception]
) -> None:
    kind = SERVICE if child is SERVICE_CHILD else JOB
    bench.api.put(kind, resource(kind, "child", {}, **metadata))
    before = copy.deepcopy(bench.api.objects)
    with pytest.raises(error, match="child"):
        await bench.ensure(child)
    assert bench.api.objects == before


async def test_a_child_that_is_being_deleted_is_waited_for(bench: Bench) -> None:
    leaving = resource(SERVICE, "child", {}, deletionTimestamp="2026-01-01T00:00:00Z", **owned_by(OWNER))
    bench.store.upsert(SERVICE, leaving)
    with pytest.raises(NotYetGone):
        await bench.ensure(SERVICE_CHILD)


async def test_an_orphaned_child_with_our_labels_is_taken_over(bench: Bench) -> None:
    bench.store.upsert(SERVICE, bench.api.put(SERVICE, resource(SERVICE, "child", {}, labels=dict(LABELS))))
    await bench.ensure(SERVICE_CHILD)
    found = bench.store.get(SERVICE, NAMESPACE, "child")
    assert found is not None and found["metadata"]["ownerReferences"]


@pytest.mark.parametrize("kind", [JOB, SECRET], ids=lambda kind: kind.kind)
async def test_an_orphan_that_is_made_once_would_stay_one_and_is_told(bench: Bench, kind: Kind) -> None:
    orphan = resource(kind, "child", {}, labels=dict(LABELS))
    bench.api.put(kind, orphan)
    with pytest.raises(NameTaken, match="child"):
        await bench.ensure(Child(manifest(kind), once=True))


async def test_another_runs_model_of_the_same_version_is_a_race_and_no_clash(bench: Bench) -> None:
    bench.api.put(MODEL, resource(MODEL, "child", {}, labels={"smalt.dev/run-uid": "another"}))
    with pytest.raises(Conflict):
        await bench.ensure(Child(manifest(MODEL, spec={}), once=True, owned=False))


async def test_a_secret_gets_random_values_that_are_never_the_same(bench: Bench) -> None:
    child = Child(manifest(SECRET, type="Opaque"), once=True, random=("primaryKey", "secondaryKey"))
    assert await bench.ensure(child) is True
    made = bench.api.objects[("Secret", NAMESPACE, "child")]
    assert await bench.ensure(child, live={Read(SECRET, NAMESPACE, "child"): made}) is False
    values = set(made["stringData"].values())
    assert len(values) == 2 and all(len(value) == 64 for value in values)
