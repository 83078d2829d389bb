"""Score scripts as people write them for Azure, and requests that show every point of the contract."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from support.score_servers import Asked, Setup

_JSON = (("Content-Type", "application/json"),)


@dataclass(frozen=True)
class Case:
    """One request to a server that was started with the group's setup."""

    name: str
    asked: Asked


@dataclass(frozen=True)
class Group:
    """Requests in one order to one server."""

    name: str
    setup: Setup
    cases: Sequence[Case]


def post(name: str, body: Any, *headers: tuple[str, str]) -> Case:
    """A body of bytes as it is, anything else as JSON; as JSON too unless a header says otherwise."""
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    typed = () if any(key == "Content-Type" for key, _ in headers) else _JSON
    return Case(name, Asked(body=text, headers=(*typed, *headers)))


def ask(name: str, method: str, path: str, *headers: tuple[str, str], body: bytes = b"") -> Case:
    return Case(name, Asked(method, path, body, headers))


def evaluated(name: str, expression: str) -> Case:
    """What run() gives back is this expression."""
    return post(name, {"give": expression})


EVALUATES = """
import datetime, decimal, json, sys, threading, time
import numpy, pandas

def init():
    global ready
    ready = True

def run(raw_data):
    return eval(json.loads(raw_data)["give"])
"""

RESULTS = {
    "dict": "{'a': [1, None, True, 'ä'], 'b': {}}",
    "list": "[1, 2.5]",
    "tuple": "(1, 2)",
    "text": "'plain'",
    "text that is JSON": "json.dumps({'a': 1})",
    "none": "None",
    "number": "1.5",
    "true": "True",
    "nan": "[float('nan'), float('inf')]",
    "keys that are numbers": "{1: 2, None: 3}",
    "half a surrogate pair": "'\\ud800'",
    "empty": "''",
    "large": "'x' * 3_000_000",
    "main thread": "threading.current_thread() is threading.main_thread()",
    "ndarray": "numpy.array([[1.5, 2.5]])",
    "numpy scalar": "numpy.float32(0.5)",
    "numpy integer in a dict": "{'n': numpy.int64(7)}",
    "numpy keys": "{numpy.int64(1): 2}",
    "DataFrame": "pandas.DataFrame({'a': [1, 2]})",
    "Series": "pandas.Series([1, 2])",
    "bytes": "b'abc'",
    "set": "{1}",
    "datetime": "datetime.datetime(2026, 1, 2)",
    "object": "object()",
    "decimal": "decimal.Decimal(1)",
    "tuple keys": "{(1, 2): 3}",
    "bytes that are no text": "b'\\xff'",
    "raises": "1 / 0",
    "raises TimeoutError": "(_ for _ in ()).throw(TimeoutError('elsewhere'))",
    "exits": "sys.exit(3)",
}

PLAIN = Group(
    "plain",
    Setup({"score.py": EVALUATES}),
    [
        *(evaluated(name, expression) for name, expression in RESULTS.items()),
        post("body that is no JSON", b"{"),
        post("empty body", b""),
        post("no UTF-8", b"\xff"),
        post("no content type", b'{"give": "1"}', ("Content-Type", "")),
        post("form", b"give=1", ("Content-Type", "application/x-www-form-urlencoded")),
        post(
            "multipart",
            b'--x\r\nContent-Disposition: form-data; name="give"\r\n\r\n1\r\n--x--\r\n',
            ("Content-Type", "multipart/form-data; boundary=x"),
        ),
        post("image", b'{"give": "1"}', ("Content-Type", "image/png")),
        ask("query", "GET", f"/score?give={quote('1+1')}"),
        ask("HEAD /score", "HEAD", "/score?give=1"),
        ask("PUT /score", "PUT", "/score", body=b"{}"),
        ask("OPTIONS /score", "OPTIONS", "/score"),
        ask("GET /", "GET", "/"),
        ask("HEAD /", "HEAD", "/"),
        ask("POST /", "POST", "/"),
        ask("unknown path", "GET", "/no-such"),
        ask("swagger", "GET", "/swagger.json"),
        *(
            ask(f"swagger {version}", "GET", f"/swagger.json?version={version}")
            for version in ("2", "2.0", "3", "3.0", "3.1", "1", "", "x")
        ),
        ask("POST /swagger.json", "POST", "/swagger.json"),
    ],
)

