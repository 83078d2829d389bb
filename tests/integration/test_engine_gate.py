"""The gate that the tests of images go through, with an engine that answers on a socket."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import docker
import docker.errors
import pytest

from support.certificates import Certificates
from support.engine_gate import EngineGate


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        content = b'{"ApiVersion": "1.41", "Version": "20.10.24"}'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def address_string(self) -> str:
        return "socket"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 — the base class names it so
        """Nothing to tell."""


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Path]:
    with socketserver.ThreadingUnixStreamServer(str(tmp_path / "engine.sock"), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield tmp_path / "engine.sock"
        server.shutdown()
        thread.join()


def client(host: str, known: Certificates) -> docker.APIClient:
    tls = docker.tls.TLSConfig(
        client_cert=(str(known.certificate), str(known.key)), ca_cert=str(known.authority), verify=True
    )
    return docker.APIClient(base_url=f"tcp://{host}", tls=tls, version="auto", timeout=10)


def test_the_engine_answers_those_with_a_certificate_and_nobody_else(
    tmp_path: Path, engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    known, strange = Certificates.made(tmp_path / "known"), Certificates.made(tmp_path / "strange")
    with EngineGate("127.0.0.1", engine, known) as gate:
        assert client(gate.host, known).version()["Version"] == "20.10.24"
        with pytest.raises(docker.errors.DockerException):
            client(gate.host, strange)
