"""Models without a score script: the real server in a process of its own, a file of each format, and real clients."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from support import served_models as made
from support.scoring_pod import PRIMARY, SECONDARY, Answer, ScoringPod

TWO = numpy.array([[0.0, 0.0]], dtype="float32")
NUMBERS = {"data": [[1, 1], [2, 0]]}
CUSTOMERS = {"data": [{"age": 31, "spend": 10.5, "city": "Rome"}, {"age": 45, "spend": None, "city": "Oslo"}]}
FORMATS: dict[str, tuple[Callable[[Path], dict[str, bytes]], str | None, Any, Any]] = {
    "joblib": (lambda _: {"model.joblib": made.joblib_file(made.linear())}, "joblib", NUMBERS, [3.0, 2.0]),
    "skops": (lambda _: {"model.skops": made.skops_file(made.customers())}, "skops", CUSTOMERS, ["stays", "leaves"]),
    "onnx": (lambda _: {"model.onnx": made.onnx_file(made.linear(), TWO)}, "onnx", NUMBERS, [3.0, 2.0]),
    "mlflow": (lambda folder: made.mlflow_folder(made.customers(), folder), "mlflow", CUSTOMERS, ["stays", "leaves"]),
    "pyfunc": (lambda folder: made.pyfunc_folder(folder), None, NUMBERS, [2, 2]),
    "texts": (lambda _: {"m.pkl": made.pickle_file(made.comments())}, None, {"data": ["very good", "bad"]}, [1, 0]),
    "several": (
        lambda _: {"m.joblib": made.joblib_file(made.several_classes())},
        None,
        NUMBERS,
        [["b", "y"], ["b", "x"]],
    ),
}


def authorized() -> dict[str, str]:
    """A new dictionary each time: the client writes its own headers into it."""
    return {"Authorization": f"Bearer {PRIMARY}"}


@contextmanager
def serving(folder: Path, files: dict[str, bytes], named: str | None = None, **changes: Any) -> Iterator[ScoringPod]:
    pod = ScoringPod(folder, None, files, **changes)
    pod.contract["model"] |= {"format": named} if named else {}
    with pod:
        yield pod


@pytest.fixture(scope="module")
def pod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScoringPod]:
    """A pipeline of texts and numbers, with the schema of its training data."""
    files = {"model.joblib": made.joblib_file(made.customers()), "schema.json": made.schema_file()}
    with serving(tmp_path_factory.mktemp("pod"), files, requestSettings={"maxBodyBytes": 1 << 20}) as started:
        yield started


def post(pod: ScoringPod, path: str, body: bytes, key: str = PRIMARY, kind: str = "application/json") -> Answer:
    return pod.request("POST", path, body, Authorization=f"Bearer {key}", Content_Type=kind)


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_is_served_without_a_script(name: str, tmp_path: Path) -> None:
    files, named, body, expected = FORMATS[name]
    with serving(tmp_path / "pod", files(tmp_path / "saved"), named) as pod:
        answer = pod.score(body)
        assert answer.code == 200, (answer.body, pod.log)
        found = answer.json["predictions"]
        assert found == expected or numpy.allclose(found, expected)
        assert float(answer.headers["x-ms-run-fn-exec-ms"]) > 0
        assert answer.headers["x-request-id"]


@pytest.mark.parametrize("key", [PRIMARY, SECONDARY])
def test_each_protocol_gives_the_same_predictions(pod: ScoringPod, key: str) -> None:
    expected = ["stays", "leaves"]
    assert pod.score(CUSTOMERS, key).json == {"predictions": expected}
    body = json.dumps({"dataframe_records": CUSTOMERS["data"]}).encode()
    assert post(pod, "/invocations", body, key).json == {"predictions": expected}
    assert post(pod, "/invocations", b"city,age,spend\nRome,31,10.5\nOslo,45,\n", key, "text/csv").json == {
        "predictions": expected
    }
    shown = {"columns": ["city", "age", "spend"], "index": [0, 1], "data": [["Rome", 31, 10.5], ["Oslo", 45, None]]}
    assert pod.score({"input_data": shown}, key).json == {"predictions": expected}
    likely = pod.score(CUSTOMERS | {"method": "predict_proba"}, key).json["probabilities"]
    assert numpy.allclose(numpy.sum(likely, axis=1), 1)


@pytest.fixture
def client(pod: ScoringPod) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(f"127.0.0.1:{pod.port}") as made_client:
        yield made_client


def column(name: str, values: list[Any], kind: str, binary: bool) -> triton.InferInput:
    array = numpy.array(values, dtype={"INT64": "int64", "FP64": "float64", "BYTES": object}[kind])
    given = triton.InferInput(name, list(array.shape), kind)
    given.set_data_from_numpy(array, binary_data=binary)
    return given


@pytest.mark.parametrize("binary_out", [True, False], ids=["bytes out", "JSON out"])
@pytest.mark.parametrize("binary_in", [True, False], ids=["bytes in", "JSON in"])
def test_the_real_client_of_the_protocol_is_served(
    client: triton.InferenceServerClient, binary_in: bool, binary_out: bool
) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("churn", headers=authorized())
    assert client.is_model_ready("churn", "3", headers=authorized())
    assert client.get_server_metadata(headers=authorized())["extensions"] == ["binary_tensor_data"]
    described = client.get_model_metadata("churn", headers=authorized())
    assert [each["name"] for each in described["inputs"]] == ["age", "spend", "city"]
    inputs = [
        column("age", [31, 45], "INT64", binary_in),
        column("spend", [10.5, 20.0], "FP64", binary_in),
        column("city", ["Rome", "Oslo"], "BYTES", binary_in),
    ]
    outputs = [triton.InferRequestedOutput(name, binary_data=binary_out) for name in ("predictions", "probabilities")]
    for version in ("", "3"):
        result = client.infer("churn", inputs, version, outputs, request_id="42", headers=authorized())
        found = result.as_numpy("predictions").tolist()
        assert [each.decode() if isinstance(each, bytes) else each for each in found] == ["stays", "leaves"]
        assert result.as_numpy("probabilities").shape == (2, 2)
        assert result.get_response()["id"] == "42"


def test_the_real_client_hears_what_is_wrong(client: triton.InferenceServerClient) -> None:
    wrong = [
        column("age", [31], "INT64", True),
        column("spend", [1.0], "FP64", True),
        column("city", [1], "INT64", True),
    ]
    with pytest.raises(InferenceServerException, match="input 'city' is INT64, the model takes BYTES"):
        client.infer("churn", wrong, headers=authorized())
    with pytest.raises(InferenceServerException, match="a key is missing or wrong"):
        client.infer("churn", wrong)
    with pytest.raises(InferenceServerException, match="there is no model 'other': this server has 'churn'"):
        client.get_model_metadata("other", headers=authorized())


@pytest.mark.parametrize("kind", ["FP16", "FP32", "FP64", "INT32"])
def test_numbers_of_every_width_are_one_tensor(kind: str, tmp_path: Path) -> None:
    array = numpy.array(
        [[1, 1], [2, 0]], dtype={"FP16": "float16", "FP32": "float32", "FP64": "float64", "INT32": "int32"}[kind]
    )
    given = triton.InferInput("whatever", [2, 2], kind)
    given.set_data_from_numpy(array, binary_data=True)
    with serving(tmp_path, {"model.joblib": made.joblib_file(made.named())}, authMode="none") as pod:
        with triton.InferenceServerClient(f"127.0.0.1:{pod.port}") as client:
            assert numpy.allclose(client.infer("churn", [given]).as_numpy("predictions"), [3.0, 2.0])
        raw = pod.request("POST", "/v2/models/churn/infer", b"", Inference_Header_Content_Length="0")
        assert raw.code == 400


GOOD = ["/", "/healthz", "/readyz", "/metrics", "/docs", "/v2/health/live", "/v2/health/ready"]
CLOSED = [
    "/v2",
    "/v2/models/churn",
    "/v2/models/churn/ready",
    "/v2/models/churn/versions/3",
    "/openapi.json",
    "/swagger.json",
]
ASKED = ["/score", "/invocations", "/v2/models/churn/infer", "/v2/models/churn/versions/3/infer"]


def test_every_route_is_closed_unless_it_is_listed_as_open(pod: ScoringPod) -> None:
    assert [pod.get(path).code for path in GOOD] == [200] * len(GOOD)
    for path in CLOSED:
        assert (pod.get(path).code, pod.request("GET", path, **authorized()).code) == (401, 200), path
    for path in ASKED:
        assert (pod.request("POST", path, b"{}").code, post(pod, path, b"{}").code) == (401, 400), path
    listed = pod.request("GET", "/openapi.json", **authorized()).json["paths"]
    assert set(listed) <= {*GOOD, *CLOSED, *ASKED, "/v2/models/churn/versions/3/ready"}
    assert pod.get("/v2/models/other").code == 401


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/v2/models/other", 404),
        ("GET", "/v2/models/churn/versions/9", 404),
        ("GET", "/invocations", 405),
        ("PUT", "/score", 405),
        ("POST", "/docs", 405),
        ("GET", "/swagger.json?version=2", 404),
    ],
)
def test_what_is_not_there_is_told(pod: ScoringPod, method: str, path: str, code: int) -> None:
    answer = pod.request(method, path, **authorized())
    assert answer.code == code
    assert next(iter(answer.json.values()))


ROW = b'[[31, 10.5, "Rome"]]'


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "the body is empty"),
        (b"{", "the body is no JSON"),
        (b"\xff\xfe", "the body is no JSON"),
        (b'{"data": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", "the body is no JSON"),
        (
            b'{"data": ' + b"[" * 900 + b"]" * 900 + b"}",
            "row 0 of 'data' has 1 values, the model takes 3 (age, spend, city)",
        ),
        (b'{"data": [[31, 10.5]]}', "row 0 of 'data' has 2 values, the model takes 3 (age, spend, city)"),
        (
            b'{"data": [[31, 10.5, "Rome"], ["x", 1, "Rome"]]}',
            "row 1, column 'age': \"x\" is a text, the model takes an integer",
        ),
        (b'{"data": [[NaN, 10.5, "Rome"]]}', "row 0, column 'age': it is missing, the model takes an integer"),
        (b'{"data": [[' + b"9" * 400 + b', 10.5, "Rome"]]}', "the body is no JSON"),
        (b'{"data": [[99999999999999999999, 10.5, "Rome"]]}', "beyond 64 bits"),
        (b'{"data": [[31, ' + b"9" * 400 + b", NaN]]}", "row 0, column 'spend': 9999"),
        (b'{"data": [[31, Infinity, "Rome"]]}', "Input X contains infinity"),
        (
            b'{"data": [{"age": 31, "spend": 1, "town": "Rome"}]}',
            "row 0 of 'data' has a column 'town', which the model does not know",
        ),
        (b'{"data": [{"age": 31, "spend": 1}]}', "row 0 of 'data' has no column 'city' (a text)"),
        (b'{"data": [[31, 10.5, {"a": [1]}]]}', "row 0, column 'city': it is an object, the model takes a text"),
        (b'{"data": "x"}', "'data' is no list of rows"),
    ],
    ids=range(16),
)
def test_a_bad_body_is_told_and_the_next_one_served(pod: ScoringPod, body: bytes, told: str) -> None:
    answer = post(pod, "/score", body)
    assert answer.code == 400, answer.body
    assert told in answer.json["message"]
    assert pod.score({"data": [[31, 10.5, "Rome"]]}).code == 200


def test_a_request_is_found_again_by_its_identifiers_and_one_that_is_too_long_is_refused(pod: ScoringPod) -> None:
    body = json.dumps({"data": [[31, 10.5, "Rome"]]}).encode()
    answer = pod.request("POST", "/score", body, **authorized(), x_request_id="mine", x_ms_client_request_id="theirs")
    assert (answer.code, answer.headers["x-request-id"], answer.headers["x-ms-client-request-id"]) == (
        200,
        "mine",
        "theirs",
    )
    refused = pod.request("POST", "/v2/models/churn/infer", body, **authorized(), x_request_id="m" * 101)
    assert refused.code == 431 and "x-request-id must not exceed 100 characters" in refused.json["error"]


@pytest.mark.parametrize("path", ASKED)
def test_no_body_whatever_is_answered_by_a_failure(pod: ScoringPod, path: str) -> None:
    bodies = [
        b"null",
        b"1",
        b'"x"',
        b"[]",
        b"[[]]",
        b"[null]",
        b"{}",
        b'{"data": {}}',
        b'{"data": [{}]}',
        b'{"inputs": {}}',
    ]
    bodies += [b'{"inputs": [{"name": "age", "datatype": "INT64", "shape": [0], "data": []}]}', b'{"instances": [[]]}']
    bodies += [
        b'{"dataframe_split": {"columns": [], "data": [[]]}}',
        b'{"input_data": {"columns": [[1]], "data": [[1]]}}',
    ]
    for body in bodies:
        answer = post(pod, path, body)
        assert answer.code == 400, (body, answer.body)
        assert next(iter(answer.json.values()))


def test_a_body_over_the_limit_and_one_that_is_packed_are_refused(pod: ScoringPod) -> None:
    assert post(pod, "/v2/models/churn/infer", b"x" * 2_000_000).code == 413
    packed = pod.request("POST", "/score", b"x", Content_Encoding="gzip", **authorized())
    assert (packed.code, "send the body as it is" in packed.json["message"]) == (415, True)
    assert post(pod, "/invocations", b"x", kind="text/plain").code == 415


def test_nothing_of_requests_or_keys_is_logged(pod: ScoringPod) -> None:
    post(pod, "/score", b'{"data": [["tell-nobody", 1, "Rome"]]}')
    assert "tell-nobody" not in pod.log
    assert PRIMARY not in pod.log


FAILING = """
class Slow:
    def predict(self, X):
        import time
        if float(X[0, 0]) == 1:
            time.sleep(30)
        return 1 / (X[:, 0] - 2) if float(X[0, 0]) != 3 else {}["told only in the log"]
