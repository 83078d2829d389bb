"""The queue never loses a key, never hands one out twice, and keeps the shortest delay."""

from __future__ import annotations

import asyncio

import pytest

from smalt.engine.queue import BASE_SECONDS, MOST_SECONDS, Queue


class Observer:
    """Takes no notes."""

    def added(self, depth: int) -> None: ...
    def taken(self, depth: int, waited_seconds: float) -> None: ...
    def retried(self) -> None: ...


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def queue(clock: Clock) -> Queue:
    return Queue(Observer(), clock)


async def test_a_key_asked_for_often_is_handed_out_once(queue: Queue) -> None:
    for _ in range(3):
        queue.add("a")
    assert await queue.get() == "a"
    assert len(queue) == 0


async def test_a_key_added_while_it_is_worked_on_comes_back_after(queue: Queue) -> None:
    queue.add("a")
    await queue.get()
    queue.add("a")
    assert len(queue) == 0, "one worker per key"
    queue.done("a")
    assert await queue.get() == "a"
    queue.done("a")
    assert len(queue) == 0


async def test_what_makes_work_exist_goes_first(queue: Queue) -> None:
    queue.add("report")
    queue.add("job", urgent=True)
    assert [await queue.get(), await queue.get()] == ["job", "report"]


async def test_of_several_delays_the_shortest_counts(queue: Queue, clock: Clock) -> None:
    queue.add_after("a", 60)
    queue.add_after("a", 5)
    queue.add_after("a", 30)
    clock.now += 5
    assert await asyncio.wait_for(queue.get(), 1) == "a"
    queue.done("a")
    clock.now += 100
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(queue.get(), 0.05)


async def came_after(queue: Queue, clock: Clock, seconds: float) -> bool:
    """Whether the key is there once so much time has gone by."""
    clock.now += seconds
    try:
        await asyncio.wait_for(queue.get(), 0.02)
    except TimeoutError:
        return False
    queue.done("a")
    return True


async def test_failures_in_a_row_wait_twice_as_long_each_time(queue: Queue, clock: Clock) -> None:
    for failures in range(4):
        queue.retry("a")
        wait = BASE_SECONDS * 2**failures
        assert not await came_after(queue, clock, wait * 0.9)
        assert await came_after(queue, clock, wait * 0.2)


async def test_the_wait_is_bounded_and_a_success_ends_the_row(queue: Queue, clock: Clock) -> None:
    for _ in range(30):
        queue.retry("a")
        assert await came_after(queue, clock, MOST_SECONDS)
    queue.forget("a")
    queue.retry("a")
    assert await came_after(queue, clock, BASE_SECONDS)


async def test_a_waiting_worker_is_woken(queue: Queue) -> None:
    worker = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add("a")
    assert await asyncio.wait_for(worker, 1) == "a"


async def test_each_key_wakes_one_of_those_who_wait_and_all_are_served() -> None:
    queue = Queue(Observer())
    waiting = [asyncio.create_task(queue.get()) for _ in range(8)]
    await asyncio.sleep(0)
    queue.add("a")
    await asyncio.sleep(0.01)
    assert [each.result() for each in waiting if each.done()] == ["a"]
    for name in "bcdefgh":
        queue.add(name)
    assert sorted(str(each) for each in await asyncio.gather(*waiting)) == list("abcdefgh")


async def test_a_key_whose_taker_is_cut_off_goes_to_another() -> None:
    queue = Queue(Observer())
    first, second = asyncio.create_task(queue.get()), asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add("a")
    first.cancel()
    assert await asyncio.wait_for(second, 5) == "a"


async def test_a_delay_that_is_shorter_than_the_one_waited_for_counts() -> None:
    queue = Queue(Observer())
    queue.add_after("late", 30)
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add_after("soon", 0.01)
    assert await asyncio.wait_for(waiting, 5) == "soon"
