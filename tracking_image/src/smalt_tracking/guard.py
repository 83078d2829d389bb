"""Asks for a password before MLflow sees a request: several of MLflow's routes never reach its own check."""

from __future__ import annotations

import base64
import binascii
import json
import logging
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from smalt_tracking.passwords import Passwords, SecretMissing

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

READING = ("GET", "HEAD")
API = r"/(ajax-)?api/\d+\.\d+"
# Parts of MLflow that act on other hosts, or run things on this one: of no use to a Workspace, and a way out of it.
CLOSED = re.compile(
    rf"/gateway(/|$)|{API}/jobs(/|$)|{API}/mlflow/(gateway|assistant|jobs|prompt-optimization|demo|webhooks)[-/]?"
    rf"|{API}/mlflow/(scorer|issues|genai/evaluate)/invoke$|{API}/mlflow/runs/create-promptlab-run$"
)
# Users are the Secret's four; an account made or changed here would be one that the guard does not know.
ACCOUNTS = re.compile(rf"/signup$|{API}/mlflow/users/(create|update|delete)")
SEARCH = re.compile(rf"{API}/mlflow/[-a-z]+/search")

logger = logging.getLogger(__name__)


class Guard:
    """An ASGI application in front of another."""

    def __init__(self, application: Application, passwords: Passwords) -> None:
        self.application = application
        self.passwords = passwords

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers 401, 403 or 404, or hands on."""
        if scope["type"] == "lifespan" or is_probe(scope):
            await self.application(scope, receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
        elif (user := self.user_of(scope)) is None:
            await answer(
                send, 401, "UNAUTHENTICATED", "a name and a password are needed: admin, runs, scoring or registry"
            )
        elif problem := refusal(user, scope["method"], scope["path"]):
            await answer(send, 403, "PERMISSION_DENIED", problem)
        else:
            await self.application(known_as(user, scope), receive, send)

    def user_of(self, scope: Scope) -> str | None:
        """Whose credentials the request carries; more than one Authorization header carries none."""
        headers = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(headers) != 1 or (credentials := basic(headers[0])) is None:
            return None
        try:
            self.passwords.refresh()
        except (SecretMissing, OSError) as problem:
            # The kubelet swaps the folder as a whole; what was read before holds until it can be read again.
            logger.warning("the passwords last read are still used: %s", problem)
        return self.passwords.user_of(*credentials)


def is_probe(scope: Scope) -> bool:
    """The kubelet asks this path without credentials."""
    return scope["type"] == "http" and scope["path"] == "/health" and scope["method"] in READING


def basic(header: bytes) -> tuple[bytes, bytes] | None:
    """Name and password of a basic Authorization header."""
    scheme, _, encoded = header.partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        name, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
    except binascii.Error:
        return None
    return (name, password) if colon else None


def refusal(user: str, method: str, path: str) -> str | None:
    """Why this user may not do this, where MLflow's own permissions would let them; None when they may."""
    if CLOSED.match(path):
        return f"{path} is not offered by this server"
    if ACCOUNTS.match(path):
        return "the users are admin, runs, scoring and registry; their passwords are those of the workspace's Secret"
    if user == "scoring" and method not in READING and not (method == "POST" and SEARCH.fullmatch(path)):
        return f"the user scoring only reads; {method} {path} needs the user runs or admin"
    return None


def known_as(user: str, scope: Scope) -> Scope:
    """The request with the name that was proved and without the password: MLflow and its logs need no secret."""
    proved = b"Basic " + base64.b64encode(f"{user}:".encode())
    others = [(name, value) for name, value in scope["headers"] if name != b"authorization"]
    return {**scope, "headers": [*others, (b"authorization", proved)]}


async def answer(send: Send, status: int, code: str, message: str) -> None:
    """MLflow's own form of an error, so that its client shows the message."""
    body = json.dumps({"error_code": code, "message": message}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b'Basic realm="smalt", charset="UTF-8"'))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
