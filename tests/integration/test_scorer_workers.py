"""Several workers behind one port: one that ends or hangs is replaced, and the others go on."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from support.run_pod import wait_until
from support.scoring_pod import Answer, ScoringPod

FILES = {"model.txt": b"x"}
SCRIPT = """
import ctypes, os, time

def init():
    global pid
    pid = os.getpid()

def run(raw_data):
    if "hang" in raw_data:
        lock = ctypes.create_string_buffer(64)
        for _ in range(2):
            ctypes.CDLL(None).pthread_mutex_lock(lock)
    time.sleep(0.01)
    return pid
"""


@pytest.fixture
def pods() -> Iterator[list[ScoringPod]]:
    made: list[ScoringPod] = []
    yield made
    for pod in made:
        pod.terminate()
        try:
            pod.wait(20)
        finally:
            pod.end()


def several(
    pods: list[ScoringPod], folder: Path, number: str = "2", script: str = SCRIPT, **changes: Any
) -> ScoringPod:
    # Whose turn comes late on a busy machine is not what is looked at here.
    settings = {"maxQueueWaitSeconds": 20, "requestTimeoutSeconds": 20} | changes.pop("requestSettings", {})
    variables = {"WORKER_COUNT": number}
    pod = ScoringPod(folder, script, FILES, environmentVariables=variables, requestSettings=settings, **changes)
    pods.append(pod.start())
    return pod


def asked(pod: ScoringPod, times: int, body: Any = "x") -> list[Answer]:
    with ThreadPoolExecutor(8) as callers:
        return list(callers.map(lambda _: pod.score(body), range(times)))


def pids(pod: ScoringPod, times: int = 60) -> set[int]:
    return {answer.json for answer in asked(pod, times) if answer.code == 200}


def total(pod: ScoringPod, family: str) -> float:
    text = pod.get("/metrics").body.decode()
    return sum(float(each) for each in re.findall(rf"^{family}(?:{{[^}}]*}})? ([0-9.e+]+)$", text, re.M))


def test_both_answer_and_whoever_is_asked_has_counted_for_all(pods: list[ScoringPod], tmp_path: Path) -> None:
    pod = several(pods, tmp_path)
    pod.wait_ready()
    wait_until(lambda: len(pids(pod)) == 2, "both workers answering", 30)
    before = total(pod, "smalt_scorer_requests_total")
    assert [answer.code for answer in asked(pod, 50)] == [200] * 50
    wait_until(lambda: total(pod, "smalt_scorer_requests_total") >= before + 50, "all requests being counted", 30)
    wait_until(lambda: len({total(pod, "smalt_scorer_requests_total") for _ in range(6)}) == 1, "one count for all", 30)
    count = "smalt_scorer_request_duration_seconds_count"
    assert total(pod, count) == total(pod, "smalt_scorer_requests_total")
    assert total(pod, "smalt_scorer_worker_restarts_total") == 0


def test_one_that_is_killed_is_replaced_and_its_counts_stay(pods: list[ScoringPod], tmp_path: Path) -> None:
    pod = several(pods, tmp_path)
    pod.wait_ready()
    wait_until(lambda: len(pids(pod)) == 2, "both workers answering", 30)
    before = pids(pod)
    wait_until(lambda: total(pod, "smalt_scorer_requests_total") >= 60, "the requests being counted", 30)
    time.sleep(1)  # both have told what they counted
    counted = total(pod, "smalt_scorer_requests_total")
    killed = min(before)
    os.kill(killed, signal.SIGKILL)
    assert 200 in {answer.code for answer in asked(pod, 5)}
    wait_until(lambda: len(pids(pod) - {killed}) == 2, "another one in its place", 30)
    assert total(pod, "smalt_scorer_requests_total") >= counted
    assert total(pod, "smalt_scorer_worker_restarts_total") == 1
    assert "another one takes its place" in pod.log and pod.exit_code is None


def test_one_that_hangs_in_c_code_is_replaced_within_five_seconds_while_the_others_answer(
    pods: list[ScoringPod], tmp_path: Path
) -> None:
    settings = {"requestTimeoutSeconds": 1, "maxQueueWaitSeconds": 0.2}
    pod = several(pods, tmp_path, requestSettings=settings)
    pod.wait_ready()
    wait_until(lambda: len(pids(pod)) == 2, "both workers answering", 30)
    before = pids(pod)
    began = time.monotonic()
    assert pod.score("hang").json == {"message": "Scoring timeout after 1000 ms"}
    answers: list[Answer] = []
    while all(_is_there(each) for each in before):
        assert time.monotonic() - began < 1 + 5 + 2, "nobody was replaced"
        answers += asked(pod, 8)
    codes = {answer.code for answer in answers}
    assert 200 in codes and codes <= {200, 503}
    assert all(answer.headers["retry-after"] == "1" for answer in answers if answer.code == 503)
    wait_until(lambda: len(pids(pod)) == 2 and not pids(pod) >= before, "another one in its place", 30)
    assert pod.exit_code is None and (tmp_path / "termination-log").read_text() == ""


def _is_there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_sigterm_has_all_of_them_finish_what_has_come(pods: list[ScoringPod], tmp_path: Path) -> None:
    pod = several(pods, tmp_path)
    pod.wait_ready()
    wait_until(lambda: len(pids(pod)) == 2, "both workers answering", 30)
    with ThreadPoolExecutor(8) as callers:
        running = [callers.submit(pod.score, "x") for _ in range(40)]
        pod.terminate()
        assert {each.result().code for each in running} == {200}
    assert pod.wait(20) == 0


def test_a_script_that_cannot_begin_ends_all_with_its_words(pods: list[ScoringPod], tmp_path: Path) -> None:
    pod = several(pods, tmp_path, script="def init(): raise KeyError('no')\ndef run(raw): return 1")
    assert pod.wait(30) == 1
    assert pod.message["reason"] == "InitFailed" and "KeyError: 'no'" in pod.message["message"]


@pytest.mark.parametrize("number", ["0", "65", "two", "-1"])
def test_what_is_no_number_of_workers_is_named(pods: list[ScoringPod], tmp_path: Path, number: str) -> None:
    pod = several(pods, tmp_path, number)
    assert pod.wait(30) == 1
    assert pod.message["reason"] == "InvalidSetting"
    assert f"WORKER_COUNT is '{number}', and must be a whole number from 1 to 64" in pod.message["message"]


LATE = """
import os, time

def init():
    if "worker-1" in os.getcwd():
        time.sleep(60)

def run(raw_data):
    return os.getcwd()
"""


def test_one_that_is_still_loading_when_the_pod_goes_has_not_failed(pods: list[ScoringPod], tmp_path: Path) -> None:
    pod = several(pods, tmp_path, script=LATE)
    pod.wait_ready()
    assert "worker-0" in pod.score("x").json
    pod.terminate()
    assert pod.wait() == 0, pod.log
    assert "InitFailed" not in pod.log and (tmp_path / "termination-log").read_text() == ""


def test_one_that_has_to_go_because_another_failed_leaves_that_ones_words(
    pods: list[ScoringPod], tmp_path: Path
) -> None:
    fails = LATE.replace("def run", "    else:\n        time.sleep(1)\n        raise KeyError('no')\n\ndef run")
    pod = several(pods, tmp_path, script=fails)
    assert pod.wait(30) == 1
    assert "KeyError: 'no'" in pod.message["message"], pod.log
