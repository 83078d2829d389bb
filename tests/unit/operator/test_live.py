"""A recorder is asked at its address and nowhere else; what it answers is small, plain and fits the schema, or is none."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from smalt import live
from smalt.api.training_run import MOST_METRICS
from smalt.live import MOST_BYTES, Recorders, Unusable, understood

Json = dict[str, Any]
Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

WHOLE: Json = {
    "phase": "Running",
    "message": "the script runs",
    "progress": {"percent": 40, "estimatedCompletionTime": "2026-01-02T04:00:00+01:00"},
    "metrics": {"auc": 0.91, "epoch": 3},
}


class Pod:
    """What listens at a pod's address; it tells what it was asked for."""

    def __init__(self) -> None:
        self.answer: Handler = answering(WHOLE)
        self.asked: list[web.BaseRequest] = []
        self.port = 0

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked.append(request)
        return await self.answer(request)


def answering(body: object, **how: Any) -> Handler:
    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return web.Response(body=content, **how)

    return answer


@pytest.fixture
async def pod() -> AsyncIterator[Pod]:
    made = Pod()
    runner = web.ServerRunner(web.Server(made.handle))
    await runner.setup()
    both = socket.has_dualstack_ipv6()
    listening = socket.create_server(("", 0), family=socket.AF_INET6 if both else socket.AF_INET, dualstack_ipv6=both)
    await web.SockSite(runner, listening).start()
    made.port = listening.getsockname()[1]
    yield made
    await runner.cleanup()


class Observer:
    """Counts results."""

    def __init__(self) -> None:
        self.results: Counter[str] = Counter()

    def asked(self, result: str) -> None:
        self.results[result] += 1


@pytest.fixture
def observer() -> Observer:
    return Observer()


@pytest.fixture
async def recorders(pod: Pod, observer: Observer) -> AsyncIterator[Recorders]:
    made = Recorders(observer, pod.port)
    yield made
    await made.close()


async def test_a_good_answer_is_taken_in_the_form_of_a_runs_status(
    recorders: Recorders, pod: Pod, observer: Observer
) -> None:
    assert await recorders.ask("127.0.0.1") == {
        "phase": "Running",
        "reason": "Running",
        "message": "the script runs",
        "progress": {"percent": 40, "estimatedCompletionTime": "2026-01-02T03:00:00Z"},
        "metrics": {"auc": 0.91, "epoch": 3.0},
    }
    assert [(each.method, each.path) for each in pod.asked] == [("GET", "/status.json")]
    assert observer.results == {"answered": 1}


