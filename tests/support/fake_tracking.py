"""A tracking server of a page, on loopback: it keeps what runs send, and does what a real one does only on bad days."""

from __future__ import annotations

import base64
import json
import re
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

Json = dict[str, Any]


class FakeTracking:
    """The calls that the trainer makes, answered from memory."""

    def __init__(self) -> None:
        self.runs: dict[str, Json] = {}
        self.artifacts: dict[str, bytes] = {}
        # Names of artifacts, and the names of each call's tags, in the order in which they came.
        self.stored: list[str] = []
        self.tagged: list[list[str]] = []
        self.password: str | None = None
        self.refused_passwords: list[str] = []
        # Uploads whose name contains this are refused as MLflow refuses a bad path, forbidden as its guard forbids a name
        # that it cannot read, or never answered.
        self.refuses: str | None = None
        self.forbids: str | None = None
        self.hangs: str | None = None
        # Answers by the end of the path, in place of our own: status, headers, body.
        self.answers: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.hanging = threading.Event()
        self._over = threading.Event()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                owner._answer(self)

            def do_POST(self) -> None:
                owner._answer(self)

            def do_PUT(self) -> None:
                owner._answer(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 — the base class names it so
                """Tests read what was kept."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def metrics(self, run: str = "r1") -> Json:
        """What the script logged, without what was measured of the machine."""
        return {name: value for name, value in self.runs[run]["metrics"].items() if not name.startswith("system/")}

    @property
    def url(self) -> str:
        """The server's address."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        content = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        path = urllib.parse.unquote(urllib.parse.urlsplit(request.path).path)
        found = next((self.answers[end] for end in self.answers if path.endswith(end)), None)
        status, headers, body = found or self._own(request, path, content)
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    def _own(self, request: BaseHTTPRequestHandler, path: str, content: bytes) -> tuple[int, dict[str, str], bytes]:
        given = base64.b64decode((request.headers.get("Authorization") or "").partition(" ")[2]).decode()
        if self.password is not None and given.partition(":")[2] != self.password:
            self.refused_passwords.append(given.partition(":")[2])
            return 401, {}, b"You are not authenticated."
        if "/mlflow-artifacts/" in path:
            return self._keep(path, content)
        if path.endswith("get-by-name"):
            return _json({"experiment": {"experiment_id": "1"}})
        body = json.loads(content) if content else {}
        return _json(getattr(self, "_" + path.rpartition("/")[2].replace("-", "_"))(request, body))

    def _keep(self, path: str, content: bytes) -> tuple[int, dict[str, str], bytes]:
        name = path.partition("/artifacts/")[2].partition("/artifacts/")[2]
        if self.refuses and self.refuses in name:
            return _json({"error_code": "INVALID_PARAMETER_VALUE", "message": "Invalid path"}, 400)
        if self.forbids and self.forbids in name:
            return 403, {}, b"Permission denied"
        if self.hangs and self.hangs in name:
            self.hanging.set()
            self._over.wait()
        self.artifacts[name] = content
        self.stored.append(name)
        return _json({})

    def _search(self, _request: BaseHTTPRequestHandler, body: Json) -> Json:
        wanted = dict(re.findall(r"tags\.`(.*?)` = '(.*?)'", body["filter"]))
        status = re.findall(r"attributes\.status = '(.*?)'", body["filter"])
        found = {
            name: run
            for name, run in self.runs.items()
            if wanted.items() <= run["tags"].items() and (not status or run["status"] == status[0])
        }
        return {"runs": [self._shown(name, run) for name, run in found.items()]}

    def _create(self, _request: BaseHTTPRequestHandler, body: Json) -> Json:
        name = f"r{len(self.runs) + 1}"
        tags = {each["key"]: each["value"] for each in body.get("tags") or []}
        self.runs[name] = {"status": "RUNNING", "metrics": {}, "params": {}, "tags": tags, "asked": body}
        return {"run": {"info": {"run_id": name}}}

    def _shown(self, name: str, run: Json) -> Json:
        data = {
            part: [{"key": key, "value": value} for key, value in run[part].items()] for part in ("metrics", "tags")
        }
        return {"info": {"run_id": name, "status": run["status"]}, "data": data}

    def _update(self, _request: BaseHTTPRequestHandler, body: Json) -> Json:
        self.runs[body["run_id"]]["status"] = body["status"]
        return {}

    def _log_batch(self, _request: BaseHTTPRequestHandler, body: Json) -> Json:
        for part in ("metrics", "params", "tags"):
            self.runs[body["run_id"]][part].update({each["key"]: each["value"] for each in body.get(part) or []})
        self.tagged.append([each["key"] for each in body.get("tags") or []])
        return {}

    def _get(self, request: BaseHTTPRequestHandler, _body: Json) -> Json:
        name = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(request.path).query))["run_id"]
        return {"run": self._shown(name, self.runs[name])}

    def __enter__(self) -> FakeTracking:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _json(body: Json, status: int = 200) -> tuple[int, dict[str, str], bytes]:
    return status, {"Content-Type": "application/json"}, json.dumps(body).encode()
