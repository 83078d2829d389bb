"""A Docker Engine as far as building an image asks of it, with a registry behind it, by TLS with the client's certificate.

The client is Docker's own SDK; what the engine itself does with a context is shown on the real cluster.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import ssl
import tarfile
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from support.certificates import Certificates


class FakeEngine:
    """`images` is what the registry has: digest by name; `contexts` what was built, `logins` who pushed."""

    def __init__(self, certificates: Certificates | None = None) -> None:
        self.images: dict[str, str] = {}
        self.built: dict[str, bytes] = {}
        self.contexts: list[dict[str, tarfile.TarInfo]] = []
        self.dockerfiles: list[str] = []
        self.logins: list[dict[str, Any]] = []
        self.build_error = ""
        self.push_error = ""
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                owner._get(self)

            def do_POST(self) -> None:
                owner._post(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 — the base class names it so
                """Tests read what was asked for."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if certificates:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificates.certificate, certificates.key)
            context.load_verify_locations(certificates.authority)
            context.verify_mode = ssl.CERT_REQUIRED
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def url(self) -> str:
        return f"tcp://127.0.0.1:{self._server.server_address[1]}"

    def _get(self, request: BaseHTTPRequestHandler) -> None:
        path = request.path.partition("?")[0]
        if path.endswith("/version"):
            return _answer(request, 200, {"ApiVersion": "1.41", "MinAPIVersion": "1.24", "Version": "20.10.24"})
        name = urllib.parse.unquote(path.partition("/distribution/")[2]).removesuffix("/json")
        if name in self.images:
            return _answer(request, 200, {"Descriptor": {"digest": self.images[name]}, "Platforms": []})
        return _answer(request, 404, {"message": f"errors:\nmanifest unknown: manifest unknown for {name}\n"})

    def _post(self, request: BaseHTTPRequestHandler) -> None:
        url = urllib.parse.urlsplit(request.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        if url.path.endswith("/build"):
            return self._build(request, query["t"])
        name = url.path.partition("/images/")[2].removesuffix("/push")
        self.logins.append(json.loads(base64.urlsafe_b64decode(request.headers.get("X-Registry-Auth") or "e30=")))
        if self.push_error:
            return _stream(request, [{"status": "Preparing"}, {"error": self.push_error}])
        whole = f"{name}:{query['tag']}"
        self.images[whole] = "sha256:" + hashlib.sha256(self.built[whole]).hexdigest()
        aux = {"Tag": query["tag"], "Digest": self.images[whole], "Size": 1}
        return _stream(
            request, [{"status": "Pushed", "progressDetail": {}, "id": "a"}, {"progressDetail": {}, "aux": aux}]
        )

    def _build(self, request: BaseHTTPRequestHandler, name: str) -> None:
        content = _body(request)
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            self.contexts.append({each.name: each for each in archive.getmembers()})
            dockerfile = archive.extractfile("Dockerfile")
            assert dockerfile
            self.dockerfiles.append(dockerfile.read().decode())
        if self.build_error:
            lines = [{"stream": f"Step {number}\n"} for number in range(30)]
            return _stream(request, [*lines, {"error": self.build_error, "errorDetail": {"message": self.build_error}}])
        self.built[name] = content
        return _stream(request, [{"stream": "Step 1/3 : FROM\n"}, {"stream": f"Successfully tagged {name}\n"}])

    def __enter__(self) -> FakeEngine:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _body(request: BaseHTTPRequestHandler) -> bytes:
    if request.headers.get("Content-Length"):
        return request.rfile.read(int(request.headers["Content-Length"]))
    pieces = []
    while size := int(request.rfile.readline().strip(), 16):
        pieces.append(request.rfile.read(size))
        request.rfile.readline()
    request.rfile.readline()
    return b"".join(pieces)


def _answer(request: BaseHTTPRequestHandler, code: int, value: Any) -> None:
    content = json.dumps(value).encode()
    request.send_response(code)
    request.send_header("Content-Type", "application/json")
    request.send_header("Content-Length", str(len(content)))
    request.end_headers()
    request.wfile.write(content)


def _stream(request: BaseHTTPRequestHandler, values: list[Any]) -> None:
    request.send_response(200)
    request.send_header("Content-Type", "application/json")
    request.send_header("Transfer-Encoding", "chunked")
    request.end_headers()
    for value in values:
        piece = json.dumps(value).encode() + b"\r\n"
        request.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
    request.wfile.write(b"0\r\n\r\n")
