"""What the routes of every model share: nothing between the socket and the model but what a request needs."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable

from smalt_scorer.contract import RequestSettings
from smalt_scorer.incoming import Gone, Incoming, Receive, TooLarge
from smalt_scorer.keys import Keys
from smalt_scorer.metrics import Metrics
from smalt_scorer.raw_request import RawAnswer, RawRequest
from smalt_scorer.scoring import Scoring
from smalt_scorer.tracing import Tracer

_TEXT = "text/plain; charset=utf-8"
# For the metrics alone: nobody reads the answer to a caller who has gone. nginx counts them by the same number.
GONE = 499
_SERVER_ERROR = 500


class Refusal(Exception):
    """A request that is answered before the model sees it."""

    def __init__(self, answer: RawAnswer) -> None:
        super().__init__(str(answer.status))
        self.answer = answer


class Application(ABC):
    """What a model with or without a script is asked through; routes in OPEN are probes and metrics, and need no key."""

    OPEN = ("/", "/healthz", "/readyz", "/metrics")

    def __init__(self, scoring: Scoring, settings: RequestSettings, metrics: Metrics, keys: Keys | None) -> None:
        self.scoring, self.settings, self.metrics, self.keys = scoring, settings, metrics, keys
        self.is_ready = False
        self.is_stopping = False
        self.tracer: Tracer | None = None

    @abstractmethod
    async def answer(self, request: RawRequest, receive: Receive) -> RawAnswer:
        """The answer to any request."""

    def problem(self, request: RawRequest, status: int, message: str, **headers: str) -> RawAnswer:
        """An error as the route's clients read it; further headers by name, with `_` for `-`."""
        more = tuple((name.replace("_", "-"), value) for name, value in headers.items())
        return RawAnswer(status, json.dumps({"message": message}).encode(), headers=more)

    def refuse(self, request: RawRequest, status: int, message: str, **headers: str) -> Refusal:
        """The same, to be raised."""
        return Refusal(self.problem(request, status, message, **headers))

    def probed(self, request: RawRequest) -> RawAnswer:
        """What one of OPEN says."""
        if request.method not in ("GET", "HEAD"):
            return self.problem(request, 405, f"{request.path} takes GET", allow="GET, HEAD")
        if request.path == "/metrics":
            return RawAnswer(200, self.metrics.text(), "text/plain; version=0.0.4; charset=utf-8")
        if request.path == "/readyz":
            why_not = self._why_not_ready()
            return RawAnswer(503 if why_not else 200, f"{why_not or 'ready'}\n".encode(), _TEXT)
        stuck = self.scoring.stuck_seconds()
        if stuck > self.scoring.most_stuck_seconds:
            return RawAnswer(503, f"run() has been stuck for {stuck:.0f} s\n".encode(), _TEXT)
        return RawAnswer(200, b"Healthy", _TEXT)

    def _why_not_ready(self) -> str | None:
        """Why no request should be sent here now."""
        if not self.is_ready:
            return "the model is not loaded"
        if self.is_stopping:
            return "the pod is stopping"
        return "run() is over its time and does not end" if self.scoring.is_stuck() else None

    async def counted(
        self, request: RawRequest, receive: Receive, answer: Callable[[Incoming], Awaitable[RawAnswer]]
    ) -> RawAnswer:
        """The answer of a route that the model is asked by, in the metrics, and with the caller's body read to its end."""
        self.metrics.in_flight += 1
        began = time.perf_counter()
        incoming = Incoming(request, receive)
        if self.tracer is not None:
            incoming.trace = self.tracer.begin(request)
        status = _SERVER_ERROR
        try:
            found = await answer(incoming)
            status = found.status
        except Refusal as refusal:
            await incoming.discard()
            found = refusal.answer
            status = found.status
        finally:
            self.metrics.in_flight -= 1
            if incoming.trace is not None:
                incoming.trace.end(status)
        self.metrics.answered(found.status, time.perf_counter() - began)
        return found

    def admit(self, request: RawRequest) -> None:
        """Refusal for whoever has no key, where one is needed."""
        if self.keys is not None and not self.keys.admit(request.raw(b"authorization")):
            words = "a key is missing or wrong: send 'Authorization: Bearer <key>'"
            raise self.refuse(request, 401, words, www_authenticate="Bearer")

    async def whole_body(self, request: RawRequest, incoming: Incoming) -> bytes:
        """The body. Refusal when it is too long, or breaks off."""
        most = self.settings.max_body_bytes
        try:
            return await incoming.read(most)
        except TooLarge:
            words = f"the body has more than {most} bytes (requestSettings.maxBodyBytes)"
            raise self.refuse(request, 413, words, connection="close") from None
        except Gone:
            raise self.refuse(request, 400, "the caller has gone before the end of the body") from None