_ECHOES = """
import json

def init(): pass

def run(raw_data, request_headers):
    shown = ("Content-Type", "X-Mine", "X-Ms-Request-Id", "Host-Absent", "Content-Length")
    return {"raw": raw_data, "type": type(request_headers).__mro__[-2].__name__, "headers": {k: request_headers.get(k) for k in shown}}
"""
_LONG = "x" * 101

HEADERS = Group(
    "headers",
    Setup({"score.py": _ECHOES}),
    [
        post("given to run", b"raw", ("X-Mine", "a"), ("X-Mine", "b")),
        ask("query", "GET", "/score?a=1&b=[1,2]&c=a&d=null&e=&f=NaN"),
        ask("repeated in a query", "GET", "/score?foo=bar1&foo=2&x=y"),
        ask("escaped in a query", "GET", "/score?n=%C3%A4&m=a%20b+c"),
        ask("no UTF-8 in a query", "GET", "/score?n=%FF"),
        ask("no query", "GET", "/score"),
        post("made up", b""),
        post("x-request-id", b"", ("x-request-id", "one")),
        post("x-ms-request-id", b"", ("x-ms-request-id", "two")),
        post("x-ms-client-request-id", b"", ("x-ms-client-request-id", "three")),
        post(
            "all",
            b"",
            ("x-request-id", "1"),
            ("x-ms-request-id", "2"),
            ("x-ms-client-request-id", "3"),
            ("TraceId", "4"),
        ),
        post("x-request-id too long", b"", ("x-request-id", _LONG)),
        post("x-ms-request-id too long", b"", ("x-ms-request-id", _LONG)),
        post("x-ms-client-request-id too long", b"", ("x-request-id", "1"), ("x-ms-client-request-id", _LONG)),
        post("just not too long", b"", ("x-request-id", _LONG[1:])),
        ask("of a probe", "GET", "/", ("x-request-id", "1"), ("TraceId", "t")),
        ask("of a probe, too long", "GET", "/", ("x-request-id", _LONG)),
        ask("of swagger", "GET", "/swagger.json?version=3", ("x-ms-client-request-id", "1")),
        post("without an origin allowed", b"", ("Origin", "https://a.example")),
    ],
)


def raw_script(modules: str) -> str:
    """A @rawhttp script that gets its names from one of the two packages."""
    return f"""
import json
import flask
from {modules}.aml_request import AMLRequest, rawhttp
from {modules}.aml_response import AMLResponse

def init(): pass

@rawhttp
def run(request):
    return eval(request.args["give"] if "give" in request.args else request.get_data(False))
"""


def given(name: str, expression: str, body: bytes = b"", *headers: tuple[str, str], method: str = "POST") -> Case:
    """A @rawhttp run()'s result is this expression."""
    return Case(name, Asked(method, f"/score?give={quote(expression)}", body, headers))


