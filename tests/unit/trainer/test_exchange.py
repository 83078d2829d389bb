"""What the containers tell each other: a lock that a kill releases, and files that are whole, plain and small."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from smalt_trainer import exchange
from support.run_pod import SOURCE, wait_until

HOLDS = "import sys, time; from pathlib import Path; from smalt_trainer.exchange import hold; hold(Path(sys.argv[1])); time.sleep(600)"


def test_a_lock_tells_whether_its_holder_has_come_lives_and_was_killed(tmp_path: Path) -> None:
    lock = tmp_path / "exchange/training.lock"
    assert exchange.is_held(lock) is None
    holder = subprocess.Popen([sys.executable, "-c", HOLDS, str(lock)], env={"PYTHONPATH": str(SOURCE)})
    try:
        wait_until(lambda: exchange.is_held(lock) is not None, "the holder's coming")
        assert exchange.is_held(lock) is True
    finally:
        holder.kill()
        holder.wait()
    assert exchange.is_held(lock) is False


def test_what_is_left_is_found_whole(tmp_path: Path) -> None:
    file = tmp_path / "exchange/facts.json"
    assert exchange.find(file) is None
    exchange.leave(file, {"digests": {"code": "ä\ud800"}})
    assert exchange.find(file) == {"digests": {"code": "ä\ud800"}}
    exchange.leave(file, {})
    assert exchange.find(file) == {}
    assert [path.name for path in file.parent.iterdir()] == ["facts.json"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"[" * 100_000, b"\xff", b'{"a": "' + b"x" * (5 << 20) + b'"}'])
def test_what_is_no_object_of_a_reasonable_size_is_as_if_it_were_not_there(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "facts.json").write_bytes(content)
    assert exchange.find(tmp_path / "facts.json") is None


def test_nothing_is_read_that_leads_elsewhere_or_makes_the_reader_wait(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("{}")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe", "."):
        assert exchange.open_plain(tmp_path / name) is None
        assert exchange.is_held(tmp_path / name) is None
