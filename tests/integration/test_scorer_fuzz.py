"""Requests that nobody would think of, by the server's own description of itself and as bytes: no 5xx, no crash, served on."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    response_schema_conformance,
    status_code_conformance,
)

from support.scoring_pod import PRIMARY, ScoringPod

KEY = {"Authorization": f"Bearer {PRIMARY}"}
SCRIPT = """
import numpy
from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType
from inference_schema.schema_decorators import input_schema, output_schema

@input_schema("data", NumpyParameterType(numpy.array([[0.0, 1.0]])))
@output_schema(NumpyParameterType(numpy.array([0.0])))
def run(data):
    return data.sum(axis=1)
"""
FEW = settings(
    max_examples=60,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScoringPod]:
    with ScoringPod(tmp_path_factory.mktemp("script"), SCRIPT, {"m": b"x"}) as pod:
        yield pod


def described(pod: ScoringPod, path: str) -> Any:
    document = pod.request("GET", path, **KEY).json
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=f"http://127.0.0.1:{pod.port}")
    return schema


def tried(pod: ScoringPod, schema: Any, checks: list[Any]) -> int:
    """Each operation with what fits its description and what does not; how many requests there were."""
    asked = 0
    for result in schema.get_all_operations():
        operation = result.ok()
        for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):

            @FEW
            @given(case=operation.as_strategy(generation_mode=mode))
            def ask(case: Any) -> None:
                nonlocal asked
                asked += 1
                case.call_and_validate(headers=KEY, checks=checks, timeout=30)

            try:
                ask()
            except Exception as error:
                # Some operations have nothing that does not fit them.
                if type(error).__name__ not in ("Unsatisfiable", "SkipTest"):
                    raise
    return asked


def is_runs_own(_context: Any, response: Any, _case: Any) -> None:
    """As Azure's contract has it, a run() that raises is answered by 500, and this header says that it did."""
    if response.status_code >= 500:
        assert response.headers["x-ms-run-function-failed"] == ["True"], response.text


@pytest.mark.slow
def test_a_model_that_is_served_directly_answers_as_it_says_of_itself(direct: ScoringPod) -> None:
    checks = [
        not_a_server_error,
        status_code_conformance,
        content_type_conformance,
        response_schema_conformance,
        ignored_auth,
    ]
    assert tried(direct, described(direct, "/openapi.json"), checks) > 500
    assert direct.exit_code is None and direct.get("/readyz").code == 200


@pytest.mark.slow
def test_a_script_with_a_schema_fails_at_nothing_but_what_its_run_fails_at(script: ScoringPod) -> None:
    assert tried(script, described(script, "/swagger.json?version=3"), [is_runs_own]) > 50
    assert script.exit_code is None and script.score({"data": [[1, 2]]}).json == [3.0]


HEADS = st.sampled_from(
    [
        b"POST /score HTTP/1.1\r\n",
        b"GET / HTTP/1.1\r\n",
        b"POST /v2/models/churn/infer HTTP/1.1\r\n",
        b"",
        b"\x16\x03\x01",
    ]
)
LINES = st.sampled_from(
    [
        b"Host: a\r\n",
        b"Authorization: Bearer " + PRIMARY.encode() + b"\r\n",
        b"Content-Length: 5\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: 99999999999999999999\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Inference-Header-Content-Length: 7\r\n",
        b"Content-Type: application/json; charset=utf-7\r\n",
        b"Content-Type: text/csv\r\n",
        b"Connection: Upgrade\r\nUpgrade: websocket\r\n",
        b"Expect: 100-continue\r\n",
        b"X: \x00\xff\r\n",
        b" folded\r\n",
        b"NoColon\r\n",
    ]
)
BYTES = st.tuples(HEADS, st.lists(LINES, max_size=6).map(b"".join), st.sampled_from([b"\r\n", b"\n", b""]), st.binary())


@pytest.mark.parametrize("name", ["direct", "script"])
def test_bytes_of_any_kind_crash_nothing(name: str, request: pytest.FixtureRequest) -> None:
    pod: ScoringPod = request.getfixturevalue(name)
    codes: set[int] = set()

    @settings(FEW, max_examples=150)
    @given(parts=st.lists(BYTES, min_size=1, max_size=3))
    def send(parts: list[tuple[bytes, ...]]) -> None:
        codes.update(answered(pod.port, b"".join(b"".join(each) for each in parts)))

    send()
    assert codes and all(code < 500 for code in codes), codes
    assert pod.exit_code is None and pod.get("/readyz").code == 200


@pytest.mark.parametrize("name", ["direct", "script"])
def test_a_good_request_with_any_byte_changed_crashes_nothing(name: str, request: pytest.FixtureRequest) -> None:
    pod: ScoringPod = request.getfixturevalue(name)
    body = b'{"data": [[1.5, 2]], "input_data": {"columns": ["a"], "data": [[1]]}}'
    head = b"POST /score HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nConnection: close\r\n"
    good = head + b"Authorization: Bearer " + PRIMARY.encode() + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    chosen = random.Random(7)
    codes: set[int] = set()
    for place in range(len(good)):
        changed = bytearray(good)
        changed[place] = chosen.randrange(256)
        codes.update(answered(pod.port, bytes(changed)))
    assert {400, 401} <= codes and all(code < 500 for code in codes), codes
    assert pod.exit_code is None and pod.get("/readyz").code == 200


def answered(port: int, sent: bytes) -> list[int]:
    """The status of each answer to these bytes; of a connection that waits for more it is not waited for."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        received, until = b"", time.monotonic() + 20
        try:
            while time.monotonic() < until and (piece := connection.recv(1 << 16)):
                received += piece
        except ConnectionResetError:
            return []  # closed while what follows was still being sent
    lines = [each for each in received.split(b"\r\n") if each.startswith(b"HTTP/1.1 ")]
    return [int(each.split()[1]) for each in lines]


def test_the_folder_of_a_pod_holds_no_core(tmp_path: Path) -> None:
    """What the tests above rely on: a process that crashes is seen by its exit code."""
    pod = ScoringPod(
        tmp_path, "import os\ndef init():\n    os.abort()\ndef run(raw):\n    return 1\n", {"m": b"x"}
    ).start()
    assert pod.wait() < 0
