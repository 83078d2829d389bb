"""A kill for memory is told apart from any other, by either version of control groups."""

from __future__ import annotations

from pathlib import Path

import pytest

from smalt_trainer.memory import MemoryWatch, memory_limit, size_text

FILES = {1: ("memory/memory.oom_control", "memory/memory.limit_in_bytes"), 2: ("memory.events", "memory.max")}
TEXTS = {1: "oom_kill_disable 0\nunder_oom 0\noom_kill {}\n", 2: "low 0\nmax 9\noom 1\noom_kill {}\noom_group_kill 0\n"}


def write(group: Path, version: int, kills: int, limit: str = "536870912") -> None:
    events, ceiling = (group / name for name in FILES[version])
    events.parent.mkdir(parents=True, exist_ok=True)
    events.write_text(TEXTS[version].format(kills))
    ceiling.write_text(limit + "\n")


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(("before", "after", "killed"), [(0, 0, False), (0, 1, True), (3, 3, False), (3, 4, True)])
def test_only_kills_since_the_start_count(tmp_path: Path, version: int, before: int, after: int, killed: bool) -> None:
    write(tmp_path, version, before)
    watch = MemoryWatch.start(tmp_path)
    write(tmp_path, version, after)
    # A worker may have been killed while the script itself ended with another code, and 137 may come from elsewhere.
    assert [watch.killed(code) for code in (137, 1)] == [killed, killed]
    assert memory_limit(tmp_path) == 512 << 20


def test_without_a_readable_count_the_exit_code_decides(tmp_path: Path) -> None:
    watch = MemoryWatch.start(tmp_path)
    assert (watch.killed(137), watch.killed(1)) == (True, False)
    assert memory_limit(tmp_path) is None


@pytest.mark.parametrize(("version", "limit"), [(1, "9223372036854771712"), (2, "max")])
def test_no_limit_is_no_number(tmp_path: Path, version: int, limit: str) -> None:
    write(tmp_path, version, 0, limit)
    assert memory_limit(tmp_path) is None


@pytest.mark.parametrize(
    ("size", "text"), [(2 << 30, "2Gi"), (512 << 20, "512Mi"), (1500 << 10, "1500Ki"), (1001, "1001")]
)
def test_sizes_are_written_as_kubernetes_does(size: int, text: str) -> None:
    assert size_text(size) == text