_PICTURE = "AMLResponse(b'\\x89PNG', 200, {'Content-Type': 'image/png'})"
RAW = [
    given("bytes as they are", _PICTURE),
    given("text", "AMLResponse('text', 201)"),
    given("JSON", "AMLResponse({'a': 1}, 200, json_str=True)"),
    given("none", "AMLResponse(None, 200)"),
    given("headers", "AMLResponse('x', 200, {'X-Mine': 'a, b', 'X-Other': 'c'})"),
    given("failed", "AMLResponse('no', 400, run_function_failed=True)"),
    given("bad request", "AMLResponse('bad request', 400)"),
    given("server error", "AMLResponse('broken', 503)"),
    given("own exec time", "AMLResponse('x', 200, {'x-ms-request-id': 'own'})"),
    given("flask", "flask.Response('x', 202, {'X-Mine': '1'}, mimetype='text/csv')"),
    given("flask, server error", "flask.Response('x', 500)"),
    given("flask, streamed", "flask.Response(iter(['a', 'b']), mimetype='text/plain')"),
    given("flask, no content", "flask.Response(status=204)"),
    given("cookies", "(lambda r: (r.set_cookie('a', '1'), r.set_cookie('b', '2'), r)[2])(flask.Response('x'))"),
    given("jsonify", "flask.jsonify(a=1)"),
    given("plain dict", "{'a': 1}"),
    given("plain none", "None"),
    given("plain text", "'x'"),
    given("method", "request.method", method="GET"),
    given("is a request", "isinstance(request, flask.Request)"),
    given("flask.request", "[flask.request.method, flask.request.args['give'][:3]]"),
    given(
        "headers of the request",
        "[request.headers.get('X-Mine'), request.headers['content-type']]",
        b"x",
        ("X-Mine", "a"),
        ("Content-Type", "a/b"),
    ),
    given("data", "request.data.decode()", b"body", ("Content-Type", "text/plain")),
    given("form", "request.form.to_dict()", b"a=1&b=2", ("Content-Type", "application/x-www-form-urlencoded")),
    given(
        "file",
        "request.files['f'].read().decode()",
        b'--x\r\nContent-Disposition: form-data; name="f"; filename="f.txt"\r\n\r\nhello\r\n--x--\r\n',
        ("Content-Type", "multipart/form-data; boundary=x"),
    ),
    given("json", "request.get_json()", b'{"a": 1}', *_JSON),
    given("json that is none", "request.get_json()", b"{", *_JSON),
    given("path", "[request.path, request.content_length, request.mimetype]", b"abc", ("Content-Type", "a/b")),
    given("cookies of the request", "request.cookies.to_dict()", b"", ("Cookie", "a=1; b=2")),
    given("address", "[request.host, request.url.partition('?')[0]]", b"", ("Host", "churn.example")),
    given("raises", "1 / 0"),
    given("aborts", "flask.abort(404)"),
    Case("no UTF-8", Asked(body=b"'\xff'")),
    given("other method", "1", method="DELETE"),
    given("OPTIONS", "AMLResponse('x', 200)", method="OPTIONS"),
    given("HEAD", "AMLResponse('x', 200)", method="HEAD"),
]
RAW_GROUPS = [
    Group("raw", Setup({"score.py": raw_script("azureml.contrib.services")}), RAW),
    Group("raw again", Setup({"score.py": raw_script("azureml_inference_server_http.api")}), RAW[:4]),
]

_DECORATED = """
import numpy, pandas
from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType
from inference_schema.parameter_types.pandas_parameter_type import PandasParameterType
from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType
from inference_schema.schema_decorators import input_schema, output_schema

def init(): pass

@input_schema("data", PandasParameterType(pandas.DataFrame({"age": [41], "name": ["x"]})))
@input_schema("weights", NumpyParameterType(numpy.array([1.5, 2.5])))
@input_schema("mode", StandardPythonParameterType("sum"))
@output_schema(StandardPythonParameterType({"ages": [1.0]}))
def run(data, weights, mode="sum"):
    return {"ages": data["age"].tolist(), "weights": weights.tolist(), "mode": mode, "kind": type(data).__name__}
"""
_GOOD = {"data": [{"age": 1, "name": "a"}, {"age": 2, "name": "b"}], "weights": [1, 2]}
DECORATED = Group(
    "decorated",
    Setup({"score.py": _DECORATED}),
    [
        post("good", _GOOD),
        post("good with its default given", {**_GOOD, "mode": "mean", "unknown": 1}),
        post("problem+json", _GOOD, ("Content-Type", "application/problem+json; charset=utf-8")),
        post("UTF-16", json.dumps(_GOOD).encode("utf-16")),
        post("text/plain", _GOOD, ("Content-Type", "text/plain")),
        post("form", b"data=1", ("Content-Type", "application/x-www-form-urlencoded")),
        post("no content type", _GOOD, ("Content-Type", "")),
        post("empty", b""),
        post("no JSON", b"{"),
        post("no UTF-8", b"\xff\xfe\xff"),
        post("list", [1]),
        post("null", b"null"),
        post("parameter missing", {"data": []}),
        post("wrong type", {"data": 1, "weights": [1]}),
        post("wrong shape", {"data": [], "weights": "x"}),
        post("10,000 levels deep", b"[" * 10_000 + b"]" * 10_000),
        ask("query", "GET", f"/score?data={quote(json.dumps(_GOOD['data']))}&weights=[1,2]"),
        ask("query without one", "GET", "/score?data=[]"),
        *(ask(f"swagger {version}", "GET", f"/swagger.json?version={version}") for version in ("2", "3", "3.1")),
    ],
)

