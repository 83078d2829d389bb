"""A score script behind Azure's own scoring server, or behind ours: the same folder, settings and requests for both."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from support.virtualenvs import python_of

SOURCE = Path(__file__).resolve().parents[2] / "scorer_image/src"
OURS = ("-m", "smalt_scorer")
START_SECONDS = 60.0
Whose = Literal["azure", "ours"]
BOTH: tuple[Whose, Whose] = ("azure", "ours")


@dataclass(frozen=True)
class Setup:
    """What a server is started with; `{folder}` and `{further_port}` in variables and arguments are filled in."""

    files: Mapping[str, str]
    variables: Mapping[str, str] = field(default_factory=dict)
    arguments: Sequence[str] = ()
    entry: str | None = "score.py"


@dataclass(frozen=True)
class Asked:
    """One request."""

    method: str = "POST"
    path: str = "/score"
    body: bytes = b""
    headers: Sequence[tuple[str, str]] = ()
    at_further_port: bool = False


@dataclass(frozen=True)
class Answered:
    """Its answer; names of headers are in lower case."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """All its values, in their order."""
        values = [value for key, value in self.headers if key == name]
        return ", ".join(values) if values else None

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class DidNotStart(Exception):
    """The server ended; the text is what it printed."""


@dataclass
class ScoreServer:
    """One that runs."""

    port: int
    further_port: int
    process: subprocess.Popen[bytes]
    log_path: Path
    folder: Path

    def ask(self, asked: Asked) -> Answered:
        """One request on a connection of its own, with no header but those that it names."""
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.further_port if asked.at_further_port else self.port, timeout=30
        )
        try:
            has_host = any(name == "Host" for name, _ in asked.headers)
            connection.putrequest(asked.method, asked.path, skip_host=has_host, skip_accept_encoding=True)
            for name, value in asked.headers:
                connection.putheader(name, value)
            if asked.body or asked.method == "POST":
                connection.putheader("Content-Length", str(len(asked.body)))
            connection.endheaders(asked.body or None)
            answer = connection.getresponse()
            return Answered(answer.status, [(k.lower(), v) for k, v in answer.getheaders()], answer.read())
        finally:
            connection.close()

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")


@contextmanager
def serving(whose: Whose, setup: Setup) -> Iterator[ScoreServer]:
    """DidNotStart when it ends before it answers."""
    with tempfile.TemporaryDirectory(prefix="smalt-score-") as made:
        folder = Path(made)
        (folder / "models").mkdir()
        for name, text in setup.files.items():
            path = folder / "code" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        server = _start(whose, setup, folder, *_two_ports())
        try:
            _wait(server)
            yield server
        finally:
            _end(server)


def _start(whose: Whose, setup: Setup, folder: Path, port: int, further_port: int) -> ScoreServer:
    def filled(text: str) -> str:
        return text.replace("{folder}", str(folder / "code")).replace("{further_port}", str(further_port))

    entry = ["--entry_script", setup.entry] if setup.entry else []
    given = [*entry, "--model_dir", str(folder / "models"), "--port", str(port), *map(filled, setup.arguments)]
    variables = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        **{name: filled(value) for name, value in setup.variables.items()},
    }
    if whose == "azure":
        command = [str(python_of("bench-azureml")), "-m", "azureml_inference_server_http"]
    else:
        command = [sys.executable, *OURS]
        variables["PYTHONPATH"] = str(SOURCE)
    log = folder / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [*command, *given],
            env=variables,
            cwd=folder / "code",
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    return ScoreServer(port, further_port, process, log, folder)


def _two_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]


def _wait(server: ScoreServer) -> None:
    """Until it answers 200, or ends: gunicorn listens before the script is loaded, and starts one that fails again."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        if server.process.poll() is not None:
            raise DidNotStart(server.log)
        try:
            if server.ask(Asked("GET", "/")).status == 200 and "/readyz" not in _not_ready(server):
                return
        except (OSError, http.client.HTTPException):
            pass
        if time.monotonic() > deadline:
            raise TimeoutError(server.log)
        time.sleep(0.05)


def _not_ready(server: ScoreServer) -> str:
    """Ours answers `/` while init() runs; Azure's knows no /readyz, and answers `/` once it has."""
    return "/readyz" if server.ask(Asked("GET", "/readyz")).status == 503 else ""


def _end(server: ScoreServer) -> None:
    if server.process.poll() is None:
        # gunicorn's workers are its children: the group, which is its own.
        os.killpg(server.process.pid, signal.SIGKILL)
    server.process.wait()
