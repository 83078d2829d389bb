"""The routes of a model that is served directly: which there are, who may ask, and what each makes of a body.

No word of sockets or threads: whoever carries the bytes finds a route, asks it, lets the model predict, and writes the reply
or the problem.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl

from smalt_scorer import __version__
from smalt_scorer.models.loaded import LoadedModel, Refused
from smalt_scorer.protocols import inference, invocations, openapi, score
from smalt_scorer.protocols.page import page
from smalt_scorer.protocols.question import BadRequest, Question, Reply, UnsupportedType
from smalt_scorer.protocols.texts import parsed, written
from smalt_scorer.raw_request import RawRequest

READ, ASK, SCORE = ("GET", "HEAD"), ("POST",), ("POST", "GET")


@dataclass(frozen=True)
class Route:
    """What a path stands for."""

    name: str
    methods: tuple[str, ...]
    is_open: bool = False
    """Whether it needs no key."""

    @property
    def asks(self) -> bool:
        """Whether the model is asked for a prediction."""
        return self.name in ("score", "invocations", "infer")


class NoSuchRoute(Exception):
    """There is nothing at the path; the text says what there is."""


SCORING = Route("score", SCORE)
FIXED = {
    "/score": SCORING,
    "/invocations": Route("invocations", ASK),
    "/v2": Route("server", READ),
    "/v2/health/live": Route("live", READ, is_open=True),
    "/v2/health/ready": Route("ready", READ, is_open=True),
    "/openapi.json": Route("openapi", READ),
    "/swagger.json": Route("swagger", READ),
    "/docs": Route("docs", READ, is_open=True),
}
# Below /v2/models/<name> and /v2/models/<name>/versions/<version>.
OF_MODEL = {"": Route("metadata", READ), "ready": Route("ready", READ), "infer": Route("infer", ASK)}


class Routes:
    """All routes of one model."""

    def __init__(self, model: LoadedModel, name: str, version: str, needs_key: bool) -> None:
        self.model, self.name, self.version, self.needs_key = model, name, version, needs_key

    def find(self, path: str) -> Route:
        """The route of a path. NoSuchRoute says which model there is."""
        found = FIXED.get(path) or FIXED.get(path.rstrip("/") if path.startswith("/v2/") else "")
        if found is not None:
            return found
        parts = path.split("/")[1:]
        if parts[:2] == ["v2", "models"] and len(parts) > 2:
            return self._of_model(parts[2:])
        raise NoSuchRoute(f"there is no {path[:200]}: ask POST /score, or see /docs")

    def _of_model(self, parts: list[str]) -> Route:
        name, rest = parts[0], parts[1:]
        if name != self.name:
            raise NoSuchRoute(f"there is no model '{name[:100]}': this server has '{self.name}'")
        if rest[:1] == ["versions"] and len(rest) > 1:
            if rest[1] != self.version:
                raise NoSuchRoute(
                    f"there is no version '{rest[1][:100]}' of '{name}': this server has {self.version or 'none'}"
                )
            rest = rest[2:]
        found = OF_MODEL.get(rest[0] if rest else "") if len(rest) < 2 else None
        if found is None:
            raise NoSuchRoute(f"model '{name}' has no {'/'.join(rest)[:100]}: ask its metadata, ready, or infer")
        return found

    def read(self, route: Route, query: str, is_ready: bool = True) -> tuple[int, Reply]:
        """The answer of a route that does not ask the model."""
        if route.name == "docs":
            return 200, page()
        if route.name == "swagger" and (version := dict(parse_qsl(query)).get("version")) not in (None, "3", "3.1"):
            return 404, self._problem_reply(route, f"there is no description of version '{version[:20]}': ask for 3.1")
        if route.name in ("openapi", "swagger"):
            return 200, Reply(self._document)
        if route.name == "live":
            return 200, Reply(written({"live": True}))
        if route.name == "ready":
            return (200 if is_ready else 503), Reply(written({"name": self.name, "ready": is_ready}))
        if route.name == "metadata":
            return 200, Reply(self._metadata)
        return 200, Reply(written(inference.server(__version__)))

    def ask(self, route: Route, request: RawRequest, body: bytes) -> Question:
        """What a body asks the model. BadRequest says what is wrong with it."""
        encoding = request.header("content-encoding").strip().lower()
        if encoding not in ("", "identity"):
            raise UnsupportedType(f"Content-Encoding is '{encoding[:40]}': send the body as it is")
        if route.name == "score" and request.method == "GET":
            return score.of_value(_of_query(request.query.decode("latin-1")), self.model)
        if route.name == "score":
            return score.question(body, self.model)
        if route.name == "invocations":
            return invocations.question(body, request.header("content-type"), self.model)
        told = request.header(inference.HEADER) if request.has(inference.HEADER) else None
        return inference.question(body, told, self.name, self.version, self.model)

    def problem(self, route: Route, error: BadRequest | Refused) -> tuple[int, Reply]:
        """What a caller hears of what they can change."""
        if isinstance(error, UnsupportedType):
            return 415, self._problem_reply(route, str(error))
        return 400, self._problem_reply(route, str(error)[:2000])

    def failed(self, route: Route, kind: str) -> tuple[int, Reply]:
        """What a caller hears when the model fails: the class of its error, and nothing of the rest."""
        return 500, self._problem_reply(route, f"the model failed with a {kind}: see the server's log")

    def _problem_reply(self, route: Route, words: str) -> Reply:
        return problem_reply("/v2" if route.name in ("infer", "metadata", "server") else "/", words)

    @cached_property
    def _document(self) -> bytes:
        return written(openapi.document(self.model, self.name, self.version, self.needs_key))

    @cached_property
    def _metadata(self) -> bytes:
        return written(inference.metadata(self.name, self.version, self.model))


def problem_reply(path: str, words: str) -> Reply:
    """An error in the words of the path's protocol: `error` is what its clients read, `message` what ours do."""
    return Reply(written({"error": words} if path.startswith("/v2") else {"message": words}))


def _of_query(query: str) -> dict[str, Any]:
    """The query as the body that it stands for; rows in it are JSON."""
    found = dict(parse_qsl(query, keep_blank_values=True))
    return {name: parsed(text.encode()) if text[:1] in ("[", "{") else text for name, text in found.items()}