_POWER_BI = """
import numpy, pandas
from inference_schema.parameter_types.pandas_parameter_type import PandasParameterType
from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType
from inference_schema.schema_decorators import input_schema, output_schema

sample = StandardPythonParameterType({"input1": PandasParameterType(pandas.DataFrame({"WEEK": [1], "STORE": [2]}))})

def init(): pass

@input_schema("Inputs", sample)
@input_schema("GlobalParameters", StandardPythonParameterType(1.0))
@output_schema(StandardPythonParameterType({"Results": {"output1": [1.0, 2.0]}}))
def run(Inputs, GlobalParameters, request_headers):
    table = Inputs["input1"]
    return {"Results": {"output1": (table["WEEK"] * GlobalParameters).tolist(), "has": "Content-Type" in request_headers}}
"""
POWER_BI = Group(
    "power bi",
    Setup({"score.py": _POWER_BI}),
    [
        post(
            "good", {"Inputs": {"input1": [{"WEEK": 1, "STORE": 2}, {"WEEK": 3, "STORE": 4}]}, "GlobalParameters": 2.0}
        ),
        post("without parameters", {"Inputs": {"input1": []}}),
        post("wrong type", {"Inputs": [], "GlobalParameters": 1.0}),
        *(ask(f"swagger {version}", "GET", f"/swagger.json?version={version}") for version in ("2", "3", "3.1")),
    ],
)

_MIXED = """
from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType
from inference_schema.schema_decorators import input_schema

def init(): pass

@input_schema("data", StandardPythonParameterType([1, "a", [True]]))
def run(data):
    return data
"""
MIXED = Group(
    "no swagger 2",
    Setup({"score.py": _MIXED}),
    [
        post("good", {"data": [1, "a", [True]]}),
        *(ask(f"swagger {version}", "GET", f"/swagger.json?version={version}") for version in ("2", "3", "3.1", "4")),
    ],
)

_PLAIN = "def init(): pass\ndef run(raw_data): return eval(raw_data)"
NAMED = Group(
    "names",
    Setup({"score.py": _PLAIN}, {"SERVICE_NAME": "churn", "SERVICE_PATH_PREFIX": "api/v1", "SERVICE_VERSION": "2.1"}),
    [ask(f"swagger {version}", "GET", f"/swagger.json?version={version}") for version in ("2", "3")]
    + [post("score", b"1")],
)
OWN_SWAGGER = Group(
    "own swagger",
    Setup(
        {
            "score.py": _PLAIN,
            "swagger.json": '{"mine": 2}',
            "swagger2.json": '{"mine": 0}',
            "swagger3.json": '{"mine": 3}',
        }
    ),
    [ask(f"swagger {version}", "GET", f"/swagger.json?version={version}") for version in ("2", "2.0", "3", "3.1")],
)
WRITTEN_SWAGGER = Group(
    "swagger written by init",
    Setup(
        {"score.py": "def init(): open('swagger.json', 'w').write('{\"by\": \"init\"}')\ndef run(raw_data): return 1"}
    ),
    [ask("swagger", "GET", "/swagger.json")],
)

