"""A package index (PEP 503) on loopback, with wheels that the test makes: open or private, plain or with TLS."""

from __future__ import annotations

import base64
import hashlib
import io
import ssl
import threading
import zipfile
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType


@dataclass(frozen=True)
class Wheel:
    """One release of a pure package whose only module holds `module`."""

    name: str
    version: str
    module: str = ""
    requires: tuple[str, ...] = ()
    tag: str = "py3-none-any"
    requires_python: str = ""

    @property
    def file(self) -> str:
        return f"{self._written}-{self.version}-{self.tag}.whl"

    @property
    def _written(self) -> str:
        return self.name.replace("-", "_")

    @property
    def content(self) -> bytes:
        """The wheel's bytes; the same every time, so that its hash is."""
        about = f"{self._written}-{self.version}.dist-info"
        needs = "".join(f"Requires-Dist: {each}\n" for each in self.requires)
        metadata = f"Metadata-Version: 2.1\nName: {self.name}\nVersion: {self.version}\n{needs}"
        files = {
            f"{self._written}.py": self.module,
            f"{about}/METADATA": metadata,
            f"{about}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {self.tag}\n",
        }
        files[f"{about}/RECORD"] = "".join(f"{name},,\n" for name in (*files, f"{about}/RECORD"))
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w") as archive:
            for name, text in files.items():
                archive.writestr(zipfile.ZipInfo(name), text)
        return made.getvalue()

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


@dataclass
class PackageIndex:
    """Serves wheels; with `credentials` only to those who bring them, with `certificate` only by TLS.

    `asked` holds every path that was asked for, so that a test can tell what was downloaded.
    """

    wheels: tuple[Wheel, ...]
    credentials: tuple[str, str] | None = None
    certificate: tuple[Path, Path] | None = None
    with_hashes: bool = True
    extra: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                owner._answer(self)

            def do_HEAD(self) -> None:
                owner._answer(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 — the base class names it so
                """Tests read `asked`; a line for each request would only hide their own output."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if self.certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self.certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def host(self) -> str:
        """Host and port, as they would stand in anything that names the index."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        """The address for `indexUrl`."""
        return f"{'https' if self.certificate else 'http'}://{self.host}/simple"

    @property
    def downloads(self) -> list[str]:
        """The wheels that were asked for."""
        return [path for path in self.asked if path.endswith(".whl")]

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        self.asked.append(request.path)
        if self.credentials:
            wanted = "Basic " + base64.b64encode(":".join(self.credentials).encode()).decode()
            if request.headers.get("Authorization") != wanted:
                self.refused.append(request.path)
                request.send_response(401)
                request.send_header("WWW-Authenticate", 'Basic realm="packages"')
                request.send_header("Content-Length", "0")
                request.end_headers()
                return
        content = self._content(request.path)
        if content is None:
            request.send_error(404)
            return
        request.send_response(200)
        request.send_header("Content-Type", "text/html" if request.path.endswith("/") else "application/octet-stream")
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        if request.command == "GET":
            request.wfile.write(content)

    def _content(self, path: str) -> bytes | None:
        if path in self.extra:
            return self.extra[path]
        if path.startswith("/files/"):
            return next((each.content for each in self.wheels if f"/files/{each.file}" == path), None)
        links = [self._link(each) for each in self.wheels if path == f"/simple/{each.name}/"]
        return f"<!DOCTYPE html><html><body>{''.join(links)}</body></html>".encode() if links else None

    def _link(self, wheel: Wheel) -> str:
        fragment = f"#sha256={wheel.sha256}" if self.with_hashes else ""
        python = f' data-requires-python="{wheel.requires_python}"' if wheel.requires_python else ""
        return f'<a href="/files/{wheel.file}{fragment}"{python}>{wheel.file}</a>'

    def __enter__(self) -> PackageIndex:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
