"""One leads, the other waits; a Lease that is given back or has run out is taken, one that is lost ends the leader."""

from __future__ import annotations

import asyncio

import pytest

from smalt.api.kinds import LEASE, Kind
from smalt.engine import elector
from smalt.engine.elector import LEASE_SECONDS, Elector
from smalt.errors import LeaseLost, Unavailable
from support.memory_api import Json, MemoryApi


class Clock:
    """Time that a test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elector, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr(elector, "RENEW_SECONDS", 0.001)
    monkeypatch.setattr(elector, "RETRY_SECONDS", 0.001)


def candidate(api: MemoryApi, name: str, clock: Clock) -> Elector:
    return Elector(api, "smalt-system", "smalt", name, clock)


def holder(api: MemoryApi) -> str:
    return str(api.objects[("Lease", "smalt-system", "smalt")]["spec"]["holderIdentity"])


async def waits(one: Elector) -> bool:
    try:
        await asyncio.wait_for(one.acquire(), 0.05)
    except TimeoutError:
        return True
    return False


async def test_the_first_leads_and_the_second_waits_until_the_lease_has_run_out() -> None:
    api, clock = MemoryApi(), Clock()
    await candidate(api, "a", clock).acquire()
    second = candidate(api, "b", clock)
    assert await waits(second)
    clock.now += LEASE_SECONDS + 1
    await asyncio.wait_for(second.acquire(), 1)
    assert holder(api) == "b"


async def test_a_lease_that_is_given_back_is_taken_at_once() -> None:
    api, clock = MemoryApi(), Clock()
    first = candidate(api, "a", clock)
    await first.acquire()
    await first.release()
    await asyncio.wait_for(candidate(api, "b", clock).acquire(), 1)
    assert holder(api) == "b"


async def test_a_leader_whose_lease_was_taken_ends() -> None:
    api, clock = MemoryApi(), Clock()
    first = candidate(api, "a", clock)
    await first.acquire()
    taken = api.objects[("Lease", "smalt-system", "smalt")]
    api.put(LEASE, taken | {"spec": taken["spec"] | {"holderIdentity": "b"}})
    with pytest.raises(LeaseLost):
        await asyncio.wait_for(first.hold(), 1)
    await first.release()
    assert holder(api) == "b", "what is another's is not given back"


async def test_a_leader_that_cannot_renew_in_time_ends_and_a_short_trouble_passes() -> None:
    api, clock = MemoryApi(), Clock()
    first = candidate(api, "a", clock)
    await first.acquire()
    api.is_down = True
    holding = asyncio.create_task(first.hold())
    await asyncio.sleep(0.02)
    assert not holding.done()
    clock.now += elector.GIVE_UP_SECONDS + 1
    with pytest.raises(LeaseLost):
        await asyncio.wait_for(holding, 1)


def spec_of(api: MemoryApi) -> dict[str, object]:
    return dict(api.objects[("Lease", "smalt-system", "smalt")]["spec"])


async def test_a_leader_renews_for_as_long_as_it_can_and_stays_the_same_leader() -> None:
    api, clock = MemoryApi(), Clock()
    first = candidate(api, "a", clock)
    await first.acquire()
    before = spec_of(api)
    holding = asyncio.create_task(first.hold())
    await asyncio.sleep(0.05)
    holding.cancel()
    after = spec_of(api)
    assert api.writes.count("PUT Lease/smalt") > 2
    assert str(after.pop("renewTime")) > str(before.pop("renewTime"))
    assert after == before and after["holderIdentity"] == "a"


async def test_a_standby_does_not_take_a_lease_that_is_renewed_while_it_looks() -> None:
    api, clock = MemoryApi(), Clock()
    first, second = candidate(api, "a", clock), candidate(api, "b", clock)
    await first.acquire()
    for _ in range(4):
        assert await waits(second)
        clock.now += LEASE_SECONDS - 1
        await first._write(first._renewed)
    assert holder(api) == "a"


async def test_of_two_that_see_it_free_one_leads() -> None:
    api, clock = MemoryApi(), Clock()
    candidates = [candidate(api, name, clock) for name in "ab"]
    seen = asyncio.Barrier(2)
    find = api.find

    async def both_at_once(*asked: object) -> object:
        found = await find(*asked)  # type: ignore[arg-type]
        if not seen.broken:
            await seen.wait()
        return found

    api.find = both_at_once  # type: ignore[assignment, method-assign]
    racing = [asyncio.create_task(each.acquire()) for each in candidates]
    done, pending = await asyncio.wait(racing, timeout=1, return_when=asyncio.FIRST_COMPLETED)
    await seen.abort()
    assert (len(done), len(pending)) == (1, 1)
    pending.pop().cancel()
    assert holder(api) == "ab"[racing.index(done.pop())]


async def test_every_new_leader_is_counted_and_an_api_server_that_is_down_only_delays() -> None:
    api, clock = MemoryApi(), Clock()
    api.is_down = True
    first, second = candidate(api, "a", clock), candidate(api, "b", clock)
    assert await waits(first)
    api.is_down = False
    await asyncio.wait_for(first.acquire(), 1)
    assert spec_of(api)["leaseTransitions"] == 0
    await first.release()
    await asyncio.wait_for(second.acquire(), 1)
    assert spec_of(api)["leaseTransitions"] == 1


class Losing(MemoryApi):
    """Writes and then does not answer, so often; or hangs."""

    def __init__(self, answers_lost: int = 0, hangs: bool = False) -> None:
        super().__init__()
        self.answers_lost, self.hangs = answers_lost, hangs

    async def create(self, kind: Kind, manifest: Json) -> Json:
        return self._lost(await super().create(kind, manifest))

    async def replace(self, kind: Kind, manifest: Json) -> Json:
        if self.hangs:
            await asyncio.sleep(3600)
        return self._lost(await super().replace(kind, manifest))

    def _lost(self, made: Json) -> Json:
        if self.answers_lost:
            self.answers_lost -= 1
            raise Unavailable("no answer", 0)
        return made


async def test_whose_answer_is_lost_still_leads_renews_and_gives_back() -> None:
    api = Losing(answers_lost=1)
    first = candidate(api, "a", Clock())
    await asyncio.wait_for(first.acquire(), 1)
    api.answers_lost = 1
    holding = asyncio.create_task(first.hold())
    await asyncio.sleep(0.05)
    assert not holding.done() and holder(api) == "a"
    api.answers_lost = 1
    await asyncio.sleep(0.02)
    holding.cancel()
    await first.release()
    assert holder(api) == ""


async def test_a_renewal_that_gets_no_answer_ends_the_leader_before_another_may_lead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(elector, "GIVE_UP_SECONDS", 0.1)
    api = Losing()
    first = candidate(api, "a", Clock())
    await first.acquire()
    api.hangs = True
    with pytest.raises(LeaseLost):
        await asyncio.wait_for(first.hold(), 1)


async def test_what_is_given_back_in_the_middle_of_a_renewal_is_free() -> None:
    api = MemoryApi()
    first = candidate(api, "a", Clock())
    await first.acquire()
    replace, gate = api.replace, asyncio.Event()

    async def slowly(kind: Kind, manifest: Json) -> Json:
        made = await replace(kind, manifest)
        await gate.wait()
        return made

    api.replace = slowly  # type: ignore[method-assign]
    holding = asyncio.create_task(first.hold())
    await asyncio.sleep(0.02)
    releasing = asyncio.create_task(first.release())
    await asyncio.sleep(0.02)
    gate.set()
    await asyncio.wait_for(asyncio.gather(holding, releasing), 1)
    assert holder(api) == ""


async def test_who_holds_nothing_gives_nothing_back() -> None:
    api = MemoryApi()
    await candidate(api, "a", Clock()).release()
    assert api.writes == []
