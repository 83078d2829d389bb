"""Traces of requests, as a collector of OpenTelemetry gets them over HTTP, and what they cost when there is none."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import joblib
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from sklearn.linear_model import LogisticRegression

from support.run_pod import wait_until
from support.scoring_pod import PRIMARY, ScoringPod
from support.tracking import free_port

SCRIPT = """
import time
def run(raw_data, request_headers):
    time.sleep(0.05)
    if "fail" in raw_data:
        raise ValueError("no such customer")
    return [request_headers["traceparent"], request_headers.get("tracestate", "")]
"""
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CALLERS = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=1"}


class Collector:
    """Keeps the spans that it is sent, by name."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.resources: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                owner.take(self.rfile.read(int(self.headers["Content-Length"])), self.headers["Content-Encoding"])
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 — the base class names it so
                """Tests read `spans`."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def take(self, body: bytes, encoding: str | None) -> None:
        plain = gzip.decompress(body) if encoding == "gzip" else body
        self.bodies.append(plain)
        for each in ExportTraceServiceRequest.FromString(plain).resource_spans:
            self.resources.append({one.key: one.value.string_value for one in each.resource.attributes})
            self.spans += [span for scope in each.scope_spans for span in scope.spans]

    def named(self, name: str, number: int = 1) -> list[Any]:
        wait_until(lambda: len([each for each in self.spans if each.name == name]) >= number, f"{number} spans {name}")
        return [each for each in self.spans if each.name == name]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


def variables(collector: Collector, **more: str) -> dict[str, str]:
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "100", **more}


def attributes(span: Any) -> dict[str, Any]:
    return {each.key: each.value.string_value or each.value.int_value for each in span.attributes}


def test_a_callers_trace_is_carried_to_the_script_and_the_wait_and_the_model_are_parts_of_it(
    collector: Collector, tmp_path: Path
) -> None:
    with ScoringPod(
        tmp_path, SCRIPT, {"m": b"x"}, environmentVariables=variables(collector, OTEL_SERVICE_NAME="churn-prod")
    ) as pod:
        parent, state = pod.score({"customer": "Jane Doe"}, **CALLERS).json
        [span] = collector.named("POST /score")
        assert span.trace_id.hex() == TRACE and span.parent_span_id.hex() == PARENT
        assert (parent, state) == (f"00-{TRACE}-{span.span_id.hex()}-01", "vendor=1")
        [queue], [model] = collector.named("queue"), collector.named("model")
        assert queue.parent_span_id == model.parent_span_id == span.span_id
        assert queue.end_time_unix_nano == model.start_time_unix_nano
        assert model.end_time_unix_nano - model.start_time_unix_nano >= 50_000_000
        assert span.start_time_unix_nano <= queue.start_time_unix_nano
        assert abs(span.end_time_unix_nano / 1e9 - time.time()) < 60
        assert attributes(span) == {
            "smalt.model.name": "churn",
            "smalt.model.version": "3",
            "http.request.method": "POST",
            "url.path": "/score",
            "http.response.status_code": 200,
        }
        assert pod.score({"fail": "Jane Doe"}).code == 500
        assert pod.request("POST", "/score", b"{}", Authorization="Bearer wrong").code == 401
        spans = {attributes(each)["http.response.status_code"]: each for each in collector.named("POST /score", 3)}
        assert spans[500].status.code == 2 and spans[401].status.code == 0
        assert not spans[500].parent_span_id and spans[500].trace_id.hex() != TRACE
    assert collector.resources[0]["service.name"] == "churn-prod"
    everything = b"".join(collector.bodies)
    assert b"Jane" not in everything and PRIMARY.encode() not in everything


def test_what_a_pod_has_not_sent_yet_is_sent_when_it_ends(collector: Collector, tmp_path: Path) -> None:
    slowly = variables(collector, OTEL_BSP_SCHEDULE_DELAY="60000", WORKER_COUNT="2")
    with ScoringPod(tmp_path, SCRIPT, {"m": b"x"}, environmentVariables=slowly) as pod:
        assert pod.score({}).code == 200
        pod.terminate()
        assert pod.wait() == 0, pod.log
    assert len(collector.named("POST /score")) == 1


def test_a_model_that_is_served_directly_is_traced_by_every_protocol(collector: Collector, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    joblib.dump(LogisticRegression().fit([[0.0], [1.0]], [0, 1]), tmp_path / "files/model.joblib")
    files = {"model.joblib": (tmp_path / "files/model.joblib").read_bytes()}
    with ScoringPod(tmp_path, None, files, environmentVariables=variables(collector)) as pod:
        assert pod.score({"data": [[1.0]]}, **CALLERS).code == 200
        key = {"Authorization": f"Bearer {PRIMARY}", "Content-Type": "application/json"}
        assert pod.request("POST", "/invocations", b'{"inputs": [[1.0]]}', **key).code == 200
        assert pod.get("/healthz").code == 200
        assert {each.name for each in [*collector.named("POST /score"), *collector.named("POST /invocations")]}
        assert not [each for each in collector.spans if "healthz" in each.name], "probes are nobody's request"


@pytest.mark.parametrize("more", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}])
def test_turned_off_the_callers_headers_reach_the_script_as_they_came(
    collector: Collector, tmp_path: Path, more: dict[str, str]
) -> None:
    with ScoringPod(tmp_path, SCRIPT, {"m": b"x"}, environmentVariables=variables(collector, **more)) as pod:
        assert pod.score({}, **CALLERS).json == [CALLERS["traceparent"], CALLERS["tracestate"]]
    assert collector.spans == []


def test_a_collector_that_is_away_holds_up_neither_requests_nor_the_end(tmp_path: Path) -> None:
    nowhere = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}", "OTEL_BSP_SCHEDULE_DELAY": "100"}
    with ScoringPod(tmp_path, SCRIPT, {"m": b"x"}, environmentVariables=nowhere) as pod:
        assert [pod.score({}).code for _ in range(5)] == [200] * 5
        began = time.monotonic()
        pod.terminate()
        assert pod.wait() == 0, pod.log
        assert time.monotonic() - began < 20, "the kubelet waits for 30 s"
