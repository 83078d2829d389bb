"""What a container tells of itself while it prepares."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request

import pytest

from smalt_trainer.announcing import Announcing


def ask(port: int, path: str = "/status.json") -> object:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as response:
        return json.loads(response.read())


def test_the_last_line_is_told_as_a_phase_and_a_sentence() -> None:
    with Announcing.on(0) as announcing:
        assert announcing.port
        announcing.say("Downloading torch (800.0MiB)")
        announcing.say("")
        told = ask(announcing.port)
        with pytest.raises(urllib.error.HTTPError):
            ask(announcing.port, "/etc/passwd")
    assert told == {"phase": "Preparing", "message": "the environment is being made: Downloading torch (800.0MiB)"}


def test_a_port_that_is_taken_is_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("", 0)) as taken, Announcing.on(taken.getsockname()[1]) as announcing:
        announcing.say("x")
        assert announcing.port is None
    assert "nobody can ask" in capsys.readouterr().err
