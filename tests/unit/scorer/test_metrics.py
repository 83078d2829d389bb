"""The scorer's metrics, by the names that dashboards use."""

from __future__ import annotations

from pathlib import Path

from smalt_scorer.counted_together import SharedFolder
from smalt_scorer.metrics import Metrics
from smalt_scorer.workers import RESTARTS


def test_every_family_is_there_before_the_first_request() -> None:
    text = Metrics("churn", "3", "sha256:ab").text().decode()
    for line in (
        'smalt_scorer_requests_total{code="200"} 0.0',
        'smalt_scorer_requests_total{code="503"} 0.0',
        "smalt_scorer_request_duration_seconds_count 0.0",
        "# HELP smalt_scorer_request_duration_seconds Time from a request's headers to its answer, the arrival of its body "
        "and its wait for its turn included",
        "smalt_scorer_in_flight 0.0",
        'smalt_scorer_model_info{digest="sha256:ab",model="churn",version="3"} 1.0',
    ):
        assert line in text.splitlines()


def test_an_answer_is_counted_by_its_code_and_timed() -> None:
    metrics = Metrics("churn", "3", "sha256:ab")
    metrics.answered(200, 0.004)
    metrics.answered(405, 0.3)
    lines = metrics.text().decode().splitlines()
    assert 'smalt_scorer_requests_total{code="200"} 1.0' in lines
    assert 'smalt_scorer_requests_total{code="405"} 1.0' in lines
    assert 'smalt_scorer_request_duration_seconds_bucket{le="0.005"} 1.0' in lines
    assert "smalt_scorer_request_duration_seconds_sum 0.304" in lines


def test_two_scorers_in_one_process_count_apart() -> None:
    one, other = Metrics("a", "1", ""), Metrics("b", "1", "")
    one.answered(200, 0.1)
    assert 'smalt_scorer_requests_total{code="200"} 0.0' in other.text().decode().splitlines()


def test_workers_count_as_one_and_the_next_in_a_place_goes_on(tmp_path: Path) -> None:
    (tmp_path / RESTARTS).write_text("1")

    def worker(index: int) -> Metrics:
        made = Metrics("a", "1", "")
        made.join(SharedFolder(tmp_path, index))
        return made

    one, other = worker(0), worker(1)
    one.answered(200, 0.1)
    other.answered(200, 0.1)
    other.answered(404, 0.1)
    other.asked([0.1, 0.2], 0.3)
    other.in_flight = 1
    one.publish()
    other.publish()
    assert 'smalt_scorer_requests_total{code="200"} 2.0' in one.text().decode().splitlines()
    assert "smalt_scorer_in_flight 1.0" in one.text().decode().splitlines()
    later = worker(1)  # in the place of the other, which has ended
    later.answered(404, 0.1)
    lines = later.text().decode().splitlines()
    assert 'smalt_scorer_requests_total{code="200"} 2.0' in lines
    assert 'smalt_scorer_requests_total{code="404"} 2.0' in lines
    assert "smalt_scorer_batch_requests_sum 2.0" in lines and "smalt_scorer_in_flight 0.0" in lines
    assert "smalt_scorer_worker_restarts_total 1.0" in lines
