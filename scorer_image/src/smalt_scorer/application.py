"""The routes, as raw ASGI: nothing between the socket and the script but what each request needs."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from smalt_scorer.contract import RequestSettings
from smalt_scorer.direct import BadRequest
from smalt_scorer.incoming import Gone, Incoming, Receive, TooLarge
from smalt_scorer.keys import Keys
from smalt_scorer.metrics import Metrics
from smalt_scorer.scoring import Busy, Scoring, ScriptError, TimedOut

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_JSON, _TEXT = b"application/json", b"text/plain; charset=utf-8"
_FORMS = (b"application/x-www-form-urlencoded", b"multipart/form-data")
MOST_CLIENT_ID = 100
SCRIPT_FAILED = "An unexpected error occurred in scoring script. Check the logs for more info."


@dataclass
class Answer:
    """One answer."""

    code: int
    body: bytes = b""
    content_type: bytes = _JSON
    headers: dict[str, str] = field(default_factory=dict)


class Refusal(Exception):
    """A request that is answered before the script sees it."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(str(answer.code))
        self.answer = answer


class Application:
    """All routes; those in OPEN need no key."""

    OPEN = ("/", "/healthz", "/readyz", "/metrics")

    def __init__(self, scoring: Scoring, settings: RequestSettings, metrics: Metrics, keys: Keys | None) -> None:
        self.scoring, self.settings, self.metrics, self.keys = scoring, settings, metrics, keys
        self.is_ready = False
        self.is_stopping = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path, method = scope["path"], scope["method"]
        if path == "/score":
            await self._score(scope, receive, send)
        elif path in self.OPEN and method in ("GET", "HEAD"):
            await _respond(send, self._open(path))
        elif path in self.OPEN:
            await _respond(send, _problem(405, f"{path} takes GET", Allow="GET, HEAD"))
        else:
            await _respond(send, _problem(404, f"there is no {path}: ask POST /score"))

    def _open(self, path: str) -> Answer:
        if path == "/metrics":
            return Answer(200, self.metrics.text(), b"text/plain; version=0.0.4; charset=utf-8")
        if path == "/readyz":
            why_not = self._why_not_ready()
            return Answer(503 if why_not else 200, f"{why_not or 'ready'}\n".encode(), _TEXT)
        stuck = self.scoring.stuck_seconds()
        if stuck > self.scoring.most_stuck_seconds:
            return Answer(503, f"run() has been stuck for {stuck:.0f} s\n".encode(), _TEXT)
        return Answer(200, b"Healthy", _TEXT)

    def _why_not_ready(self) -> str | None:
        """Why no request should be sent here now."""
        if not self.is_ready:
            return "the model is not loaded"
        if self.is_stopping:
            return "the pod is stopping"
        return "run() is over its time and does not end" if self.scoring.is_stuck() else None

    async def _score(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode("latin-1").lower(): value for name, value in scope["headers"]}
        self.metrics.in_flight.inc()
        began = time.perf_counter()
        incoming = Incoming(headers, receive)
        try:
            answer = await self._answer(scope, headers, incoming)
        except Refusal as refusal:
            await incoming.discard()
            answer = refusal.answer
        finally:
            self.metrics.in_flight.dec()
        self.metrics.answered(answer.code, time.perf_counter() - began)
        answer.headers |= _ids(headers)
        await _respond(send, answer)

    async def _answer(self, scope: Scope, headers: Mapping[str, bytes], incoming: Incoming) -> Answer:
        method = scope["method"]
        if method not in ("GET", "POST"):
            raise Refusal(_problem(405, "/score takes POST or GET", Allow="GET, POST"))
        if self.keys is not None and not self.keys.admit(headers.get("authorization", b"")):
            words = "a key is missing or wrong: send 'Authorization: Bearer <key>'"
            raise Refusal(_problem(401, words, **{"WWW-Authenticate": "Bearer"}))
        if len(headers.get("x-ms-client-request-id", b"")) > MOST_CLIENT_ID:
            raise Refusal(_problem(431, f"x-ms-client-request-id has more than {MOST_CLIENT_ID} characters"))
        if not self.is_ready:
            raise Refusal(_problem(503, "the model is not loaded yet", **{"Retry-After": "1"}))
        if method == "GET":
            raw = json.dumps(dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)))
        else:
            raw = await self._body(headers, incoming)
        return await self._run(raw, {name: value.decode("latin-1") for name, value in headers.items()})

    async def _body(self, headers: Mapping[str, bytes], incoming: Incoming) -> str:
        most = self.settings.max_body_bytes
        try:
            body = await incoming.read(most)
        except TooLarge:
            words = f"the body has more than {most} bytes (requestSettings.maxBodyBytes)"
            raise Refusal(_problem(413, words, Connection="close")) from None
        except Gone:
            raise Refusal(_problem(400, "the caller has gone before the end of the body")) from None
        if headers.get("content-type", b"").partition(b";")[0].strip().lower() in _FORMS:
            return ""
        try:
            return body.decode()
        except UnicodeDecodeError as error:
            raise Refusal(_problem(400, f"the body is no UTF-8: {error.reason} at byte {error.start}")) from error

    async def _run(self, raw: str, headers: Mapping[str, str]) -> Answer:
        try:
            body, milliseconds = await self.scoring.score(raw, headers)
            timing = {"x-ms-run-fn-exec-ms": f"{milliseconds:.3f}", "x-ms-run-function-failed": "False"}
            return Answer(200, body, headers=timing)
        except Busy:
            return _problem(503, "too many requests are waiting: try again", **{"Retry-After": "1"})
        except TimedOut:
            words = f"Scoring timeout after {self.settings.timeout_seconds * 1000:.0f} ms"
            return _problem(500, words, **{"x-ms-run-function-failed": "True"})
        except BadRequest as error:
            return _problem(400, str(error))
        except ScriptError:
            return _problem(500, SCRIPT_FAILED, **{"x-ms-run-function-failed": "True"})


def _problem(code: int, message: str, **headers: str) -> Answer:
    return Answer(code, json.dumps({"message": message}).encode(), headers=headers)


def _ids(headers: Mapping[str, bytes]) -> dict[str, str]:
    """The caller's identifiers, or one of ours."""
    own = str(uuid.uuid4())
    made = {name: headers.get(name, b"").decode("latin-1") or own for name in ("x-request-id", "x-ms-request-id")}
    client = headers.get("x-ms-client-request-id", b"").decode("latin-1")
    return (
        made
        | ({"x-ms-client-request-id": client[:MOST_CLIENT_ID]} if client else {})
        | {"TraceId": made["x-request-id"]}
    )


async def _respond(send: Send, answer: Answer) -> None:
    headers = [(b"content-type", answer.content_type), (b"content-length", str(len(answer.body)).encode())]
    headers += [
        (name.lower().encode("latin-1"), value.encode("latin-1", "replace")) for name, value in answer.headers.items()
    ]
    await send({"type": "http.response.start", "status": answer.code, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
