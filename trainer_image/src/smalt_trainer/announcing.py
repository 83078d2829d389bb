"""What a container does before its pod's program starts, for the operator to read at the pod's address.

The same small JSON that a running attempt serves: a phase and one sentence. Nothing can be asked or changed there.
"""

from __future__ import annotations

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Optional

_LONGEST = 300
# Seconds until a server hears that it is to stop, for which its container's end would otherwise wait ten times as long.
STOPS_WITHIN = 0.05
ENVIRONMENT = "the environment is being made"
FETCHING = "what the run needs is being fetched"


class Announcing:
    """Serves /status.json from a side thread while it is open; without a port it only keeps the sentence."""

    def __init__(self, what: str, server: Optional[ThreadingHTTPServer] = None) -> None:
        self.what = self.message = what
        self._server = server

    @classmethod
    def on(cls, port: Optional[int], what: str = ENVIRONMENT) -> Announcing:
        """Listen on that port of the pod; a pod that cannot is none the worse for it."""
        if port is None:
            return cls(what)
        try:
            server = ThreadingHTTPServer(("", port), _Handler)
        except OSError as error:
            print(f"[smalt] nobody can ask how it goes ({error})", file=sys.stderr, flush=True)
            return cls(what)
        made = cls(what, server)
        _Handler.announcing = made
        return made

    @property
    def port(self) -> Optional[int]:
        """Where it listens."""
        return self._server.server_address[1] if self._server else None

    def say(self, line: str) -> None:
        """The last line of the log is what it is about."""
        if line.strip():
            self.message = f"{self.what}: {line.strip()[:_LONGEST]}"

    def __enter__(self) -> Announcing:
        if self._server:
            threading.Thread(
                target=self._server.serve_forever, args=(STOPS_WITHIN,), name="status", daemon=True
            ).start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._server:
            self._server.shutdown()
            self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    announcing = Announcing(ENVIRONMENT)
    timeout = 5

    def do_GET(self) -> None:
        if self.path != "/status.json":
            self.send_error(404)
            return
        content = json.dumps({"phase": "Preparing", "message": self.announcing.message}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 — the base class names it so
        """That somebody asks is no news for the log."""
