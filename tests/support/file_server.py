"""An HTTP server on loopback that hands out bytes, can break off in the middle, and keeps what it was asked."""

from __future__ import annotations

import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType


class FileServer:
    """Serves `files` by path; a path in `breaks` loses the connection after so many bytes, once for each number.

    With a certificate and its key it speaks https.
    """

    def __init__(
        self,
        files: dict[str, bytes],
        breaks: dict[str, list[int]] | None = None,
        certificate: tuple[Path, Path] | None = None,
        at: tuple[str, int] = ("127.0.0.1", 0),
    ) -> None:
        self.files = files
        self.breaks = breaks or {}
        self.redirects: dict[str, str] = {}
        self.ranges: list[str | None] = []
        self.logins: list[str | None] = []
        self.scheme = "https" if certificate else "http"
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                owner.answer(self)

            def do_HEAD(self) -> None:
                owner.answer(self, body=False)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 — the base class names it so
                """Tests read `ranges`; a line for each request would only hide their own output."""

        self._server = ThreadingHTTPServer(at, Handler)
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def url(self) -> str:
        """The server's address."""
        return f"{self.scheme}://127.0.0.1:{self._server.server_address[1]}"

    def answer(self, request: BaseHTTPRequestHandler, body: bool = True) -> None:
        """One request: a redirect, nothing, or a file or the rest of one."""
        wanted = request.headers.get("Range")
        self.ranges.append(wanted)
        self.logins.append(request.headers.get("Authorization"))
        if request.path in self.redirects:
            request.send_response(302)
            request.send_header("Location", self.redirects[request.path])
            request.end_headers()
            return
        content = self.files.get(request.path)
        if content is None:
            request.send_error(404)
            return
        tag = f'"{len(content)}"'
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and request.headers["If-Range"] == tag else 0
        rest = content[start:]
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        request.send_header("ETag", tag)
        request.send_header("Content-Type", "text/html" if request.path.endswith("/") else "application/octet-stream")
        request.send_header("Content-Length", str(len(rest)))
        request.end_headers()
        if not body:
            return
        breaks = self.breaks.get(request.path)
        request.wfile.write(rest[: breaks.pop(0)] if breaks else rest)

    def __enter__(self) -> FileServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