_SLEEPS = """
import time

def init(): pass

def run(raw_data):
    try:
        time.sleep(float(raw_data))
    except ValueError:
        return "no number"
    return "slept"
"""
TIME_OUT = Group(
    "time-out",
    Setup({"score.py": _SLEEPS}, {"SCORING_TIMEOUT_MS": "400"}),
    [post("in time", b"0"), post("over its time", b"30"), post("after that", b"0")],
)
IN_FILE = Group(
    "config.json",
    Setup(
        {"score.py": _SLEEPS, "config.json": '{"SCORING_TIMEOUT_MS": 300, "SERVICE_NAME": "from a file", "mine": 1}'}
    ),
    [post("over its time", b"30"), ask("swagger", "GET", "/swagger.json")],
)
GIVEN_FILE = Group(
    "config_file",
    Setup(
        {"score.py": _SLEEPS, "sub/settings.json": '{"SERVICE_NAME": "from a file"}'},
        {"SERVICE_VERSION": "7"},
        ("--config_file", "sub/settings.json"),
    ),
    [ask("swagger", "GET", "/swagger.json")],
)

_PREFLIGHT = (
    ("Access-Control-Request-Method", "POST"),
    ("Access-Control-Request-Headers", "authorization, content-type"),
)


def _cross(origin: str) -> Iterator[Case]:
    yield post(f"from {origin}", b"1", ("Origin", origin))
    yield ask(f"preflight from {origin}", "OPTIONS", "/score", ("Origin", origin), *_PREFLIGHT)


CORS_GROUPS = [
    Group(
        "cors",
        Setup({"score.py": _PLAIN}, {"AML_CORS_ORIGINS": "https://a.example, https://b.example"}),
        [
            *_cross("https://A.example"),
            *_cross("https://c.example"),
            post("from nowhere", b"1"),
            ask("probe", "GET", "/", ("Origin", "https://b.example")),
            ask("swagger", "GET", "/swagger.json?version=1", ("Origin", "https://b.example")),
            ask(
                "method that is not allowed",
                "OPTIONS",
                "/score",
                ("Origin", "https://a.example"),
                ("Access-Control-Request-Method", "PUT"),
            ),
        ],
    ),
    Group(
        "cors, one",
        Setup({"score.py": _PLAIN}, arguments=("--access_control_allow_origins", "https://a.example")),
        [*_cross("https://a.example"), post("from nowhere", b"1")],
    ),
    Group(
        "cors, all",
        Setup({"score.py": _PLAIN}, {"AML_CORS_ORIGINS": "*"}),
        [*_cross("https://a.example"), post("from nowhere", b"1")],
    ),
    Group(
        "cors, expression",
        Setup({"score.py": _PLAIN}, {"AML_CORS_ORIGINS": r"https://.*\.example\.com"}),
        [
            *_cross("https://a.example.com"),
            post("from an origin that only begins so", b"1", ("Origin", "https://a.example.com.elsewhere")),
        ],
    ),
]

DRIVER = Group(
    "driver_module",
    Setup(
        {
            "score.py": "import user_score as driver_module\ndef init(): driver_module.init()\ndef run(*args, **kwargs): return 'driver'",
            "user_score.py": "def init():\n    global begun\n    begun = True\ndef run(data): return ['user', begun, data]",
        }
    ),
    [post("score", b"x")],
)
MAIN = Group(
    "main.py",
    Setup(
        {"main.py": "def init(): pass\ndef run(data): return 'main'", "config.json": '{"SERVICE_NAME": "x"}'},
        arguments=("--config_file", "config.json"),
        entry=None,
    ),
    [post("score", b"x"), ask("swagger", "GET", "/swagger.json")],
)
_IN_FOLDER = """
import os
import beside_root, beside_source

def init(): pass

def run(data):
    return [beside_root.A, beside_source.B, os.path.basename(os.getcwd()), os.environ["AML_APP_ROOT"] == os.getcwd()]
"""
SUBFOLDER = Group(
    "entry in a folder",
    Setup(
        {"onlinescoring/score.py": _IN_FOLDER, "beside_root.py": "A = 1", "source/beside_source.py": "B = 2"},
        {"AZUREML_SOURCE_DIRECTORY": "source"},
        entry="onlinescoring/score.py",
    ),
    [post("score", b"x")],
)
_SEES_MODEL = """
import os

def init():
    global seen
    seen = os.path.basename(os.environ["AZUREML_MODEL_DIR"])

def run(data):
    return seen
"""
MODEL_DIR = Group("model directory", Setup({"score.py": _SEES_MODEL}), [post("score", b"x")])
_LOGS = {
    "version": 1,
    "formatters": {
        "f": {"()": "azureml_inference_server_http.log_config.AMLLogFormatter", "format": "MINE %(name)s %(message)s"}
    },
    "filters": {"r": {"()": "azureml_inference_server_http.log_config.RootAccessFilter"}},
    "handlers": {
        "h": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout", "formatter": "f", "filters": ["r"]}
    },
    "loggers": {
        "azmlinfsrv": {"level": "INFO", "handlers": ["h"], "propagate": False},
        "mine": {"level": "DEBUG", "handlers": ["h"]},
    },
}
_LOGGED = """
import logging

def init():
    print("printed", 1)

def run(data):
    logging.getLogger("mine").debug("logged")
    return 1
"""
LOGGING = Group("logging.json", Setup({"score.py": _LOGGED, "logging.json": json.dumps(_LOGS)}), [post("score", b"x")])

