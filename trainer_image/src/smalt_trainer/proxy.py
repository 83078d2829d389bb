"""The tracking server as the script sees it: on the pod's own loopback, without a password, and never away for long.

What a script sends is handed on with the run's credentials, which it never sees. A server that restarts is waited for,
so that plain mlflow does not fail for it.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from typing import Any, Callable, Iterator, Mapping, Optional, Sequence, Union

from smalt_trainer.announcing import STOPS_WITHIN
from smalt_trainer.rewriting import Answered, Rewriting
from smalt_trainer.spool import Point
from smalt_trainer.tracking import Tracking

# MLflow's clients give up an answer after 120 s by default, and then ask again.
PATIENCE = 90.0
# What can be kept for later need not keep the script waiting.
_BRIEFLY = 0.5
_LONGEST_PAUSE = 2.0
_PIECE = 1 << 16
# What is larger is handed on as it comes, and cannot be sent a second time.
_KEPT = 16 << 20
_ANSWER = 300.0
# A server closes what is idle for 5 s, perhaps just when the next request is on its way.
_IDLE = 2.0
_OFFERED = ("/api/", "/ajax-api/", "/v1/traces", "/graphql", "/health", "/version")
# Between two neighbours only, or ours to say.
_OWN_HEADERS = frozenset(
    {
        *("authorization", "connection", "content-length", "expect", "host", "keep-alive", "proxy-authorization"),
        *("proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"),
    }
)
# A server that starts, and one whose password has just been drawn anew; both answer so for a while.
_PASSING = frozenset({401, 502, 503, 504})


# Small and read, large and still on its way, or none.
Body = Union[bytes, Iterator[bytes], None]


class Proxy:
    """Listens on loopback, where only the pod's own containers are."""

    def __init__(
        self,
        tracking: Tracking,
        say: Callable[[str], None],
        rewriting: Rewriting,
        keep: Callable[[list[Point]], None],
        see: Callable[[list[Point]], None],
    ) -> None:
        """`keep` takes points for later while the server is away, `see` those that it has taken."""
        self.tracking, self.say, self.rewriting, self.keep, self.see = tracking, say, rewriting, keep, see
        self._server: Optional[ThreadingHTTPServer] = None

    def start(self) -> str:
        """Begin to answer; the address."""
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(STOPS_WITHIN,), name="proxy", daemon=True).start()
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def stop(self) -> None:
        """Take no more requests."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    """One connection of a client, and one to the server that is kept beside it."""

    owner: Proxy
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = _PIECE
    timeout = 600

    def setup(self) -> None:
        super().setup()
        self._upstream: Optional[http.client.HTTPConnection] = None
        self._used_at = 0.0

    def finish(self) -> None:
        self._drop()
        try:
            super().finish()
        except OSError as error:
            self.owner.say(f"a client of the tracking server went away before its answer was written ({error})")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 — the base class names it so
        """Nothing: a training loop asks thousands of times."""

    def _answer(self) -> None:
        if not self.path.startswith(_OFFERED):
            self.close_connection = True
            self._say(404, f"{self.path[:100]} is not offered to scripts")
            return
        body = self._body()
        if isinstance(body, (bytes, type(None))):
            self._answer_small(body)
        else:
            self._hand_on(self.path, body)

    def _answer_small(self, body: Optional[bytes]) -> None:
        """What can be read as a whole is looked at first, and can be kept for a server that is away."""
        asked = self.owner.rewriting(self.command, self.path, body)
        if isinstance(asked, Answered):
            self._reply(asked.status, asked.body)
            return
        points, is_all = self.owner.rewriting.points(asked.path, asked.body)
        status = self._hand_on(asked.path, asked.body, points if is_all else [])
        if status == 200 and points:
            self.owner.see(points)

    def _hand_on(self, path: str, body: Body, points: Sequence[Point] = ()) -> int:
        """The status that was handed back; 0 when the points were kept for later instead."""
        try:
            response = self._ask(path, body, has_other_way=bool(points))
        except OSError as error:
            if points:
                self.owner.keep(list(points))
                self._reply(200, {})
                return 0
            # The rest of what the client sends would be read as its next request.
            self.close_connection = True
            self._say(503, f"the tracking server does not answer ({error}); try again")
            return 503
        self._hand_back(response)
        return response.status

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _answer  # noqa: N815 — the base class names them so

    # --- what the client sends ---

    def _body(self) -> Body:
        """All of it when it is small, else its pieces as they come."""
        if "chunked" in (self.headers.get("Transfer-Encoding") or "").lower():
            return _chunks(self.rfile)
        length = int(self.headers.get("Content-Length") or 0)
        if not length:
            return b"" if self.command in ("POST", "PUT", "PATCH") else None
        return self.rfile.read(length) if length <= _KEPT else _pieces(self.rfile, length)

    # --- to the server ---

    def _ask(self, path: str, body: Body, has_other_way: bool = False) -> http.client.HTTPResponse:
        """The server's answer, after as many tries as there is time for; OSError when there is none."""
        deadline = time.monotonic() + (_BRIEFLY if has_other_way else PATIENCE)
        pause = 0.1
        while True:
            is_last = time.monotonic() + pause >= deadline
            try:
                response = self._request(path, self._connect(), body)
                if response.status not in _PASSING or not isinstance(body, (bytes, type(None))):
                    return response
                response.read()
                if is_last:
                    raise OSError(f"it answers {response.status}")
            except (OSError, http.client.HTTPException) as error:
                self._drop()
                if is_last or isinstance(error, _BrokenOff):
                    raise OSError(str(error) or type(error).__name__) from error
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _connect(self) -> http.client.HTTPConnection:
        if self._used_at + _IDLE < time.monotonic():
            self._drop()
        if self._upstream is None:
            address = urllib.parse.urlsplit(self.owner.tracking.uri)
            kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
            connection = kind(address.hostname or "", address.port, timeout=_ANSWER)
            connection.connect()
            self._upstream = connection
        return self._upstream

    def _request(self, path: str, connection: http.client.HTTPConnection, body: Body) -> http.client.HTTPResponse:
        base = urllib.parse.urlsplit(self.owner.tracking.uri).path.rstrip("/")
        connection.putrequest(self.command, base + path, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in _OWN_HEADERS:
                connection.putheader(name, value)
        for name, value in self.owner.tracking.credentials().items():
            connection.putheader(name, value)
        length = self.headers.get("Content-Length")
        if isinstance(body, bytes):
            connection.putheader("Content-Length", str(len(body)))
        elif body is not None and length:
            connection.putheader("Content-Length", length)
        elif body is not None:
            connection.putheader("Transfer-Encoding", "chunked")
        if isinstance(body, (bytes, type(None))):
            connection.endheaders(body)
            return connection.getresponse()
        try:
            connection.endheaders(body, encode_chunked=not length)
        except OSError as error:
            raise _BrokenOff(str(error)) from error
        return connection.getresponse()

    def _drop(self) -> None:
        if self._upstream:
            self._upstream.close()
            self._upstream = None

    # --- back to the client ---

    def _hand_back(self, response: http.client.HTTPResponse) -> None:
        self.send_response(response.status, response.reason)
        for name, value in response.getheaders():
            if name.lower() not in _OWN_HEADERS and name.lower() not in ("date", "server", "www-authenticate"):
                self.send_header(name, value)
        length = response.getheader("Content-Length")
        is_chunked = length is None and self.command != "HEAD"
        self.send_header(*(("Transfer-Encoding", "chunked") if is_chunked else ("Content-Length", length or "0")))
        self.end_headers()
        while piece := response.read(_PIECE):
            self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n" if is_chunked else piece)
        if is_chunked:
            self.wfile.write(b"0\r\n\r\n")
        self._used_at = time.monotonic()
        if response.will_close:
            self._drop()

    def _say(self, status: int, message: str) -> None:
        """MLflow's own form of an error, so that its client shows the message."""
        code = "TEMPORARILY_UNAVAILABLE" if status == 503 else "RESOURCE_DOES_NOT_EXIST"
        self._reply(status, {"error_code": code, "message": message})

    def _reply(self, status: int, body: Mapping[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


class _BrokenOff(OSError):
    """The connection broke while a body was on its way that cannot be sent again."""


def _pieces(stream: BufferedIOBase, length: int) -> Iterator[bytes]:
    while length > 0:
        piece = stream.read(min(length, _PIECE))
        if not piece:
            raise OSError("the client broke off")
        length -= len(piece)
        yield piece


def _chunks(stream: BufferedIOBase) -> Iterator[bytes]:
    """What a client sends without saying beforehand how much it is."""
    while True:
        size = int(stream.readline(1024).split(b";")[0], 16)
        if not size:
            while stream.readline(_PIECE).strip():
                pass
            return
        yield from _pieces(stream, size)
        stream.readline(16)