"""


def test_a_prediction_that_takes_too_long_or_fails_is_told_without_its_inside(tmp_path: Path) -> None:
    files = made.own_model_file(FAILING, "Slow")
    with serving(tmp_path, files, requestSettings={"requestTimeoutSeconds": 1}) as pod:
        late = pod.score({"data": [[1.0]]})
        assert (late.code, late.json["message"]) == (
            408,
            "the prediction took more than 1 s (requestSettings.requestTimeout)",
        )
        failed = pod.score({"data": [[3.0]]})
        assert (failed.code, failed.json) == (
            500,
            {"message": "the model failed with a KeyError: see the server's log"},
        )
        assert "told only in the log" in pod.log
        assert pod.score({"data": [[4.0]]}).json == {"predictions": [0.5]}


@pytest.mark.parametrize(
    ("files", "named", "told"),
    [
        ({"m.joblib": made.joblib_file(made.linear())[:100]}, None, "'m.joblib' cannot be loaded as a joblib model"),
        ({"m.onnx": made.joblib_file(made.linear())}, None, "it is a pickle; register a ModelProto"),
        (
            {"m.bin": made.joblib_file(made.linear())},
            "skops",
            "'m.bin' cannot be loaded as a skops model: it is a pickle",
        ),
    ],
    ids=["cut short", "another format", "another format than said"],
)
def test_a_model_that_cannot_be_loaded_ends_the_pod_with_words(
    files: dict[str, bytes], named: str | None, told: str, tmp_path: Path
) -> None:
    pod = ScoringPod(tmp_path, None, files)
    pod.contract["model"] |= {"format": named} if named else {}
    try:
        assert pod.start().wait(60) == 1
        assert pod.message["reason"] == "ModelNotLoadable"
        assert told in pod.message["message"]
    finally:
        pod.end()
