"""The tracking server as a script sees it: without a password, patient while the server is away, byte for byte the same."""

from __future__ import annotations

import http.client
import socket
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from smalt_trainer import proxy as module
from smalt_trainer.proxy import Proxy
from smalt_trainer.rewriting import Rewriting
from smalt_trainer.spool import Point
from smalt_trainer.tracking import Tracking
from support.tracking import free_port


class Upstream:
    """Echoes bodies, keeps what it was asked, and can be told to misbehave."""

    def __init__(self, port: int = 0) -> None:
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        self.statuses: list[int] = []
        self.drops = 0
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _do(self) -> None:
                if owner.drops:
                    owner.drops -= 1
                    self.close_connection = True
                    return
                body = self._read()
                owner.asked.append((self.command, self.path, dict(self.headers), body))
                self.send_response(owner.statuses.pop(0) if owner.statuses else 200)
                self.send_header("X-Kept", "yes")
                if "stream" in self.path:
                    self.send_header("Transfer-Encoding", "chunked")
                    self.end_headers()
                    for piece in (b"a" * 70000, b"b" * 10):
                        self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                    self.wfile.write(b"0\r\n\r\n")
                    return
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_PUT = _do  # noqa: N815

            def _read(self) -> bytes:
                if self.headers.get("Transfer-Encoding") != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length") or 0))
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return body

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Tests read what was kept."""

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    made = Upstream()
    yield made
    made.close()


@pytest.fixture
def client(upstream: Upstream, tmp_path: Path) -> Iterator[Callable[..., tuple[int, bytes]]]:
    (tmp_path / "password").write_text("first\n")
    yield from asking(Tracking(upstream.url + "/base", "runs", "", tmp_path / "password"))


def proxy_to(tracking: Tracking, kept: list[Point] | None = None, seen: list[Point] | None = None) -> Proxy:
    rewriting = Rewriting("r1", "1", "team-a/churn", lambda _kind, _text: None)
    return Proxy(
        tracking, print, rewriting, ([] if kept is None else kept).extend, ([] if seen is None else seen).extend
    )


def asking(tracking: Tracking) -> Iterator[Callable[..., tuple[int, bytes]]]:
    made = proxy_to(tracking)
    address = urllib.parse.urlsplit(made.start())
    connection = http.client.HTTPConnection("127.0.0.1", address.port or 0, timeout=30)

    def ask(method: str, path: str, body: object = None, **headers: str) -> tuple[int, bytes]:
        connection.request(method, path, body, headers)  # type: ignore[arg-type]
        response = connection.getresponse()
        return response.status, response.read()

    yield ask
    connection.close()
    made.stop()


def test_a_request_is_handed_on_with_the_password_of_the_moment_and_none_of_the_scripts(
    upstream: Upstream, client: Callable[..., tuple[int, bytes]], tmp_path: Path
) -> None:
    assert client("POST", "/api/2.0/mlflow/runs/get?x=1", b"{}", Authorization="Basic bWU6bWU=", Host="evil") == (
        200,
        b"{}",
    )
    (tmp_path / "password").write_text("second")
    client("GET", "/api/2.0/mlflow/runs/get")
    (method, path, headers, body), (_, _, later, _) = upstream.asked
    assert (method, path, body) == ("POST", "/base/api/2.0/mlflow/runs/get?x=1", b"{}")
    assert headers["Authorization"] == "Basic cnVuczpmaXJzdA==" and headers["Host"] == upstream.url[7:]
    assert later["Authorization"] == "Basic cnVuczpzZWNvbmQ="


def test_a_large_file_goes_through_in_pieces_either_way(
    upstream: Upstream, client: Callable[..., tuple[int, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_KEPT", 1000)
    content = bytes(range(256)) * 5000
    assert client("PUT", "/api/2.0/mlflow-artifacts/artifacts/1/x", content) == (200, content)
    assert client("PUT", "/api/2.0/mlflow-artifacts/artifacts/1/x", iter([content, b"end"])) == (200, content + b"end")
    assert client("GET", "/api/stream") == (200, b"a" * 70000 + b"b" * 10)
    assert client("GET", "/api/2.0/after") == (200, b"")


@pytest.mark.slow
def test_a_server_that_restarts_is_waited_for(upstream: Upstream, client: Callable[..., tuple[int, bytes]]) -> None:
    upstream.statuses = [503, 502, 401]
    upstream.drops = 2
    assert client("POST", "/api/2.0/mlflow/runs/log-metric", b'{"a":1}') == (200, b'{"a":1}')
    assert [body for *_, body in upstream.asked] == [b'{"a":1}'] * 4


def test_what_the_server_refuses_is_the_scripts_to_hear(
    upstream: Upstream, client: Callable[..., tuple[int, bytes]]
) -> None:
    upstream.statuses = [400, 404, 500]
    assert [client("POST", "/api/x", b"no")[0] for _ in range(3)] == [400, 404, 500]


def test_a_server_that_stays_away_is_told_after_a_while_so_that_the_client_tries_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.3)
    asks = asking(Tracking(f"http://127.0.0.1:{free_port()}", "runs", "secret"))
    ask = next(asks)
    status, body = ask("POST", "/api/2.0/mlflow/runs/log-metric", b"{}")
    assert status == 503 and b"TEMPORARILY_UNAVAILABLE" in body and b"secret" not in body
    asks.close()


def test_only_what_a_client_needs_is_offered(upstream: Upstream, client: Callable[..., tuple[int, bytes]]) -> None:
    assert client("GET", "/static/main.js")[0] == 404
    assert upstream.asked == []


def test_nobody_outside_of_the_pod_is_answered(upstream: Upstream) -> None:
    made = proxy_to(Tracking(upstream.url))
    port = urllib.parse.urlsplit(made.start()).port
    # Loopback too, but not the one address it listens on: whoever listened on all would answer here.
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.2", port), timeout=5)
    socket.create_connection(("127.0.0.1", port), timeout=5).close()
    made.stop()


LOGGED = '{"run_id": "r1", "key": "auc", "value": 0.5, "timestamp": 7, "step": 3}'


def test_a_value_that_is_logged_while_the_server_is_away_is_kept_and_the_script_goes_on(upstream: Upstream) -> None:
    kept: list[Point] = []
    upstream.close()
    made = proxy_to(Tracking(upstream.url), kept)
    request = urllib.request.Request(f"{made.start()}/api/2.0/mlflow/runs/log-metric", LOGGED.encode())
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert (answer.status, answer.read()) == (200, b"{}")
    assert kept == [Point("auc", 0.5, 3, 7)]
    made.stop()


def test_a_value_that_the_server_took_is_seen_and_one_that_it_refused_is_not(upstream: Upstream) -> None:
    seen: list[Point] = []
    upstream.statuses = [400]
    made = proxy_to(Tracking(upstream.url), [], seen)
    request = urllib.request.Request(f"{made.start()}/api/2.0/mlflow/runs/log-metric", LOGGED.encode())
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(request, timeout=30)
    assert seen == []
    urllib.request.urlopen(request, timeout=30).close()
    assert seen == [Point("auc", 0.5, 3, 7)]
    made.stop()
