"""Metrics on their way: what a script writes is what is shipped, in order, and half a line waits."""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from smalt_trainer import run
from smalt_trainer.board import Board
from smalt_trainer.refusals import Refused, Unreachable
from smalt_trainer.shipping import Shipper
from smalt_trainer.spool import Spool, metric_line
from smalt_trainer.tracking import Tracking


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = tmp_path / "metrics.jsonl"
    monkeypatch.setenv("SMALT_METRICS_SPOOL", str(path))
    monkeypatch.setattr(run, "_spool_process", -1)
    yield path
    monkeypatch.setattr(run, "_spool_process", -1)


def test_what_is_logged_is_read_back_with_steps_counted_for_each_name(spool: Path) -> None:
    run.log("auc", 0.8)
    run.log("loss", 2, step=10)
    run.log("auc", 0.9)
    run.log("loss", float("nan"))
    run.log("nan inf", float("-inf"))
    points = Spool(spool).read(100)
    assert [(point.name, point.step) for point in points] == [
        ("auc", 0),
        ("loss", 10),
        ("auc", 1),
        ("loss", 11),
        ("nan inf", 0),
    ]
    assert [point.value for point in points[:3]] == [0.8, 2.0, 0.9]
    assert math.isnan(points[3].value)
    assert [point.as_json()["value"] for point in points[3:]] == ["NaN", "-Infinity"]


def test_a_line_still_being_written_waits_and_a_broken_one_is_counted(spool: Path) -> None:
    reader = Spool(spool)
    assert reader.read(10) == []
    run.log("a", 1)
    with spool.open("ab") as stream:
        stream.write(b"not json\n")
        stream.write(b'{"metric":"b","value":2,"st')
    assert [point.name for point in reader.read(10)] == ["a"]
    assert reader.unreadable == 1
    with spool.open("ab") as stream:
        stream.write(b'ep":4,"time":5}\n')
    assert [(point.name, point.step, point.time) for point in reader.read(10)] == [("b", 4, 5)]


@pytest.mark.parametrize(
    "line",
    [
        b'{"metric":"a","value":1,"step":Infinity,"time":1}',
        b'{"metric":"a","value":1,"step":1e30,"time":1}',
        b'{"metric":"a","value":1,"step":0,"time":Infinity}',
        b'{"metric":"a","value":1,"step":0,"time":1e30}',
        b'{"metric":"\\n","value":1,"step":0,"time":1}',
        b'{"metric":["a"],"value":1,"step":0,"time":1}',
        b"[" * 100_000,
    ],
)
def test_a_line_that_the_server_has_no_place_for_is_counted_and_the_next_one_read(spool: Path, line: bytes) -> None:
    run.log("a", 1)
    with spool.open("ab") as stream:
        stream.write(line + b"\n")
    run.log("a", 2)
    reader = Spool(spool)
    assert [(point.value, point.step) for point in reader.read(10)] == [(1.0, 0), (2.0, 1)]
    assert reader.unreadable == 1


def test_a_script_killed_at_once_has_lost_nothing_it_logged(spool: Path) -> None:
    script = "import os; from smalt_trainer import run\nfor i in range(1000): run.log('i', i)\nos.kill(os.getpid(), 9)"
    source = str(Path(run.__file__).parents[1])
    environment = {"PYTHONPATH": source, "SMALT_METRICS_SPOOL": str(spool)}
    assert subprocess.run([sys.executable, "-c", script], env=environment).returncode == -9
    assert [point.value for point in Spool(spool).read(5000)] == [float(number) for number in range(1000)]


def test_workers_of_a_pool_write_whole_lines(spool: Path) -> None:
    script = (
        "import multiprocessing; from smalt_trainer import run\n"
        "def work(n):\n    for i in range(200): run.log(f'worker {n}', i)\n"
        "run.log('before', 1)\nmultiprocessing.get_context('fork').Pool(4).map(work, range(4))"
    )
    environment = {"PYTHONPATH": str(Path(run.__file__).parents[1]), "SMALT_METRICS_SPOOL": str(spool)}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)
    reader = Spool(spool)
    assert len(reader.read(5000)) == 801
    assert reader.unreadable == 0


