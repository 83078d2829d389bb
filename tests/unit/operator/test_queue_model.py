"""Whatever is done to the queue in whatever order: no key is lost, none is handed out twice, none waits beyond its time."""

from __future__ import annotations

import asyncio

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from smalt.engine.queue import BASE_SECONDS, MOST_SECONDS, Queue

KEYS = st.sampled_from("abcd")
DELAYS = st.floats(0.01, 100.0)


class Observer:
    """Counts what metrics are told."""

    depth = 0
    retries = 0

    def added(self, depth: int) -> None:
        self.depth = depth

    def taken(self, depth: int, waited_seconds: float) -> None:
        assert waited_seconds >= 0
        self.depth = depth

    def retried(self) -> None:
        self.retries += 1


class QueueAndItsModel(RuleBasedStateMachine):
    """The queue beside three collections that say what it must hold."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.now = 1000.0
        self.observer = Observer()
        self.queue = self.runner.run(self.made())
        self.wanted: set[str] = set()
        self.working: set[str] = set()
        self.due: dict[str, float] = {}
        self.failures: dict[str, int] = {}

    async def made(self) -> Queue:
        return Queue(self.observer, lambda: self.now)

    def teardown(self) -> None:
        self.runner.close()

    def promote(self) -> None:
        self.queue._promote()
        for key in [key for key, due in self.due.items() if due <= self.now]:
            del self.due[key]
            self.wanted.add(key)

    @rule(key=KEYS, urgent=st.booleans())
    def add(self, key: str, urgent: bool) -> None:
        self.queue.add(key, urgent=urgent)
        self.wanted.add(key)

    @rule(key=KEYS, seconds=DELAYS)
    def add_after(self, key: str, seconds: float) -> None:
        self.queue.add_after(key, seconds)
        self.due[key] = min(self.due.get(key, float("inf")), self.now + seconds)

    @rule(key=KEYS)
    def retry(self, key: str) -> None:
        failures = self.failures.get(key, 0)
        self.failures[key] = failures + 1
        self.queue.retry(key)
        due = self.now + min(MOST_SECONDS, BASE_SECONDS * 2**failures)
        self.due[key] = min(self.due.get(key, float("inf")), due)

    @rule(key=KEYS)
    def forget(self, key: str) -> None:
        self.queue.forget(key)
        self.failures.pop(key, None)

    @rule(seconds=DELAYS)
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def get(self) -> None:
        self.promote()
        free = self.wanted - self.working
        if free:
            key = self.runner.run(asyncio.wait_for(self.queue.get(), 1))
            assert key in free
            self.wanted.discard(str(key))
            self.working.add(str(key))

    @precondition(lambda self: self.working)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.working)))
        self.queue.done(key)
        self.working.discard(key)

    @invariant()
    def it_tells_what_it_holds(self) -> None:
        assert self.observer.depth == len(self.queue) == len(self.wanted - self.working)
        assert len(self.queue.working()) == len(self.working)


TestQueueAndItsModel = QueueAndItsModel.TestCase
TestQueueAndItsModel.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


async def test_a_key_that_is_back_for_another_reason_is_no_longer_urgent_than_that() -> None:
    queue = Queue(Observer(), lambda: 0.0)
    queue.add("job", urgent=True)
    assert await queue.get() == "job"
    queue.done("job")
    queue.add("report")
    queue.add("job")
    assert [await queue.get(), await queue.get()] == ["report", "job"]
