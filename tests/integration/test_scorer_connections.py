"""What a connection is told, byte by byte: heads of answers, their order, and when it is closed."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

import pytest

from support.scoring_pod import PRIMARY, ScoringPod

SCRIPT = """
import json, time
from azureml.contrib.services.aml_request import AMLRequest, rawhttp
from azureml.contrib.services.aml_response import AMLResponse

def init():
    pass

@rawhttp
def run(request):
    asked = request.get_json()
    time.sleep(asked.get("sleep", 0))
    answer = AMLResponse(json.dumps(asked["say"]).encode(), 200)
    answer.headers.extend(asked.get("headers", {}))
    return answer
"""


@pytest.fixture(scope="module")
def pod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScoringPod]:
    with ScoringPod(tmp_path_factory.mktemp("pod"), SCRIPT, {"m": b"x"}) as started:
        yield started


def asking(body: str, *further: str, version: str = "1.1", path: str = "/score", method: str = "POST") -> bytes:
    head = [
        f"{method} {path} HTTP/{version}",
        "Host: pod",
        "Content-Type: application/json",
        f"Authorization: Bearer {PRIMARY}",
        *further,
    ]
    return "\r\n".join([*head, f"Content-Length: {len(body)}", "", body]).encode()


def told(pod: ScoringPod, *pieces: bytes, close: bool = True) -> str:
    """All that comes back until the other side closes, or this one has said that no more is to come."""
    with socket.create_connection(("127.0.0.1", pod.port), timeout=20) as connection:
        for each in pieces:
            connection.sendall(each)
        if close:
            connection.sendall(asking("", "Connection: close", path="/healthz", method="GET"))
        found = b""
        while piece := connection.recv(65536):
            found += piece
        return found.decode()


def bodies(said: str) -> list[str]:
    return re.findall(r"\r\n\r\n(.*?)(?=HTTP/1.1 |$)", said, re.S)


def test_requests_that_do_not_wait_are_answered_in_their_order(pod: ScoringPod) -> None:
    said = told(pod, asking('{"say": 1, "sleep": 0.3}') + asking('{"say": 2}') + asking('{"say": 3}'))
    assert bodies(said) == ["1", "2", "3", "Healthy"]


def test_of_a_head_that_is_asked_for_there_is_the_length_and_no_body(pod: ScoringPod) -> None:
    said = told(pod, asking("", path="/readyz", method="HEAD"))
    assert bodies(said) == ["", "Healthy"] and "content-length: 6\r\n" in said


def test_an_old_caller_and_one_that_asks_for_it_are_closed_after_their_answer(pod: ScoringPod) -> None:
    for each in (asking('{"say": 1}', version="1.0"), asking('{"say": 1}', "Connection: close")):
        said = told(pod, each, close=False)
        assert bodies(said) == ["1"] and "connection: close\r\n" in said


def test_who_waits_for_leave_to_send_has_it_once_and_then_the_answer(pod: ScoringPod) -> None:
    body = '{"say": 7}'
    head = asking(body, "Expect: 100-continue")[: -len(body)]
    with socket.create_connection(("127.0.0.1", pod.port), timeout=20) as connection:
        connection.sendall(head)
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body.encode())
        answer = connection.recv(1000)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n") and answer.endswith(b"\r\n\r\n7")


def test_every_answer_is_dated_once_and_has_one_length(pod: ScoringPod) -> None:
    said = told(pod, asking('{"say": 1, "headers": {"X-Own": "1"}}'))
    first = said.split("\r\n\r\n")[0].lower()
    assert [first.count(f"\r\n{name}: ") for name in ("date", "content-length", "content-type", "x-own")] == [1] * 4


def test_a_header_that_would_begin_another_line_is_not_sent(pod: ScoringPod) -> None:
    said = told(pod, asking('{"say": 1, "headers": {"X-Own": "1\\r\\nSet-Cookie: a"}}'))
    assert said.startswith("HTTP/1.1 500 ") and "cookie" not in said.lower()
    assert pod.score({"say": 2}).json == 2
