"""An unmodified score script behind the real server, asked by many at once: each answer is its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier

from support.score_servers import Answered, Asked, ScoreServer, Setup, serving

# Real servers beside each other.
pytestmark = pytest.mark.slow

ROWS, KINDS = load_iris(return_X_y=True)
FOREST = RandomForestClassifier(100, random_state=0).fit(ROWS, KINDS)
SCRIPT = """
import json
import time

from azureml.contrib.services.aml_request import rawhttp
from flask import request as of_flask
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier

count = 0


def init():
    global model
    model = RandomForestClassifier(100, random_state=0).fit(*load_iris(return_X_y=True))


@rawhttp
def run(request):
    global count
    count += 1
    number = request.args["number"]
    likely = model.predict_proba(json.loads(request.get_data())["data"])
    assert of_flask.args["number"] == number
    if number == "13":
        raise KeyError(number)
    while number == "17":
        pass
    return {"number": number, "likely": likely.tolist(), "count": count}
"""


@pytest.fixture(scope="module")
def server() -> Iterator[ScoreServer]:
    variables = {"SCORING_TIMEOUT_MS": "1000", "OMP_NUM_THREADS": "1"}
    with serving("ours", Setup({"score.py": SCRIPT}, variables)) as started:
        yield started


def asked(number: int, data: Any = None) -> Asked:
    rows = ROWS[number % 150 : number % 150 + 1].tolist() if data is None else data
    return Asked(path=f"/score?number={number}", body=json.dumps({"data": rows}).encode())


def all_at_once(server: ScoreServer, questions: list[Asked]) -> list[Answered]:
    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(server.ask, questions))


def check(number: int, answer: Answered) -> None:
    assert answer.status == 200, answer.body
    assert answer.json["number"] == str(number)
    assert answer.json["likely"] == FOREST.predict_proba(ROWS[number % 150 : number % 150 + 1]).tolist()


def test_each_gets_its_own_answer_and_its_own_error(server: ScoreServer) -> None:
    numbers = [each for each in range(300) if each != 17]
    for number, answer in zip(numbers, all_at_once(server, [asked(each) for each in numbers]), strict=True):
        if number == 13:
            assert answer.status == 500 and answer.header("x-ms-run-function-failed") == "True"
        else:
            check(number, answer)
    assert "answered by one call of RandomForestClassifier" in server.log
    assert "KeyError: '13'" in server.log
    batches = _counted(server, "smalt_scorer_batch_requests_count")
    assert batches < 299, "some went together"


def test_rows_that_the_model_refuses_are_refused_to_who_sent_them(server: ScoreServer) -> None:
    questions = [asked(each, [[1, 2, 3]] if each % 5 == 0 else None) for each in range(20, 60)]
    for number, answer in zip(range(20, 60), all_at_once(server, questions), strict=True):
        if number % 5 == 0:
            assert answer.status == 500
        else:
            check(number, answer)
    assert "X has 3 features, but RandomForestClassifier is expecting 4 features" in server.log


def test_a_run_over_its_time_is_the_only_one_that_ends(server: ScoreServer) -> None:
    numbers = [*range(10, 13), 17, *range(18, 24)]
    found = dict(zip(numbers, all_at_once(server, [asked(each) for each in numbers]), strict=True))
    assert found[17].status == 500 and b"Scoring timeout after 1000 ms" in found[17].body
    for number in (each for each in numbers if each != 17):
        # Those who came after it waited for longer than they may, as they always do behind a run() that hangs.
        if found[number].status != 503:
            check(number, found[number])
    check(150, server.ask(asked(150)))


def _counted(server: ScoreServer, name: str) -> float:
    text = server.ask(Asked("GET", "/metrics")).body.decode()
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name))
