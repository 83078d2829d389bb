"""A model behind POST /score: the real server in a process of its own, a real model, and scripts as people write them."""

from __future__ import annotations

import io
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import joblib
import pytest
from sklearn.linear_model import LinearRegression

from support.run_pod import wait_until
from support.scoring_pod import PRIMARY, SECONDARY, ScoringPod

SCRIPT = """
import json, os, sys, threading, time
import joblib, numpy

def init():
    global model
    assert threading.current_thread() is threading.main_thread()
    model = joblib.load(os.path.join(os.environ["AZUREML_MODEL_DIR"], "model", "model.joblib"))

def run(raw_data):
    body = json.loads(raw_data)
    if "sleep" in body:
        try:
            time.sleep(body["sleep"])
        except Exception:
            return "kept the alarm"
    if "raise" in body:
        raise ValueError(body["raise"])
    if "exit" in body:
        sys.exit(body["exit"])
    if "object" in body:
        return object()
    return model.predict(numpy.array(body["data"])).tolist()
"""


def model_file() -> bytes:
    """A fitted model whose prediction is the sum of two columns."""
    written = io.BytesIO()
    joblib.dump(LinearRegression().fit([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], [0.0, 1.0, 1.0]), written)
    return written.getvalue()


MODEL = {"model.joblib": model_file()}
ROW = {"data": [[1.0, 2.0]]}


@pytest.fixture(scope="module")
def pod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScoringPod]:
    settings = {"requestTimeoutSeconds": 1, "maxBodyBytes": 4096}
    with ScoringPod(tmp_path_factory.mktemp("pod"), SCRIPT, MODEL, requestSettings=settings) as started:
        yield started


@pytest.mark.parametrize("key", [PRIMARY, SECONDARY])
def test_a_prediction_comes_with_either_key(pod: ScoringPod, key: str) -> None:
    answer = pod.score(ROW, key)
    assert answer.code == 200, pod.log
    assert [round(each, 6) for each in answer.json] == [3.0]
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-ms-run-function-failed"] == "False"
    assert float(answer.headers["x-ms-run-fn-exec-ms"]) > 0


