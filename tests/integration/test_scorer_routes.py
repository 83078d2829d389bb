"""Every route of both servers, found in their sources: closed to whoever has no key, unless docs/scoring.md lists it as open."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.paths import REPOSITORY
from smalt_scorer import application, script_application
from smalt_scorer.protocols import routes
from support.scoring_pod import PRIMARY, ScoringPod

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
CALLED = "was called"
SCRIPT = f"def run(raw_data):\n    print('{CALLED}')\n    return 1\n"
WRONG = ("", "Bearer", "Bearer wrong", f"Basic {PRIMARY}", PRIMARY, f"Bearer {PRIMARY} x", f"Bearer {PRIMARY}\t,x")
NO_ROUTES = (
    "/nothing",
    "/score/",
    "/score/x",
    "//score",
    "/Score",
    "/v2/",
    "/v2/models",
    "/metrics/x",
    "/.env",
    "/docs/..",
)


def listed_as_open() -> set[str]:
    """The left half of the table in docs/scoring.md."""
    text = (REPOSITORY / "docs/scoring.md").read_text()
    row = text.partition("| open | with a key")[2].splitlines()[2]
    return set(re.findall(r"`([^`]+)`", row.split("|")[1]))


def paths_in(*modules: object) -> set[str]:
    """All texts of their sources that look like a path."""
    found = set()
    for module in modules:
        for node in ast.walk(ast.parse(Path(str(getattr(module, "__file__", ""))).read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"/[\w./]*", node.value):
                found.add(node.value)
    return found


def of_model() -> set[str]:
    """Those below a model, which are put together from parts."""
    models = ("/v2/models/churn", "/v2/models/churn/versions/3")
    return {f"{each}/{part}".rstrip("/") for each in models for part in routes.OF_MODEL}


DIRECT = paths_in(application, routes) | of_model()
OF_SCRIPTS = paths_in(application, script_application)


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScoringPod]:
    with ScoringPod(tmp_path_factory.mktemp("script"), SCRIPT, {"m": b"x"}) as pod:
        yield pod


@pytest.fixture(params=["direct", "script"])
def pod(request: pytest.FixtureRequest, direct: ScoringPod, script: ScoringPod) -> tuple[ScoringPod, set[str]]:
    return (direct, DIRECT) if request.param == "direct" else (script, OF_SCRIPTS)


def test_the_sources_name_the_routes_that_there_are(direct: ScoringPod, script: ScoringPod) -> None:
    key = {"Authorization": f"Bearer {PRIMARY}"}
    described = set(direct.request("GET", "/openapi.json", **key).json["paths"])
    assert described == {path for path in DIRECT if path not in ("/v2/models", "/v2/")}
    assert {"/score", "/swagger.json", "/", "/metrics", "/readyz", "/healthz"} == OF_SCRIPTS
    assert {"/score", "/docs", "/v2/models/churn/infer"} < DIRECT and {"/docs", "/metrics"} < listed_as_open()


def test_whoever_has_no_key_gets_nothing_but_what_is_listed_as_open(pod: tuple[ScoringPod, set[str]]) -> None:
    server, paths = pod
    for path in sorted(paths):
        for method in METHODS:
            answer = server.request(method, path)
            if path in listed_as_open():
                assert answer.code == (200 if method in ("GET", "HEAD") else 405), (method, path, answer)
            elif method == "OPTIONS" and path == "/score" and answer.code == 200:
                assert answer.body == b"", "a browser's preflight has no key, and calls nobody"
            else:
                assert answer.code in (401, 404, 405), (method, path, answer)
                assert b"churn" not in answer.body, "which model there is, is not for everybody to hear"
    assert CALLED not in server.log


def test_of_a_closed_route_that_is_there_a_missing_or_wrong_key_is_the_reason(pod: tuple[ScoringPod, set[str]]) -> None:
    server, paths = pod
    right = {"Authorization": f"Bearer {PRIMARY}"}
    tried = 0
    for path in sorted(paths - listed_as_open()):
        for method in ("GET", "POST"):
            if server.request(method, path, **right).code in (404, 405):
                continue
            for wrong in WRONG:
                answer = server.request(method, path, **({"Authorization": wrong} if wrong else {}))
                assert (answer.code, answer.headers.get("www-authenticate")) == (401, "Bearer"), (method, path, wrong)
                tried += 1
    assert tried >= 2 * len(WRONG)


def test_what_is_no_route_is_none_without_a_key_and_with_one(pod: tuple[ScoringPod, set[str]]) -> None:
    server, _ = pod
    for path in NO_ROUTES:
        assert server.request("GET", path).code in (401, 404), path
        found = server.request("GET", path, Authorization=f"Bearer {PRIMARY}")
        assert found.code in (404, 405) or (path == "/v2/" and found.code == 200), path