async def test_nothing_of_ours_goes_along(recorders: Recorders, pod: Pod, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    pod.answer = answering(WHOLE, headers={"Set-Cookie": "a=b; Path=/"})
    for _ in range(2):
        assert await recorders.ask("127.0.0.1")
    assert all("Cookie" not in each.headers and "Authorization" not in each.headers for each in pod.asked)


async def test_an_answer_that_leads_elsewhere_is_not_followed(
    recorders: Recorders, pod: Pod, observer: Observer
) -> None:
    pod.answer = answering(WHOLE, status=302, headers={"Location": "/elsewhere"})
    assert await recorders.ask("127.0.0.1") is None
    assert [each.path for each in pod.asked] == ["/status.json"] and observer.results == {"unusable": 1}


async def endless(request: web.BaseRequest) -> web.StreamResponse:
    made = web.StreamResponse()
    await made.prepare(request)
    while True:
        await made.write(b" " * 8192)


@pytest.mark.parametrize(
    "answer",
    [
        answering(WHOLE, status=404),
        answering(WHOLE, status=500),
        answering(WHOLE, status=204),
        answering(b""),
        answering(b"<html>"),
        answering(b" " * MOST_BYTES + json.dumps(WHOLE).encode()),
        answering(gzip.compress(json.dumps(WHOLE).encode()), headers={"Content-Encoding": "gzip"}),
        endless,
    ],
    ids=["missing", "failing", "empty", "nothing", "page", "large", "packed", "endless"],
)
async def test_what_is_no_answer_counts_as_none(
    recorders: Recorders, pod: Pod, observer: Observer, answer: Handler
) -> None:
    pod.answer = answer
    assert await recorders.ask("127.0.0.1") is None
    assert observer.results == {"unusable": 1}


async def test_one_who_takes_too_long_is_not_waited_for(
    pod: Pod, observer: Observer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "TIMEOUT", aiohttp.ClientTimeout(total=0.2))

    async def dribbling(request: web.BaseRequest) -> web.StreamResponse:
        made = web.StreamResponse()
        await made.prepare(request)
        for _ in range(1000):
            await made.write(b" ")
            await asyncio.sleep(0.05)
        return made

    pod.answer = dribbling
    recorders = Recorders(observer, pod.port)
    assert await recorders.ask("127.0.0.1") is None
    assert observer.results == {"unreachable": 1}
    await recorders.close()


async def test_nobody_there_is_no_error(pod: Pod, observer: Observer, caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        recorders = Recorders(observer, free.getsockname()[1])
        assert await recorders.ask("127.0.0.1") is None
        await recorders.close()
    assert observer.results == {"unreachable": 1} and caplog.text == ""


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this host has no IPv6")
async def test_a_pod_may_have_an_ipv6_address(recorders: Recorders) -> None:
    assert await recorders.ask("::1")


@pytest.mark.parametrize("address", ["localhost", "127.0.0.1:80", "metadata.example", "127.0.0.1@x", ""])
async def test_what_is_no_ip_address_is_not_asked(
    recorders: Recorders, pod: Pod, observer: Observer, address: str
) -> None:
    assert await recorders.ask(address) is None
    assert pod.asked == [] and observer.results == {"unusable": 1}


def whole(**changes: object) -> bytes:
    return json.dumps(WHOLE | changes).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"[]",
        b"null",
        b"{}",
        b"[" * 60_000,
        b'{"phase":' * 5_000,
        b'{"phase": "Running", "metrics": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        b'{"phase": "Running", "message": "\\ud800"}',
        b'{"phase": "Running", "message": "\xff"}',
        whole(phase="Succeeded"),
        whole(phase=["Running"]),
        whole(message=3),
        whole(message={"a": "b"}),
        whole(reason="no reason"),
        whole(reason="R" * 64),
        whole(metrics=[]),
        whole(metrics="auc"),
        whole(progress=40),
        whole(progress={}),
        whole(progress={"percent": -1}),
        whole(progress={"percent": 100.5}),
        whole(progress={"percent": True}),
        whole(progress={"percent": "40"}),
        whole(progress={"percent": float("nan")}),
        whole(progress={"percent": float("inf")}),
        whole(progress={"percent": 10**400}),
        whole(progress={"percent": 40, "estimatedCompletionTime": "soon"}),
        whole(progress={"percent": 40, "estimatedCompletionTime": "2026-01-02T03:04:05"}),
        whole(progress={"percent": 40, "estimatedCompletionTime": "9999-12-31T23:59:59-12:00"}),
        whole(progress={"percent": 40, "estimatedCompletionTime": "0001-01-01T00:00:00Z"}),
        whole(progress={"percent": 40, "estimatedCompletionTime": 1e18}),
    ],
    ids=lambda content: content[:70].decode(errors="replace"),
)
def test_what_does_not_fit_the_schema_is_refused(content: bytes) -> None:
    with pytest.raises(Unusable):
        understood(content)


NOT_FINITE = b'{"phase": "Running", "metrics": {"good": 1, "a": NaN, "b": Infinity, "c": -Infinity, "d": 1e999}}'


@pytest.mark.parametrize(
    "content",
    [
        NOT_FINITE,
        whole(metrics={"good": 1, "huge": 10**400, "text": "1", "truth": True, "nested": {"a": 1}, "list": [1]}),
        whole(metrics={"good": 1, "": 1, "n" * 251: 1}),
    ],
)
def test_metrics_that_a_status_cannot_hold_are_left_out_and_that_is_counted(content: bytes) -> None:
    found, is_whole = understood(content)
    assert found["metrics"] == {"good": 1.0} and not is_whole


def test_of_many_metrics_a_few_are_kept() -> None:
    found, is_whole = understood(whole(metrics={f"m{number:04}": number for number in range(1000)}))
    assert list(found["metrics"]) == [f"m{number:04}" for number in range(MOST_METRICS)] and not is_whole


def test_a_message_is_one_short_line_that_a_terminal_can_show() -> None:
    found, _ = understood(whole(message="a\n\tb \x1b[31mred\x07 \u202e" + "x" * 1000))
    assert found["message"].startswith("a b [31mred x") and len(found["message"]) == live.MOST_MESSAGE


def test_what_else_is_said_is_ignored() -> None:
    found, is_whole = understood(whole(download={"bytes": 10**30}, more=[[[]]]))
    assert found.keys() == {"phase", "reason", "message", "progress", "metrics"} and is_whole


def test_a_reason_is_taken_where_one_is_given() -> None:
    found, _ = understood(whole(phase="Finalizing", reason="TrackingUnavailable"))
    assert (found["phase"], found["reason"]) == ("Finalizing", "TrackingUnavailable")
