"""Requests to the tracking server with one user's password, and what came back, refusals too."""

from __future__ import annotations

import base64
import http.client
import json
from typing import Any, NamedTuple

from support.tracking import TrackingServer


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def ask(
    server: TrackingServer, user: str | None, method: str, path: str, body: object = None, **headers: str
) -> Answer:
    """One request; a user's password is the server's, a header's name may have _ for -."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if user is not None:
        sent["Authorization"] = basic(user, server.passwords[user])
    if body is not None:
        sent["Content-Type"] = "application/json"
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.request(method, path, body=None if body is None else json.dumps(body), headers=sent)
        response = connection.getresponse()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
    finally:
        connection.close()
