"""Shows the board to whoever asks the pod: the operator as JSON, Prometheus in its own format. Nothing can be changed."""

from __future__ import annotations

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Callable, Mapping, Optional

from smalt_trainer.announcing import STOPS_WITHIN
from smalt_trainer.board import Board

PORT = 9400
MOST_BYTES = 64 << 10
# The rest of the cluster may ask, and must not be able to keep the recorder from its work.
_AT_ONCE = 16


class Page:
    """Listens on the pod's address."""

    def __init__(self, board: Board, labels: Mapping[str, str], say: Callable[[str], None]) -> None:
        self.board, self.labels, self.say = board, labels, say
        self._server: Optional[ThreadingHTTPServer] = None

    def start(self, port: int = PORT) -> Optional[int]:
        """Begin to answer; the port, or None when the script's image has taken it, which costs nothing but the page."""
        page = self

        class Handler(_Handler):
            owner = page

        try:
            # The operator and Prometheus are elsewhere in the cluster.
            self._server = _BoundedServer(("", port), Handler)
        except OSError as error:
            self.say(f"port {port} cannot be had ({error}): metrics of the running script are in MLflow alone")
            return None
        threading.Thread(target=self._server.serve_forever, args=(STOPS_WITHIN,), name="page", daemon=True).start()
        return int(self._server.server_address[1])

    def stop(self) -> None:
        """Take no more requests."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()

    def answer(self, path: str) -> Optional[tuple[str, bytes]]:
        """Type and content of a path; None when there is no such page."""
        if path == "/status.json":
            return "application/json", self._status()
        if path == "/metrics":
            return "text/plain; version=0.0.4; charset=utf-8", self.board.exposition(self.labels).encode(
                "utf-8", "replace"
            )
        return None

    def _status(self) -> bytes:
        """The status in at most so many bytes: of many metrics with long names the last are left out."""
        status = self.board.status()
        while len(content := json.dumps(status).encode()) > MOST_BYTES:
            status["metrics"] = dict(list(status["metrics"].items())[: len(status["metrics"]) * 3 // 4])
        return content


class _BoundedServer(ThreadingHTTPServer):
    """Answers so many at once and hangs up on the others."""

    daemon_threads = True
    # A pod may have addresses of either kind, or of both.
    address_family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()

    def __init__(self, *arguments: Any) -> None:
        self._room = threading.Semaphore(_AT_ONCE)
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()


class _Handler(BaseHTTPRequestHandler):
    owner: Page
    timeout = 5

    def do_GET(self) -> None:
        found = self.owner.answer(self.path.split("?")[0])
        kind, content = found or ("text/plain; charset=utf-8", b"/status.json and /metrics are here\n")
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 — the base class names it so
        """Nothing: it is asked every few seconds."""
