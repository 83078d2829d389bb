"""A first status waits while Jobs are being made by the dozen, and never for long."""

from __future__ import annotations

from smalt.engine.burst import BURST, MOST_SECONDS, Burst


def made(burst: Burst, count: int, since: float, every: float) -> float:
    """The time after so many Jobs."""
    for number in range(count):
        burst.made(since + number * every)
    return since + (count - 1) * every


def test_a_few_jobs_are_no_burst() -> None:
    burst = Burst()
    now = made(burst, BURST - 1, 100.0, 0.01)
    assert burst.wait("run", now) == 0.0


def test_jobs_one_after_the_other_are_no_burst_however_many() -> None:
    burst = Burst()
    now = made(burst, 10 * BURST, 100.0, 0.1)
    assert burst.wait("run", now) == 0.0


def test_a_burst_makes_a_status_wait_until_it_is_over() -> None:
    burst = Burst()
    now = made(burst, BURST, 100.0, 0.01)
    assert burst.wait("run", now) > 0.0
    assert burst.wait("run", now + 1.1) == 0.0


def test_a_burst_without_end_keeps_nobody_waiting_for_more_than_half_a_minute() -> None:
    burst = Burst()
    now = made(burst, 10 * BURST, 100.0, 0.01)
    assert burst.wait("run", now) > 0.0
    later = made(burst, 2900, now, 0.01)
    assert later - now < MOST_SECONDS
    assert 0.0 < burst.wait("run", later) <= now + MOST_SECONDS - later
    later = made(burst, 200, later, 0.01)
    assert burst.wait("run", later) == 0.0
    assert burst.wait("one that comes later", later) > 0.0
    burst.forget("run")
    assert burst.wait("run", later) > 0.0
