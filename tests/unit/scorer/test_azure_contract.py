"""From request to answer, as Azure's server does it."""

from __future__ import annotations

import json

import pytest

from smalt_scorer.azure_contract import Dressing, problem, score, script_failed, swagger_answer, timed_out
from smalt_scorer.cors import read
from smalt_scorer.raw_request import RawAnswer, RawRequest
from smalt_scorer.script_run import adapted
from smalt_scorer.swagger import Swagger


def headers(answer: RawAnswer) -> dict[str, str]:
    return dict(answer.headers)


def test_a_result_comes_with_its_milliseconds() -> None:
    answer = score(RawRequest(body=b"x"), adapted(lambda raw: {"got": raw}, "score.py"))
    assert (answer.status, json.loads(answer.body), answer.content_type) == (200, {"got": "x"}, "application/json")
    assert headers(answer)["x-ms-run-function-failed"] == "False"
    assert float(headers(answer)["x-ms-run-fn-exec-ms"]) >= 0


def test_a_request_that_run_cannot_be_called_with_is_the_callers_error() -> None:
    answer = score(RawRequest(body=b"\xff"), adapted(lambda raw: raw, "score.py"))
    assert (answer.status, headers(answer)) == (400, {"x-ms-run-function-failed": "False"})
    assert json.loads(answer.body)["message"].startswith("Input cannot be decoded as UTF-8")


def test_what_run_raises_is_raised_on() -> None:
    def run(raw: str) -> object:
        raise ValueError(raw)

    with pytest.raises(ValueError, match="x"):
        score(RawRequest(body=b"x"), adapted(run, "score.py"))


def test_failures_of_the_script_say_so_in_azures_words() -> None:
    for answer, message in (
        (timed_out(1500.0), "Scoring timeout after 1500 ms"),
        (script_failed(), "An unexpected error occurred in scoring script. Check the logs for more info."),
    ):
        assert (answer.status, json.loads(answer.body)) == (500, {"message": message})
        assert headers(answer) == {"x-ms-run-function-failed": "True"}


@pytest.mark.parametrize(
    ("query", "status"), [(b"", 200), (b"version=2.0", 200), (b"version=3", 404), (b"version=", 404)]
)
def test_swagger_is_asked_for_by_version(query: bytes, status: int) -> None:
    answer = swagger_answer(RawRequest("GET", "/swagger.json", query), Swagger({"2": {"swagger": "2.0"}}))
    assert answer.status == status
    assert headers(answer) == {"x-ms-run-function-failed": "False"}


def test_every_answer_carries_identifiers_and_cors() -> None:
    dressing = Dressing(read("https://a.example"))
    request = RawRequest(headers=[(b"x-request-id", b"1"), (b"origin", b"https://a.example")])
    assert dressing.refusal(request) is None
    assert headers(dressing.dressed(request, problem(400, "no"))) == {
        "x-ms-run-function-failed": "False",
        "x-request-id": "1",
        "x-ms-request-id": "1",
        "access-control-allow-origin": "https://a.example",
    }


def test_a_scripts_own_identifier_gives_way() -> None:
    answer = RawAnswer(headers=(("X-Request-Id", "own"), ("x-mine", "1")))
    dressed = Dressing(read(None)).dressed(RawRequest(headers=[(b"x-request-id", b"1")]), answer)
    assert [value for name, value in dressed.headers if name.lower() == "x-request-id"] == ["1"]
    assert ("x-mine", "1") in dressed.headers


def test_identifiers_that_are_too_long_are_refused() -> None:
    refused = Dressing(read(None)).refusal(RawRequest(headers=[(b"x-request-id", b"x" * 101)]))
    assert refused is not None
    assert (refused.status, json.loads(refused.body)) == (
        431,
        {"message": "x-request-id must not exceed 100 characters"},
    )
