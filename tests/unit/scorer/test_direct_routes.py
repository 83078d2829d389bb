"""The routes of a model that is served directly, and the document that describes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from smalt_scorer.models import load
from smalt_scorer.models.loaded import LoadedModel, Refused
from smalt_scorer.protocols.openapi import document
from smalt_scorer.protocols.page import page
from smalt_scorer.protocols.question import BadRequest, Question, UnsupportedType
from smalt_scorer.protocols.routes import FIXED, OF_MODEL, NoSuchRoute, Routes
from smalt_scorer.raw_request import RawRequest
from support import served_models as made

FILES = {
    "numbers": {"m.joblib": made.joblib_file(made.linear())},
    "named": {"m.joblib": made.joblib_file(made.named())},
    "customers": {"m.joblib": made.joblib_file(made.customers())},
    "customers with a schema": {"m.joblib": made.joblib_file(made.customers()), "schema.json": made.schema_file()},
    "texts": {"m.joblib": made.joblib_file(made.comments())},
    "several": {"m.joblib": made.joblib_file(made.several_classes())},
    "onnx": {"m.onnx": made.onnx_customers()},
}


def loaded(name: str, folder: Path) -> LoadedModel:
    for file, content in FILES[name].items():
        (folder / file).write_bytes(content)
    return load(folder)


@pytest.fixture(params=FILES)
def model(request: pytest.FixtureRequest, tmp_path: Path) -> LoadedModel:
    return loaded(request.param, tmp_path)


@pytest.fixture
def routes(tmp_path: Path) -> Routes:
    return Routes(loaded("named", tmp_path), "churn", "3", needs_key=True)


def answered(question: Question, model: LoadedModel) -> Any:
    return json.loads(question.reply(model.predict(question.batch, question.wanted)).body)


def examples(content: dict[str, Any]) -> list[Any]:
    return [each["value"] for each in content["examples"].values()] if "examples" in content else [content["example"]]


def test_every_example_of_the_document_is_answered(model: LoadedModel) -> None:
    routes = Routes(model, "churn", "3", needs_key=True)
    described = json.loads(routes.read(routes.find("/openapi.json"), "")[1].body)
    asked = 0
    for path, methods in described["paths"].items():
        if "post" not in methods:
            continue
        for kind, content in methods["post"]["requestBody"]["content"].items():
            for example in examples(content):
                body = example.encode() if isinstance(example, str) else json.dumps(example).encode()
                question = routes.ask(routes.find(path), RawRequest(headers=[(b"content-type", kind.encode())]), body)
                assert answered(question, model)
                asked += 1
                if kind == "application/json":
                    schema = {"$ref": "#/schema", "schema": content["schema"], "components": described["components"]}
                    jsonschema_rs.validate(schema, example)
    assert asked >= 5


def test_the_document_describes_every_route(model: LoadedModel) -> None:
    paths = document(model, "churn", "3", needs_key=True)["paths"]
    of_model = [
        f"{base}{'/' + each if each else ''}"
        for base in ("/v2/models/churn", "/v2/models/churn/versions/3")
        for each in OF_MODEL
    ]
    assert set(FIXED) | set(of_model) <= set(paths)
    assert set(paths) - set(FIXED) - set(of_model) == {"/", "/healthz", "/readyz", "/metrics"}
    operations = [each["operationId"] for methods in paths.values() for each in methods.values()]
    assert len(set(operations)) == len(operations)


def test_the_document_says_which_routes_need_a_key(routes: Routes) -> None:
    paths = document(routes.model, "churn", "3", needs_key=True)["paths"]
    for path in set(paths) - {"/", "/healthz", "/readyz", "/metrics"}:
        (operation,) = paths[path].values()
        assert ("security" in operation) is not routes.find(path).is_open, path
    opened = document(routes.model, "churn", "3", needs_key=False)
    assert "securitySchemes" not in opened["components"]
    assert not any("security" in each for methods in opened["paths"].values() for each in methods.values())


def test_only_probes_and_the_page_are_open() -> None:
    assert {path for path, route in FIXED.items() if route.is_open} == {"/docs", "/v2/health/live", "/v2/health/ready"}
    assert not any(route.is_open for route in OF_MODEL.values())


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/score", "score"),
        ("/v2/", "server"),
        ("/v2/health/ready/", "ready"),
        ("/v2/models/churn", "metadata"),
        ("/v2/models/churn/versions/3", "metadata"),
        ("/v2/models/churn/ready", "ready"),
        ("/v2/models/churn/versions/3/infer", "infer"),
    ],
)
def test_a_path_is_found(path: str, name: str, routes: Routes) -> None:
    assert routes.find(path).name == name


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/v2/models/other/infer", "there is no model 'other': this server has 'churn'"),
        ("/v2/models/churn/versions/2/infer", "there is no version '2' of 'churn': this server has 3"),
        ("/v2/models/churn/stats", "model 'churn' has no stats"),
        ("/v2/models/churn/infer/more", "model 'churn' has no infer/more"),
        ("/v2/models", "there is no /v2/models"),
        ("/v2/models/churn/versions", "model 'churn' has no versions"),
        ("/score/", "there is no /score/"),
        ("/nothing", "there is no /nothing: ask POST /score"),
    ],
)
def test_a_path_that_is_not_there_is_told(path: str, told: str, routes: Routes) -> None:
    with pytest.raises(NoSuchRoute) as caught:
        routes.find(path)
    assert told in str(caught.value)


def test_what_is_read_without_asking_the_model(routes: Routes) -> None:
    def read(path: str, query: str = "", is_ready: bool = True) -> tuple[int, Any]:
        code, reply = routes.read(routes.find(path), query, is_ready)
        return code, json.loads(reply.body)

    assert read("/v2") == (200, {"name": "smalt", "version": "0.1.0", "extensions": ["binary_tensor_data"]})
    assert read("/v2/health/live") == (200, {"live": True})
    assert read("/v2/health/ready")[0] == 200
    assert read("/v2/models/churn/ready", is_ready=False) == (503, {"name": "churn", "ready": False})
    assert [each["name"] for each in read("/v2/models/churn")[1]["inputs"]] == ["age", "visits"]
    assert read("/swagger.json")[1] == read("/swagger.json", "version=3.1")[1] == read("/openapi.json")[1]
    assert read("/swagger.json", "version=2") == (
        404,
        {"message": "there is no description of version '2': ask for 3.1"},
    )


def test_a_query_is_the_body_that_it_stands_for(routes: Routes) -> None:
    question = routes.ask(routes.find("/score"), RawRequest("GET", query=b"data=[[1,1]]&method=predict"), b"")
    assert answered(question, routes.model) == {"predictions": [pytest.approx(3.0)]}
    for query in ("", "data=1", "data=[[1,1]", "data=" + "[" * 5000):
        with pytest.raises(BadRequest):
            routes.ask(routes.find("/score"), RawRequest("GET", query=query.encode("latin-1")), b"")


def test_a_packed_body_is_refused(routes: Routes) -> None:
    with pytest.raises(UnsupportedType, match="Content-Encoding is 'gzip': send the body as it is"):
        routes.ask(routes.find("/score"), RawRequest(headers=[(b"content-encoding", b"gzip")]), b"")


@pytest.mark.parametrize(
    ("path", "error", "code", "body"),
    [
        ("/score", BadRequest("row 0"), 400, {"message": "row 0"}),
        ("/score", Refused("NaN"), 400, {"message": "NaN"}),
        ("/invocations", UnsupportedType("send JSON"), 415, {"message": "send JSON"}),
        ("/v2/models/churn/infer", BadRequest("row 0"), 400, {"error": "row 0"}),
    ],
)
def test_an_error_is_told_in_the_words_of_its_protocol(
    path: str, error: Any, code: int, body: dict[str, str], routes: Routes
) -> None:
    found, reply = routes.problem(routes.find(path), error)
    assert (found, json.loads(reply.body)) == (code, body)


def test_a_model_that_fails_is_told_by_the_class_of_its_error(routes: Routes) -> None:
    code, reply = routes.failed(routes.find("/score"), "KeyError")
    assert (code, json.loads(reply.body)) == (
        500,
        {"message": "the model failed with a KeyError: see the server's log"},
    )


def test_the_page_says_nothing_of_a_model_and_may_ask_only_its_own_server() -> None:
    policy = page().headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "connect-src 'self'" in policy
    assert "unsafe" not in policy
    assert b"://" not in page().body
    assert b" src=" not in page().body