_BOTH_PORTS = [
    ask("probe", "GET", "/"),
    Case("probe at the other port", Asked("GET", "/", at_further_port=True)),
    Case("score at the other port", Asked(body=b"1", at_further_port=True)),
]
HEALTH_PORT = Group(
    "health_port",
    Setup({"score.py": _PLAIN}, {"SEPERATE_HEALTH_ENDPOINT": "true"}, ("--health_port", "{further_port}")),
    _BOTH_PORTS,
)

GROUPS = [
    PLAIN,
    HEADERS,
    *RAW_GROUPS,
    DECORATED,
    POWER_BI,
    MIXED,
    NAMED,
    OWN_SWAGGER,
    WRITTEN_SWAGGER,
    TIME_OUT,
    IN_FILE,
    GIVEN_FILE,
    *CORS_GROUPS,
    DRIVER,
    MAIN,
    SUBFOLDER,
    MODEL_DIR,
    LOGGING,
    HEALTH_PORT,
]

# Scripts and settings with which Azure's server does not start.
REFUSED = {
    "no run": Setup({"score.py": "def init(): pass"}),
    "no init": Setup({"score.py": "def run(data): return 1"}),
    "run takes nothing": Setup({"score.py": "def init(): pass\ndef run(): return 1"}),
    "run takes headers alone": Setup({"score.py": "def init(): pass\ndef run(request_headers): return 1"}),
    "run takes anything": Setup({"score.py": "def init(): pass\ndef run(*args): return 1"}),
    "positional-only": Setup({"score.py": "def init(): pass\ndef run(data, /): return 1"}),
    "init raises": Setup({"score.py": "def init(): raise ValueError('no model')\ndef run(data): return 1"}),
    "init exits": Setup({"score.py": "import sys\ndef init(): sys.exit(0)\ndef run(data): return 1"}),
    "cannot be imported": Setup({"score.py": "import no_such_module"}),
    "does not exist": Setup({"other.py": ""}),
    "both decorators": Setup(
        {
            "score.py": "from azureml_inference_server_http.api.aml_request import rawhttp\n"
            + _MIXED.replace("@input_schema", "@rawhttp\n@input_schema")
        }
    ),
    "config.json is none": Setup({"score.py": _PLAIN, "config.json": "{"}),
    "time-out is no number": Setup({"score.py": _PLAIN}, {"SCORING_TIMEOUT_MS": "soon"}),
    "own swagger is no JSON": Setup({"score.py": _PLAIN, "swagger.json": "{"}),
    "logging.json is no configuration": Setup({"score.py": _PLAIN, "logging.json": '{"version": 7}'}),
    "port is none": Setup({"score.py": _PLAIN}, arguments=("--health_port", "0")),
    "worker count is none": Setup({"score.py": _PLAIN}, arguments=("--worker_count", "0")),
}
