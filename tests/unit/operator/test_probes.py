"""The probes tell a stuck loop and an empty cache, and are answered beside the loop; no network but loopback."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator

import pytest

from smalt.metrics import Metrics
from smalt.probes import STUCK_SECONDS, Health, ProbeServer


class Clock:
    """Time that a test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    return Health(clock)


@pytest.mark.parametrize(
    ("silent", "is_primed", "live", "ready"),
    [
        (0.0, False, True, False),
        (0.0, True, True, True),
        (STUCK_SECONDS, True, True, True),
        (STUCK_SECONDS + 1, True, False, False),
        (STUCK_SECONDS + 1, False, False, False),
    ],
)
def test_alive_is_a_loop_that_turns_and_ready_a_cache_that_is_full(
    clock: Clock, health: Health, silent: float, is_primed: bool, live: bool, ready: bool
) -> None:
    clock.now += silent
    health.is_primed = is_primed
    assert (health.live()[0], health.ready()[0]) == (live, ready)


def test_a_beat_ends_the_silence(clock: Clock, health: Health) -> None:
    clock.now += STUCK_SECONDS + 12
    assert health.live() == (False, "the event loop has been stuck for 42 s")
    health.beat()
    assert health.live() == (True, "alive")


@pytest.fixture
def server(health: Health) -> Iterator[ProbeServer]:
    made = ProbeServer(0, health, Metrics().registry)
    made.start()
    yield made
    made.stop()


def answer(server: ProbeServer, path: str) -> tuple[int, str, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    try:
        connection.request("GET", path)
        found = connection.getresponse()
        return found.status, found.getheader("Content-Type", ""), found.read().decode()
    finally:
        connection.close()


def test_each_path_answers_with_its_verdict_in_words(clock: Clock, health: Health, server: ProbeServer) -> None:
    assert answer(server, "/healthz")[::2] == (200, "alive\n")
    assert answer(server, "/readyz?verbose")[::2] == (503, "the cache is not primed yet\n")
    health.is_primed = True
    assert answer(server, "/readyz")[::2] == (200, "ready\n")
    clock.now += STUCK_SECONDS + 1
    assert answer(server, "/healthz")[0] == answer(server, "/readyz")[0] == 503


def test_metrics_are_text_that_prometheus_reads(server: ProbeServer) -> None:
    status, content_type, text = answer(server, "/metrics")
    assert (status, content_type.partition(";")[0]) == (200, "text/plain")
    assert "# TYPE controller_runtime_reconcile_total counter" in text


def test_another_path_is_told_what_there_is(server: ProbeServer) -> None:
    status, _, words = answer(server, "/")
    assert status == 404 and all(path in words for path in ("/healthz", "/readyz", "/metrics"))


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_it_answers_on_addresses_of_both_kinds(server: ProbeServer, address: str) -> None:
    if ":" in address and not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    connection = http.client.HTTPConnection(address, server.port, timeout=5)
    connection.request("GET", "/healthz")
    assert connection.getresponse().status == 200
    connection.close()
