"""The page of a running attempt: what it shows, in which form, and how much of it at most."""

from __future__ import annotations

import json
import math
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families

from smalt_trainer.board import FINALIZING, RUNNING, Board
from smalt_trainer.page import MOST_BYTES, Page
from support.tracking import free_port

LABELS = {"namespace": "team-a", "run": "churn-1", "attempt": "1", "experiment": 'od"d\\\n'}


@pytest.fixture
def board() -> Board:
    return Board()


@pytest.fixture
def url(board: Board) -> Iterator[str]:
    page = Page(board, LABELS, print)
    yield f"http://127.0.0.1:{page.start(0)}"
    page.stop()


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return str(answer.read(), "utf-8")


def test_the_status_is_the_phase_and_the_latest_values(board: Board, url: str) -> None:
    assert json.loads(get(f"{url}/status.json")) == {
        "phase": "Preparing",
        "message": "the run is being prepared",
        "metrics": {},
    }
    board.enter(RUNNING, "the script runs")
    board.see([("auc", 0.8), ("loss", math.nan), ("auc", 0.9), ("system/cpu", 50.0)])
    board.progress(40)
    status = json.loads(get(f"{url}/status.json?x=1"))
    assert (status["phase"], status["message"], status["metrics"]) == ("Running", "the script runs", {"auc": 0.9})
    assert status["progress"]["percent"] == 40
    board.enter(FINALIZING, "its results are being stored")
    assert json.loads(get(f"{url}/status.json"))["progress"] == {"percent": 40}


def test_the_time_that_is_left_follows_from_the_time_it_took_so_far(board: Board) -> None:
    board.enter(RUNNING, "")
    board._started_at -= 60
    board.progress(25)
    end = datetime.strptime(board.status()["progress"]["estimatedCompletionTime"], "%Y-%m-%dT%H:%M:%SZ")
    left = end.replace(tzinfo=UTC) - datetime.now(UTC)
    assert timedelta(seconds=170) < left < timedelta(seconds=190)


@pytest.mark.parametrize("percent", [0, 100, 1e-300])
def test_where_nothing_follows_no_time_is_told(board: Board, percent: float) -> None:
    board.enter(RUNNING, "")
    board._started_at -= 60
    board.progress(percent)
    assert board.status()["progress"].keys() == {"percent"}


def test_prometheus_reads_the_metrics(board: Board, url: str) -> None:
    board.see([('a "b" \\ c', 1.5), ("loss", math.nan), ("odds", -math.inf)])
    board.progress(40)
    families = {each.name: each for each in text_string_to_metric_families(get(f"{url}/metrics"))}
    values = {each.labels["metric"]: each.value for each in families["smalt_run_metric"].samples}
    assert values.pop('a "b" \\ c') == 1.5 and values.pop("odds") == -math.inf and math.isnan(values.pop("loss"))
    assert values == {}
    assert families["smalt_run_metric"].samples[0].labels.items() >= LABELS.items()
    assert families["smalt_run_points"].samples[0].value == 3
    assert families["smalt_run_progress_percent"].samples[0].value == 40


def test_what_was_seen_stays_seen_when_the_spool_is_read_again(board: Board) -> None:
    board.see([("loss", 2.0)], 50)
    board.see([("loss", 1.0)], 100)
    board.see([("loss", 2.0)], 50)
    assert (board.metrics, board.points) == ({"loss": 1.0}, 2)


def test_however_many_metrics_a_script_invents_the_page_has_an_end(board: Board, url: str) -> None:
    board.see([(f"{'x' * 245}{number}", 1 / 3) for number in range(3000)])
    content = get(f"{url}/status.json")
    assert len(content) <= MOST_BYTES and len(json.loads(content)["metrics"]) > 100
    assert len(get(f"{url}/metrics")) < 256 << 10


def test_nothing_can_be_written_and_nothing_else_is_there(url: str) -> None:
    for path, method, status in (("/", "GET", 404), ("/../etc/passwd", "GET", 404), ("/status.json", "POST", 501)):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(urllib.request.Request(url + path, method=method), timeout=5)
        assert refused.value.code == status


@pytest.mark.slow
def test_whoever_asks_and_says_nothing_more_keeps_nobody_from_asking(url: str) -> None:
    address = ("127.0.0.1", int(url.rpartition(":")[2]))
    silent = [socket.create_connection(address) for _ in range(40)]
    for each in silent:
        each.close()
    assert json.loads(get(f"{url}/status.json"))["phase"] == "Preparing"


def test_a_port_that_the_script_has_taken_is_told(board: Board, capsys: pytest.CaptureFixture[str]) -> None:
    port = free_port()
    with socket.create_server(("0.0.0.0", port)):
        assert Page(board, LABELS, print).start(port) is None
    assert f"port {port} cannot be had" in capsys.readouterr().out


def test_whoever_asks_by_an_address_of_the_other_kind_is_answered_too(url: str) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    assert "phase" in json.loads(get(f"{url.replace('127.0.0.1', '[::1]')}/status.json"))
