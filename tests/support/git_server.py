"""A real git server: `git http-backend`, as a web server runs it, over http or https on an address of this machine."""

from __future__ import annotations

import base64
import os
import ssl
import subprocess
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType

ENVIRONMENT = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_AUTHOR_NAME": "A",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "A",
    "GIT_COMMITTER_EMAIL": "a@example.org",
    "GIT_AUTHOR_DATE": "2026-01-01T00:00:00Z",
    "GIT_COMMITTER_DATE": "2026-01-01T00:00:00Z",
}


class Repository:
    """A repository that a test fills; it is served as it is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not folder.exists():
            folder.mkdir(parents=True)
            self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str, stdin: str | None = None) -> str:
        command = ["git", "-C", str(self.folder), "-c", "protocol.file.allow=always", *arguments]
        finished = subprocess.run(
            command, env={**os.environ, **ENVIRONMENT}, input=stdin, capture_output=True, text=True, check=False
        )
        assert finished.returncode == 0, f"git {' '.join(arguments)}: {finished.stderr}"
        return finished.stdout.strip()

    def commit(self, files: dict[str, str], message: str = "change") -> str:
        """Write these files, commit everything that is in the folder, and return the commit."""
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.git("rev-parse", "HEAD")

    def commit_entries(self, *entries: tuple[str, str, str]) -> str:
        """A commit of (mode, name, content or object) that no working folder could hold, as the branch `odd`."""
        lines = []
        for mode, name, content in entries:
            kind = "commit" if mode == "160000" else "tree" if mode == "40000" else "blob"
            stored = content if kind != "blob" else self.git("hash-object", "-w", "--stdin", stdin=content)
            lines.append(f"{mode} {kind} {stored}\t{name}\0")
        tree = self.git("mktree", "--missing", "-z", stdin="".join(lines))
        commit = self.git("commit-tree", tree, "-m", "odd")
        self.git("update-ref", "refs/heads/odd", commit)
        return commit


@dataclass
class GitServer:
    """Serves the repositories below a folder, and what lies in its folder `files` as it is; a name in `private` only to who
    has its user and password."""

    root: Path
    address: str = "127.0.0.1"
    port: int = 0
    certificate: tuple[Path, Path] | None = None
    private: dict[str, tuple[str, str]] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    # What the server is told of the client's version of the protocol; the client's own word when absent.
    protocol: str | None = None
    # How many requests are answered 503 before one is answered.
    failures: int = 0
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    # Cleared, it keeps every request waiting.
    answers: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        owner = self
        self.answers.set()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                owner.answer(self)

            def do_POST(self) -> None:
                owner.answer(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 — the base class names it so
                """Tests read `requests`; a line for each would only hide their own output."""

        self._server = ThreadingHTTPServer((self.address, self.port), Handler)
        if self.certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self.certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def url(self) -> str:
        """The server's address."""
        scheme = "https" if self.certificate else "http"
        return f"{scheme}://{self.address}:{self._server.server_address[1]}"

    def repository(self, name: str, private: tuple[str, str] | None = None) -> Repository:
        """A new repository, served as <url>/<name>."""
        if private:
            self.private[name] = private
        return Repository(self.root / name)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """One request, handed to git; what git prints is what the client gets."""
        asked = request.headers.get("Authorization")
        self.requests.append((request.path, asked))
        self.answers.wait(60)
        path, _, query = request.path.partition("?")
        name = path.split("/")[1]
        if self.failures:
            self.failures -= 1
            request.send_error(503)
            return
        if name in self.redirects:
            request.send_response(302)
            request.send_header("Location", request.path.replace(f"/{name}", self.redirects[name], 1))
            request.end_headers()
            return
        if name in self.private and asked != _basic(*self.private[name]):
            request.send_response(401)
            request.send_header("WWW-Authenticate", 'Basic realm="git"')
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        if name == "files":
            self._hand_out(request, self.root / path.lstrip("/"))
            return
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        if request.headers.get("Transfer-Encoding") == "chunked":
            body = _chunks(request)
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
            "REQUEST_METHOD": request.command,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": request.headers.get("Content-Type") or "",
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding") or "",
            "GIT_PROTOCOL": self.protocol or request.headers.get("Git-Protocol") or "",
        }
        finished = subprocess.run(
            ["git", "http-backend"], env=environment, input=body, capture_output=True, check=False
        )
        head, _, content = finished.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().splitlines() if ": " in line)
        request.send_response(int(headers.pop("Status", "200").split()[0]))
        for key, value in headers.items():
            request.send_header(key, value)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)

    def _hand_out(self, request: BaseHTTPRequestHandler, file: Path) -> None:
        if not file.is_file():
            request.send_error(404)
            return
        content = file.read_bytes()
        request.send_response(200)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)

    def __enter__(self) -> GitServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _chunks(request: BaseHTTPRequestHandler) -> bytes:
    """A body whose length was not known when it began."""
    whole = b""
    while size := int(request.rfile.readline().strip(), 16):
        whole += request.rfile.read(size)
        request.rfile.readline()
    request.rfile.readline()
    return whole
