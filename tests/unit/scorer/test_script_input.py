"""What a run() is called with."""

from __future__ import annotations

import inspect
import json

import pytest

from smalt_scorer.raw_request import RawRequest, RequestHeaders
from smalt_scorer.script_input import Unacceptable, arguments_of, text_of

JSON = ((b"content-type", b"application/json"),)


def run(data: object, parameters: object = 1) -> None: ...


PARAMETERS = tuple(inspect.signature(run).parameters.values())


@pytest.mark.parametrize(
    ("query", "read"),
    [
        (b"", {}),
        (b"a=1&b=[1,2]&c=a&d=null&e=", {"a": 1, "b": [1, 2], "c": "a", "d": None, "e": ""}),
        (b"foo=bar1&foo=bar2&x=%7B%22y%22%3A1%7D", {"foo": ["bar1", "bar2"], "x": {"y": 1}}),
        ("n=ä".encode(), {"n": "ä"}),
        (b"n=%FFa", {"n": "%FFa"}),
        (b"deep=" + b"[" * 100_000, {"deep": "[" * 100_000}),
    ],
)
def test_a_query_is_json_value_by_value(query: bytes, read: object) -> None:
    assert json.loads(text_of(RawRequest("GET", query=query))) == read


@pytest.mark.parametrize(
    "media_type", ["application/x-www-form-urlencoded; charset=utf-8", "multipart/form-data; boundary=x"]
)
def test_a_form_is_empty_text(media_type: str) -> None:
    assert text_of(RawRequest(headers=((b"content-type", media_type.encode()),), body=b"a=1")) == ""


def test_a_body_is_text_whatever_it_says_it_is() -> None:
    assert text_of(RawRequest(headers=((b"content-type", b"image/png"),), body="ä".encode())) == "ä"
    with pytest.raises(
        Unacceptable, match=r"cannot be decoded as UTF-8: .* in position 1: invalid start byte"
    ) as refused:
        text_of(RawRequest(body=b"a\xff"))
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("headers", "body", "status", "told"),
    [
        ((), b"{}", 415, "Expects Content-Type to be application/json"),
        (((b"content-type", b"text/plain"),), b"{}", 415, "Expects Content-Type to be application/json"),
        (JSON, b"", 400, "POST body is empty"),
        (JSON, b"{", 400, "could not be decoded as JSON: Expecting property name"),
        (JSON, b"\xff", 400, "could not be decoded as JSON: 'utf-8' codec"),
        (JSON, b"[" * 100_000, 400, "nested too deeply"),
        (JSON, b"[1]", 400, "should be a JSON dictionary"),
        (JSON, b'{"other": 1}', 400, "A value is not provided for the 'data' parameter."),
    ],
)
def test_a_decorated_run_wants_an_object_with_its_parameters(
    headers: tuple[tuple[bytes, bytes], ...], body: bytes, status: int, told: str
) -> None:
    with pytest.raises(Unacceptable) as refused:
        arguments_of(RawRequest(headers=headers, body=body), PARAMETERS)
    assert refused.value.status == status
    assert told in refused.value.message


def test_a_decorated_run_gets_its_parameters_and_their_defaults() -> None:
    problem = ((b"content-type", b"application/problem+json; charset=utf-8"),)
    assert arguments_of(RawRequest(headers=problem, body=b'{"data": [1], "more": 2}'), PARAMETERS) == {
        "data": [1],
        "parameters": 1,
    }
    assert arguments_of(RawRequest("GET", query=b"data=[1]&parameters=2"), PARAMETERS) == {"data": [1], "parameters": 2}


def test_headers_are_spelled_as_on_azure_and_found_in_any_spelling() -> None:
    headers = RequestHeaders.of([(b"content-type", b"a/b"), (b"x-ms-id", b"1"), (b"x-ms-id", b"2")])
    assert dict(headers) == {"Content-Type": "a/b", "X-Ms-Id": "1,2"}
    assert (headers["content-type"], headers.get("X-MS-ID"), headers.get("other", "none")) == ("a/b", "1,2", "none")
    assert "CONTENT-TYPE" in headers
    with pytest.raises(KeyError, match="other"):
        headers["other"]