@pytest.mark.parametrize("key", ["", "wrong", PRIMARY + "x", PRIMARY[:-1]])
def test_without_the_right_key_nothing_is_scored(pod: ScoringPod, key: str) -> None:
    answer = pod.score(ROW, key)
    assert (answer.code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert "Authorization: Bearer <key>" in answer.json["message"]


def test_without_any_header_nothing_is_scored(pod: ScoringPod) -> None:
    assert pod.request("POST", "/score", b"{}").code == 401
    assert pod.request("GET", "/score?a=1").code == 401


def test_identifiers_of_the_caller_come_back_and_others_are_made_up(pod: ScoringPod) -> None:
    given = pod.score(ROW, x_request_id="one", x_ms_client_request_id="two", TraceId="three").headers
    assert [given[name] for name in ("x-request-id", "x-ms-client-request-id", "traceid")] == ["one", "two", "three"]
    first, second = pod.score(ROW).headers, pod.score(ROW).headers
    assert first["x-request-id"] != second["x-request-id"]
    assert pod.score(ROW, x_ms_client_request_id="x" * 101).code == 431


@pytest.mark.parametrize(
    ("method", "path", "code", "allowed"),
    [
        ("GET", "/no-such", 404, None),
        ("POST", "/score/", 404, None),
        ("PUT", "/score", 405, "GET, POST"),
        ("DELETE", "/score", 405, "GET, POST"),
        ("POST", "/healthz", 405, "GET, HEAD"),
        ("POST", "/metrics", 405, "GET, HEAD"),
    ],
)
def test_other_paths_and_methods_are_refused(
    pod: ScoringPod, method: str, path: str, code: int, allowed: str | None
) -> None:
    answer = pod.request(method, path)
    assert (answer.code, answer.headers.get("allow")) == (code, allowed)
    assert path in answer.json["message"]


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/metrics"])
def test_probes_and_metrics_need_no_key(pod: ScoringPod, path: str) -> None:
    assert pod.get(path).code == 200
    head = pod.request("HEAD", path)
    assert (head.code, head.body) == (200, b"")


def test_the_root_says_what_azures_does(pod: ScoringPod) -> None:
    assert pod.get("/").body == b"Healthy"


@pytest.mark.parametrize("size", [4097, 30_000_000])
def test_a_body_over_the_limit_is_refused_and_its_sender_hears_it(pod: ScoringPod, size: int) -> None:
    answer = pod.score({"data": "x" * size})
    assert answer.code == 413
    assert "4096 bytes (requestSettings.maxBodyBytes)" in answer.json["message"]


def test_a_large_body_without_a_key_hears_of_the_key(pod: ScoringPod) -> None:
    assert pod.score({"data": "x" * 30_000_000}, "wrong").code == 401


def test_a_body_that_is_no_utf_8_is_refused(pod: ScoringPod) -> None:
    assert pod.request("POST", "/score", b"\xff", Authorization=f"Bearer {PRIMARY}").code == 400


def test_a_run_over_its_time_is_interrupted_and_the_next_one_served(pod: ScoringPod) -> None:
    answer = pod.score({"sleep": 30})
    assert (answer.code, answer.json) == (500, {"message": "Scoring timeout after 1000 ms"})
    assert answer.headers["x-ms-run-function-failed"] == "True"
    assert pod.score(ROW).code == 200
    assert "run() was interrupted after 1.0 s" in pod.log


@pytest.mark.parametrize(
    ("body", "logged"),
    [
        ({"raise": "told only in the log"}, "ValueError: told only in the log"),
        ({"exit": 7}, "SystemExit: 7"),
        ({"object": 1}, "TypeError: run() gave back a object"),
        ({"data": [[1, 2, 3]]}, "ValueError: X has 3 features"),
    ],
)
def test_a_run_that_fails_is_told_in_the_log_and_the_next_one_served(
    pod: ScoringPod, body: dict[str, object], logged: str
) -> None:
    answer = pod.score(body)
    assert answer.code == 500
    assert answer.json == {"message": "An unexpected error occurred in scoring script. Check the logs for more info."}
    assert answer.headers["x-ms-run-function-failed"] == "True"
    assert logged in pod.log
    assert pod.score(ROW).code == 200


def test_requests_are_counted_by_code(pod: ScoringPod) -> None:
    def count(code: int) -> float:
        lines = pod.get("/metrics").body.decode().splitlines()
        return next(
            float(line.split()[1]) for line in lines if line.startswith(f'smalt_scorer_requests_total{{code="{code}"')
        )

    before = {code: count(code) for code in (200, 401)}
    pod.score(ROW)
    pod.score(ROW)
    pod.score(ROW, "wrong")
    assert {code: count(code) - before[code] for code in before} == {200: 2, 401: 1}
    text = pod.get("/metrics").body.decode()
    digest = pod.contract["model"]["digest"]
    assert f'smalt_scorer_model_info{{digest="{digest}",model="churn",version="3"}} 1.0' in text
    assert 'smalt_scorer_request_duration_seconds_bucket{le="0.1"}' in text
    assert PRIMARY not in text


def test_many_requests_on_one_connection(pod: ScoringPod) -> None:
    body = json.dumps(ROW)
    head = f"POST /score HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {PRIMARY}\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", pod.port), timeout=10) as connection:
        connection.sendall((head + body).encode() * 20)
        got = b""
        while got.count(b"HTTP/1.1 200 OK") < 20 and (piece := connection.recv(65536)):
            got += piece
    assert got.count(b"HTTP/1.1 200 OK") == 20


def test_a_changed_key_holds_without_a_restart(tmp_path: Path) -> None:
    with ScoringPod(tmp_path, SCRIPT, MODEL) as pod:
        pod.set_keys("rotated", SECONDARY)
        wait_until(lambda: pod.score(ROW, "rotated").code == 200, "the new key being taken", 10)
        assert [pod.score(ROW, key).code for key in (PRIMARY, SECONDARY)] == [401, 200]
