"""What the recorder shows of a running run is what the operator understands, at the port where it asks."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from smalt.api.training_run import MOST_METRICS
from smalt.builders.training_job import PAGE_PORT, SCRAPING
from smalt.live import MOST_BYTES, STATUS_PATH, understood
from smalt_trainer import page
from smalt_trainer.board import FINALIZING, PREPARING, RUNNING, Board


def shown(board: Board, path: str = STATUS_PATH) -> bytes:
    found = page.Page(board, {}, print).answer(path)
    assert found is not None
    return found[1]


def test_it_is_asked_where_it_listens() -> None:
    assert page.PORT == PAGE_PORT == int(SCRAPING["prometheus.io/port"])
    assert b"smalt_run_points_total" in shown(Board(), SCRAPING["prometheus.io/path"])


@pytest.mark.parametrize("phase", [PREPARING, RUNNING, FINALIZING])
def test_every_phase_is_understood(phase: str) -> None:
    board = Board()
    board.enter(phase, "something is done")
    found, is_whole = understood(shown(board))
    assert (found["phase"], found["message"], is_whole) == (phase, "something is done", True)


def test_progress_and_the_latest_finite_metrics_arrive() -> None:
    board = Board()
    board.enter(RUNNING, "the script runs")
    board._started_at -= 3600
    board.see([("auc", 0.5), ("auc", 0.75), ("loss", float("nan")), ("norm", float("inf"))])
    board.progress(40.6)
    found, is_whole = understood(shown(board))
    assert found["metrics"] == {"auc": 0.75} and found["progress"]["percent"] == 40 and is_whole
    assert datetime.fromisoformat(found["progress"]["estimatedCompletionTime"]) > datetime.now(UTC)


def test_as_many_and_as_long_names_as_a_script_may_choose_fit_in() -> None:
    board = Board()
    board.see([(f"{number:03}" + "ü" * 240, float(number)) for number in range(500)])
    content = shown(board)
    assert len(content) <= MOST_BYTES
    assert len(understood(content)[0]["metrics"]) == MOST_METRICS
