"""A real PostgreSQL on loopback, of Debian's package, in a folder of its own and under the package's user."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

from support.tracking import free_port

USER = "postgres"
START_SECONDS = 60


class PostgresFailed(RuntimeError):
    """The server did not start; the text holds what it printed."""


def programs() -> Path:
    """Where Debian keeps the server, which is on nobody's PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        raise PostgresFailed("PostgreSQL is not installed: `apt-get install postgresql` as root")
    return found[-1].parent


class Postgres:
    """One server with one database `history`; all of it goes with the block."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="smalt-postgres-"))
        self.password = secrets.token_hex(16)
        self.host, self.port = host, free_port()
        self.uri = f"postgresql://{USER}:{self.password}@{host}:{self.port}/history"
        self.log = self.folder / "server.log"
        # The server refuses to be root.
        self._user = USER if os.geteuid() == 0 else None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Postgres:
        try:
            self._create()
            self.start()
            self.sql("create database history", database="postgres")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _create(self) -> None:
        given = self.folder / "password"
        given.write_text(self.password)
        if self._user:
            shutil.chown(self.folder, USER, USER)
            shutil.chown(given, USER, USER)
        options = ["--auth=scram-sha-256", f"--username={USER}", f"--pwfile={given}", "--no-sync", "--encoding=UTF8"]
        self._run([str(programs() / "initdb"), "--pgdata", str(self.folder / "data"), *options])
        with (self.folder / "data/pg_hba.conf").open("a") as rules:
            # Pods come from addresses of their own to a server on the node's.
            rules.write("host all all all scram-sha-256\n")

    def start(self) -> None:
        """Starts the server and waits until it takes connections."""
        options = ["-p", str(self.port), "-h", self.host, "-k", str(self.folder), "-c", "fsync=off"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(programs() / "postgres"), "-D", str(self.folder / "data"), *options],
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                user=self._user,
                group=self._user,
            )
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until and self._process.poll() is None:
            asked = [str(programs() / "pg_isready"), "-h", self.host, "-p", str(self.port)]
            if subprocess.run(asked, capture_output=True).returncode == 0:
                return
            time.sleep(0.05)
        raise PostgresFailed(f"PostgreSQL did not start:\n{self.log.read_text()}")

    def stop(self) -> None:
        """Ends it at once, with its connections cut."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def sql(self, statement: str, database: str = "history") -> str:
        """What psql prints of a statement's rows."""
        asked = ["-h", self.host, "-p", str(self.port), "-U", USER, "-d", database, "-At", "-c", statement]
        return self._run([str(programs() / "psql"), *asked])

    def dump(self, into: Path) -> None:
        """As the documentation makes a backup."""
        content = self._run([str(programs() / "pg_dump"), "--format=plain", self.uri])
        into.write_text(content)

    def _run(self, command: list[str]) -> str:
        variables = {"PGPASSWORD": self.password, "PATH": "/usr/bin:/bin", "LC_ALL": "C"}
        finished = subprocess.run(
            command,
            env=variables,
            cwd=self.folder,
            capture_output=True,
            text=True,
            user=self._user,
            group=self._user,
        )
        if finished.returncode:
            raise PostgresFailed(f"{command[0]}: {finished.stderr}")
        return finished.stdout
