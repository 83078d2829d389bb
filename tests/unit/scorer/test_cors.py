"""Which pages of other origins may ask."""

from __future__ import annotations

import pytest

from smalt_scorer.cors import read
from smalt_scorer.failures import Failure

ALLOW = ("access-control-allow-origin", "https://a.example")


def test_without_origins_nothing_is_added() -> None:
    assert read(None).headers("POST", {"origin": "https://a.example"}) == []
    assert not read(" , ").any


def test_a_named_origin_is_allowed_without_regard_to_case_and_others_are_not() -> None:
    origins = read("https://A.example")
    assert origins.headers("POST", {"origin": "https://a.example"}) == [ALLOW]
    assert origins.headers("POST", {"origin": "https://b.example"}) == []


def test_a_preflight_hears_of_methods_and_headers() -> None:
    asked = {
        "origin": "https://a.example",
        "access-control-request-method": "post",
        "access-control-request-headers": "content-type, authorization",
    }
    assert read("https://a.example, https://b.example").headers("OPTIONS", asked) == [
        ALLOW,
        ("access-control-allow-headers", "authorization, content-type"),
        ("access-control-allow-methods", "GET, POST"),
        ("vary", "Origin"),
    ]
    assert read("https://a.example").headers("OPTIONS", {**asked, "access-control-request-method": "PUT"}) == [ALLOW]


def test_a_regular_expression_has_to_fit_the_whole_origin() -> None:
    origins = read(r"https://.*\.example\.com")
    assert origins.headers("GET", {"origin": "https://a.example.com"})[0][1] == "https://a.example.com"
    assert origins.headers("GET", {"origin": "https://a.example.com.elsewhere.net"}) == []


def test_a_star_is_every_origin() -> None:
    origin = "https://any.example"
    assert read("*").headers("GET", {"origin": origin})[0] == ("access-control-allow-origin", origin)
    assert read("*").headers("GET", {}) == [("access-control-allow-origin", "*")]


def test_what_is_no_regular_expression_is_told() -> None:
    with pytest.raises(Failure, match=r"AML_CORS_ORIGINS has 'https://\(', which is no regular expression"):
        read("https://(")
