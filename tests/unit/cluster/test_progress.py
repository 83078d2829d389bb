"""Long work says how far it is."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from cluster import progress


def test_a_long_count_says_now_and_then_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([0, 10, 31, 31])
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    done = progress.counter(5, "packages compiled")
    done()
    done()
    assert capsys.readouterr().out == "      2 of 5 packages compiled\n"
