"""Flask's view of a request, for scripts that use Flask: @rawhttp, `flask.request`, `jsonify`, a response as the result.

Imported only when the script has imported Flask itself.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import Any

import flask

from smalt_scorer.raw_request import FAILED, RawAnswer, RawRequest

# Of the connection, which is the server's.
_HOP_BY_HOP = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
_application = flask.Flask("smalt_score")


def in_context(request: RawRequest, act: Callable[[flask.Request], RawAnswer]) -> RawAnswer:
    """Calls `act` with the request, while `flask.request` is it too."""
    with _application.request_context(environ_of(request)):
        return act(flask.request._get_current_object())


def environ_of(request: RawRequest) -> dict[str, Any]:
    """The WSGI environment of the request."""
    host, _, port = (request.header("host") or "localhost").partition(":")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": request.path,
        "QUERY_STRING": request.query.decode("latin-1"),
        "RAW_URI": request.path + (f"?{request.query.decode('latin-1')}" if request.query else ""),
        "SERVER_NAME": host,
        "SERVER_PORT": port or "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "CONTENT_LENGTH": str(len(request.body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(request.body),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for key, value in request.headers:
        name, text = key.decode("latin-1").upper().replace("-", "_"), value.decode("latin-1")
        if name == "CONTENT_LENGTH":
            continue
        name = name if name == "CONTENT_TYPE" else f"HTTP_{name}"
        environ[name] = f"{environ[name]},{text}" if name in environ else text
    return environ


def answer_of(result: Any) -> RawAnswer | None:
    """The answer that a Flask response is, read to its end; None when the result is none."""
    if not isinstance(result, flask.Response):
        return None
    try:
        body = b"".join(result.iter_encoded())
    finally:
        result.close()
    headers = [(name.lower(), value) for name, value in result.headers.items() if name.lower() not in _HOP_BY_HOP]
    content_type = next((value for name, value in headers if name == "content-type"), "")
    kept = [(name, value) for name, value in headers if name not in ("content-type", "content-length")]
    if result.status_code >= 500:
        kept = [*((name, value) for name, value in kept if name != FAILED), (FAILED, "True")]
    return RawAnswer(result.status_code, body, content_type, tuple(kept))
