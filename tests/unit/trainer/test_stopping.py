"""Trying again while the server is away: until a deadline, and for less time once the pod is to end."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from smalt_trainer.failures import RunFailed
from smalt_trainer.refusals import Refused, Unreachable
from smalt_trainer.stopping import Stopping, until_answered


@pytest.fixture
def stopping() -> Iterator[Stopping]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)}
    listening = Stopping()
    listening.listen()
    yield listening
    for number, handler in before.items():
        signal.signal(number, handler)


class Server:
    """Answers after so many tries."""

    def __init__(self, failures: int, error: Exception | None = None) -> None:
        self.failures, self.tries, self.error = failures, 0, error or Unreachable("no answer")

    def __call__(self) -> None:
        self.tries += 1
        if self.tries <= self.failures:
            raise self.error


def test_it_tries_until_the_server_answers(stopping: Stopping) -> None:
    server = Server(4)
    until_answered(server, time.monotonic() + 10, stopping, print, pause=0.001)
    assert server.tries == 5


def test_at_the_deadline_it_gives_up_with_the_servers_own_words(stopping: Stopping) -> None:
    with pytest.raises(Unreachable, match="no answer"):
        until_answered(Server(10**6), time.monotonic() + 0.05, stopping, print, pause=0.001)


def test_a_refusal_is_not_tried_again(stopping: Stopping) -> None:
    server = Server(1, Refused("no", "INVALID_PARAMETER_VALUE"))
    with pytest.raises(Refused):
        until_answered(server, time.monotonic() + 10, stopping, print)
    assert server.tries == 1


def test_a_signal_shortens_the_deadline(stopping: Stopping) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    start = time.monotonic()
    with pytest.raises(Unreachable):
        until_answered(Server(10**6), start + 600, stopping, print, pause=0.001, grace=0.05)
    assert time.monotonic() - start < 5


def test_a_signal_breaks_off_what_hangs(stopping: Stopping) -> None:
    """As an upload to a server that takes the bytes and says nothing."""
    ours, _theirs = socket.socketpair()
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
    start = time.monotonic()
    with ours, pytest.raises(Unreachable, match="broken off"):
        until_answered(lambda: print(ours.recv(1)), start + 600, stopping, print, grace=0.2)
    assert time.monotonic() - start < 5
    # What comes after it has a time of its own, and nothing is broken off once that is over.
    until_answered(lambda: time.sleep(0.3), start + 600, stopping, print, grace=60)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_what_begins_after_the_signal_has_the_rest_of_the_time(stopping: Stopping) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    ours, _theirs = socket.socketpair()
    start = time.monotonic()
    with ours, pytest.raises(Unreachable, match="broken off"):
        until_answered(lambda: print(ours.recv(1)), start + 600, stopping, print, grace=0.2)
    assert time.monotonic() - start < 5


def test_a_signal_ends_a_wait_at_once_and_the_preparation_with_a_reason(stopping: Stopping) -> None:
    stopping.preparing = True
    with pytest.raises(RunFailed) as failed:
        os.kill(os.getpid(), signal.SIGTERM)
    assert failed.value.reason == "Terminated"
    assert "before the script started" in failed.value.message
    start = time.monotonic()
    assert stopping.wait(60) is True
    assert time.monotonic() - start < 5
