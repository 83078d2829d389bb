"""/healthz, /readyz and /metrics, answered by a thread of their own, so that a stuck event loop is told, not suffered."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

# A loop that has not turned for so long is stuck: everything it does is short, or waits without blocking it.
STUCK_SECONDS = 30.0
# Until it hears that it is to stop.
STOPS_WITHIN = 0.05


class Health:
    """What the probes tell; set from the event loop, read from the probes' thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._beat = clock()
        self.is_primed = False

    def beat(self) -> None:
        """The event loop has come round."""
        self._beat = self._clock()

    def live(self) -> tuple[bool, str]:
        silent = self._clock() - self._beat
        if silent > STUCK_SECONDS:
            return False, f"the event loop has been stuck for {silent:.0f} s"
        return True, "alive"

    def ready(self) -> tuple[bool, str]:
        alive, words = self.live()
        if alive and not self.is_primed:
            return False, "the cache is not primed yet"
        return alive, "ready" if alive else words


class _Server(ThreadingHTTPServer):
    """On addresses of both kinds, where there are both: which one a pod is asked by is the cluster's choice."""

    daemon_threads = True
    address_family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


class ProbeServer:
    """Serves until it is stopped."""

    def __init__(self, port: int, health: Health, registry: CollectorRegistry) -> None:
        self._server = _Server(("", port), _handler(health, registry))
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(STOPS_WITHIN,), name="probes", daemon=True
        )

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _handler(health: Health, registry: CollectorRegistry) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            match self.path.partition("?")[0]:
                case "/healthz":
                    self._verdict(*health.live())
                case "/readyz":
                    self._verdict(*health.ready())
                case "/metrics":
                    encode, content_type = choose_encoder(self.headers.get("Accept", ""))
                    self._answer(200, encode(registry), content_type)
                case _:
                    self._answer(404, b"there are /healthz, /readyz and /metrics\n")

        def _verdict(self, good: bool, words: str) -> None:
            self._answer(200 if good else 503, f"{words}\n".encode())

        def _answer(self, code: int, content: bytes, content_type: str = "text/plain; charset=utf-8") -> None:
            self.send_response(code)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Probes come every few seconds; their lines would bury the others."""

    return Handler
