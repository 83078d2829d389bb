"""The real tracking server on loopback, in a virtualenv of its own: the tests' packages hold no MLflow server."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType

from support.virtualenvs import python_of

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCE = REPOSITORY / "tracking_image/src"
USERS = ("admin", "runs", "scoring", "registry")
START_SECONDS = 90


class TrackingFailed(RuntimeError):
    """The server did not start; the text holds what it printed."""


def tracking_environment() -> Path:
    """The Python that has what the tracking image has."""
    return python_of("tracking")


class TrackingServer:
    """`python -m smalt_tracking` on a free loopback port; its data folder outlives a restart, not the block."""

    def __init__(
        self, allowed_hosts: str = "", database: str | None = None, variables: dict[str, str] | None = None
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="smalt-tracking-"))
        self.data = self.folder / "data"
        self.secrets = self.folder / "secrets"
        self.log = self.folder / "server.log"
        self.passwords: dict[str, str] = {}
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.allowed_hosts = ",".join(filter(None, [f"127.0.0.1:{self.port}", allowed_hosts]))
        self.process: subprocess.Popen[bytes] | None = None
        self.database = self.folder / "database"
        self.variables = variables or {}
        self.data.mkdir()
        self.secrets.mkdir()
        self.has_database = database is not None
        if database:
            self.database.write_text(database)
        (self.secrets / "flask-secret-key").write_text(secrets.token_urlsafe(32))
        self.new_passwords()

    def __enter__(self) -> TrackingServer:
        try:
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def new_passwords(self) -> None:
        """Other passwords in the files, as a re-made Secret brings them; they hold after the next start."""
        self.passwords = {user: secrets.token_urlsafe(24) for user in USERS}
        for user, password in self.passwords.items():
            (self.secrets / f"{user}-password").write_text(password)

    def start(self) -> None:
        """Starts the server and waits until it is ready."""
        python = tracking_environment()
        environment = {
            "PATH": f"{python.parent}:/usr/bin:/bin",
            "PYTHONPATH": str(SOURCE),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": str(self.folder),
            "SMALT_ALLOWED_HOSTS": self.allowed_hosts,
            "SMALT_HOST": "127.0.0.1",
            "SMALT_PORT": str(self.port),
            "SMALT_DATA": str(self.data),
            "SMALT_SECRETS": str(self.secrets),
            "SMALT_DATABASE": str(self.database),
            "SMALT_DATABASE_SECRET": "history" if self.has_database else "",
            "TMPDIR": str(self.folder),
            **self.variables,
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [str(python), "-m", "smalt_tracking"],
                env=environment,
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.wait_ready()

    def wait_ready(self) -> None:
        """Returns when /health answers; raises TrackingFailed with the log when the server ends before."""
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            if self.process is None or self.process.poll() is not None:
                raise TrackingFailed(f"the tracking server ended:\n{self.log.read_text()}")
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=5):
                    return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.1)
        raise TrackingFailed(f"the tracking server was not ready in {START_SECONDS} s:\n{self.log.read_text()}")

    def stop(self) -> None:
        """Ends the server as the kubelet does: SIGTERM first, SIGKILL to its whole session when that is not enough."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.process = None

    def kill(self) -> None:
        """Ends the server at once, as a node that is lost does."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def restart(self) -> None:
        """Ends the server and starts it again on the same data and port."""
        self.stop()
        self.start()


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