def test_outside_a_run_a_value_is_printed_as_the_line_that_a_run_would_understand(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("SMALT_METRICS_SPOOL", raising=False)
    monkeypatch.setattr(run, "_spool_process", -1)
    run.log("auc", 0.5, step=2)
    printed = capsys.readouterr().out
    assert json.loads(printed) == {"metric": "auc", "value": 0.5, "step": 2}
    assert metric_line(printed.encode()) is not None


@pytest.mark.parametrize("name", ["", "a\nb", 'a"b', "é", "../up", "/root", "a//b", ".", "x" * 251, None])
def test_a_name_the_server_would_refuse_is_refused_at_once(name: str) -> None:
    with pytest.raises(ValueError, match=r"rename it in the call of run\.log"):
        run.log(name, 1)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        (b'{"metric": "auc", "value": 0.91}', 0.91),
        (b'  {"metric": "auc", "value": 1, "step": 3}\r', 1.0),
        (b'{"value": -2e3, "metric": "a/b c"}', -2000.0),
        (b'{"metric": "auc", "value": Infinity}', math.inf),
        (b'{"metric": "auc", "value": "NaN"}', math.nan),
    ],
)
def test_a_line_of_standard_output_is_a_metric(line: bytes, value: float) -> None:
    spooled = metric_line(line)
    assert spooled is not None
    assert json.loads(spooled)["value"] == pytest.approx(value, nan_ok=True)


@pytest.mark.parametrize(
    "line",
    [
        b"training...",
        b'{"metric": "auc"}',
        b'{"metric": "auc", "value": true}',
        b'{"metric": "auc", "value": "high"}',
        b'{"metric": "auc", "value": 1' + b"0" * 400 + b"}",
        b'{"metric": ["auc"], "value": 1}',
        b'{"metric": "auc", "value": 1, "step": "first"}',
        b'{"metric": "a\\nb", "value": 1}',
        b'{"metric": "auc", "value": 1',
        b'["metric", {"metric": "auc", "value": 1}]',
        b'{\xff\xfe "metric"}',
        b'{"metric": "a", "value": 1, "note": ' + b"[" * 3000 + b"]" * 3000 + b"}",
    ],
)
def test_anything_else_a_script_prints_is_its_own_affair(line: bytes) -> None:
    assert metric_line(line) is None


class FakeServer(Tracking):
    """Keeps what it is sent; away while `away`, refusing every metric called `bad`."""

    def __init__(self) -> None:
        super().__init__("http://tracking.invalid")
        self.away = False
        self.kept: list[object] = []
        self.asked, self.takes = 0, 0.0

    def log_batch(self, run, metrics=(), params=None, tags=None) -> None:  # type: ignore[no-untyped-def]
        batch = list(metrics)
        self.asked += 1
        time.sleep(self.takes)
        if self.away:
            raise Unreachable("away")
        if any(metric["key"] == "bad" for metric in batch):
            raise Refused("no such metric, please", "INVALID_PARAMETER_VALUE")
        self.kept.extend((metric["key"], metric["value"]) for metric in batch)


def test_a_batch_that_was_not_answered_is_sent_again_and_nothing_is_lost(spool: Path) -> None:
    server, said = FakeServer(), io.StringIO()
    shipper = Shipper(server, "run", Spool(spool), lambda text: print(text, file=said), Board())
    for number in range(2500):
        run.log("i", number)
    server.away = True
    with pytest.raises(Unreachable):
        shipper.drain()
    server.away = False
    shipper.drain()
    assert server.kept == [("i", float(number)) for number in range(2500)]


def test_one_point_that_is_refused_does_not_take_the_others_with_it(spool: Path) -> None:
    server, said = FakeServer(), io.StringIO()
    shipper = Shipper(server, "run", Spool(spool), lambda text: print(text, file=said), Board())
    for number in range(100):
        run.log("bad" if number == 37 else "good", number)
    shipper.drain()
    assert len(server.kept) == 99
    assert shipper.refused == 1
    assert "metric bad = 37.0 at step 0 is not recorded" in said.getvalue()


@pytest.mark.slow
def test_a_script_that_logs_all_the_time_asks_the_server_once_in_a_while(spool: Path) -> None:
    server = FakeServer()
    server.takes = 0.02  # in which the script logs again
    shipper = Shipper(server, "run", Spool(spool), print, Board())
    shipper.start()
    until = time.monotonic() + 1.0
    while time.monotonic() < until:
        run.log("loss", 0.5)
        time.sleep(0.001)
    shipper.stop()
    assert 1 <= server.asked <= 3
    shipper.drain()
    assert len(server.kept) > 100
