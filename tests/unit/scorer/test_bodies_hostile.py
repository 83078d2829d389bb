"""Whatever is sent: a model that is served directly refuses in words or answers, and nothing else comes of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smalt_scorer.models import load
from smalt_scorer.models.loaded import LoadedModel, Refused
from smalt_scorer.protocols.question import BadRequest
from smalt_scorer.protocols.routes import Routes
from smalt_scorer.raw_request import RawRequest
from support import served_models as made

# Hundreds of bodies for each of several models.
pytestmark = pytest.mark.slow

FILES = {
    "numbers": {"m.joblib": made.joblib_file(made.linear())},
    "customers": {"m.joblib": made.joblib_file(made.customers())},
    "customers with a schema": {"m.joblib": made.joblib_file(made.customers()), "schema.json": made.schema_file()},
    "texts": {"m.joblib": made.joblib_file(made.comments())},
    "onnx": {"m.onnx": made.onnx_customers()},
}
PATHS = ("/score", "/invocations", "/v2/models/churn/infer")
NAMES = ["age", "spend", "city", "input-0", "x", "predictions", "probabilities"]
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.sampled_from(["", "Rome", "NaN", "é\0", *NAMES]),
    st.sampled_from([0, 1, 2, 31]),
)
KEYS = st.sampled_from(
    [
        *NAMES,
        *("data", "inputs", "input_data", "columns", "index", "instances", "dataframe_split", "dataframe_records"),
        *("method", "name", "shape", "datatype", "parameters", "outputs", "id", "params"),
        *("binary_data_size", "binary_data_output"),
    ]
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)
ROWS = st.lists(
    st.lists(LEAVES, min_size=1, max_size=3) | st.fixed_dictionaries(dict.fromkeys(NAMES[:3], LEAVES)), max_size=3
)
TENSORS = st.fixed_dictionaries(
    {
        "name": st.sampled_from(NAMES),
        "shape": st.lists(st.integers(-1, 3), max_size=3),
        "datatype": st.sampled_from(["BOOL", "INT8", "UINT64", "INT64", "FP16", "FP32", "FP64", "BYTES", "BF16"]),
        "data": st.lists(LEAVES, max_size=6),
    }
)
BODIES = st.one_of(
    VALUES,
    st.fixed_dictionaries({"data": ROWS}),
    st.fixed_dictionaries({"instances": ROWS}),
    st.fixed_dictionaries(
        {"inputs": st.dictionaries(st.sampled_from(NAMES[:4]), st.lists(LEAVES, max_size=3), max_size=3)}
    ),
    st.fixed_dictionaries(
        {"dataframe_split": st.fixed_dictionaries({"columns": st.permutations(NAMES[:3]), "data": ROWS})}
    ),
    st.fixed_dictionaries({"inputs": st.lists(TENSORS, max_size=3)}),
)


@pytest.fixture(scope="module", params=FILES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder = tmp_path_factory.mktemp("model")
    for file, content in FILES[request.param].items():
        (folder / file).write_bytes(content)
    return load(folder)


def attempt(model: LoadedModel, path: str, headers: dict[str, bytes], body: bytes) -> None:
    routes = Routes(model, "churn", "3", needs_key=False)
    route = routes.find(path)
    try:
        question = routes.ask(route, RawRequest(headers=[(k.encode(), v) for k, v in headers.items()]), body)
        question.reply(model.predict(question.batch, question.wanted))
    except (BadRequest, Refused) as error:
        code, reply = routes.problem(route, error)
        assert code in (400, 415)
        assert all(json.loads(reply.body).values())


@pytest.mark.parametrize("path", PATHS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=BODIES)
@pytest.mark.filterwarnings("ignore")
def test_any_json_is_answered_or_refused(model: LoadedModel, path: str, body: Any) -> None:
    attempt(model, path, {"content-type": b"application/json"}, json.dumps(body).encode())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.binary(max_size=60) | st.text('0123,\n"ageNspndity.-', max_size=60).map(str.encode),
    length=st.integers(0, 70),
)
@pytest.mark.filterwarnings("ignore")
def test_any_bytes_are_answered_or_refused(model: LoadedModel, body: bytes, length: int) -> None:
    for path in PATHS:
        attempt(model, path, {"content-type": b"text/csv"}, body)
        attempt(
            model, path, {"content-type": b"application/json", "inference-header-content-length": b"%d" % length}, body
        )
