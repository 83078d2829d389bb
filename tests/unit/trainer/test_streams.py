"""What a script prints is read to its end, whatever happens to those who look at it."""

from __future__ import annotations

import os
from pathlib import Path

from smalt_trainer.streams import Stream


def test_a_line_that_cannot_be_looked_at_does_not_stop_the_reading(tmp_path: Path) -> None:
    ours, scripts = os.pipe()
    seen: list[bytes] = []

    def look(line: bytes) -> None:
        seen.append(line)
        raise RecursionError("too deep")

    nowhere = os.open(os.devnull, os.O_WRONLY)
    with os.fdopen(ours, "rb") as source:
        stream = Stream(source, nowhere, tmp_path / "stdout.txt", look)
        written = [b"first\n", b"x" * 200_000 + b"\n", b"last"]
        for piece in written:
            _write_all(scripts, piece)
        os.close(scripts)
        stream.finish(20)
    os.close(nowhere)
    assert (tmp_path / "stdout.txt").read_bytes() == b"".join(written)
    assert (seen[0], seen[-1]) == (b"first", b"last")
    assert stream.problems == ["the metrics: RecursionError: too deep"]


def _write_all(target: int, content: bytes) -> None:
    while content:
        content = content[os.write(target, content) :]
