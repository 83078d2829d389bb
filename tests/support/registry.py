"""A real registry of images (distribution) on loopback, over a folder, with a login if one is given."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType

from cluster.programs import program
from support.tracking import free_port

START_SECONDS = 30


class RegistryFailed(RuntimeError):
    """The registry did not start; the text holds what it printed."""


class Registry:
    """`registry serve` on a free port; what it holds goes with the block."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="smalt-registry-")
        self.port = free_port()
        self.host = f"127.0.0.1:{self.port}"
        self._log = Path(self._folder.name) / "registry.log"
        self._process: subprocess.Popen[bytes] | None = None

    def tags(self, repository: str) -> list[str]:
        """The tags of a repository; none when there is no such one."""
        try:
            return list(json.loads(self._ask(f"/v2/{repository}/tags/list"))["tags"] or [])
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return []
            raise

    def pushes(self) -> int:
        """How many manifests were put."""
        return self._log.read_text().count('"PUT /v2/') if self._log.exists() else 0

    def manifest(self, repository: str, reference: str) -> dict[str, object]:
        return dict(json.loads(self._ask(f"/v2/{repository}/manifests/{reference}")))

    def docker_config(self) -> str:
        """As the Secret that `pushSecret` names; the registry asks for no login, and gets one all the same."""
        login = base64.b64encode(b"pusher:secret-of-the-registry").decode()
        return json.dumps({"auths": {self.host: {"auth": login}}})

    def _ask(self, path: str) -> str:
        request = urllib.request.Request(f"http://{self.host}{path}")
        accepted = (
            "application/vnd.docker.distribution.manifest.v2+json",
            "application/vnd.oci.image.manifest.v1+json",
        )
        request.add_header("Accept", ", ".join(accepted))
        with urllib.request.urlopen(request, timeout=10) as response:
            return str(response.read().decode())

    def __enter__(self) -> Registry:
        folder = Path(self._folder.name)
        configuration = folder / "config.yml"
        configuration.write_text(
            json.dumps(
                {
                    "version": "0.1",
                    "log": {"accesslog": {"disabled": False}},
                    "storage": {"filesystem": {"rootdirectory": str(folder / "data")}, "delete": {"enabled": True}},
                    "http": {"addr": self.host},
                }
            )
        )
        with self._log.open("wb") as log:
            command = [str(program("registry", "registry")), "serve", str(configuration)]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        until = time.monotonic() + START_SECONDS
        while True:
            try:
                self._ask("/v2/")
                return self
            except (urllib.error.URLError, ConnectionError) as error:
                if self._process.poll() is not None or time.monotonic() > until:
                    self.__exit__(None, None, None)
                    raise RegistryFailed(f"the registry does not answer: {error}") from error
                time.sleep(0.05)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(10)
        self._folder.cleanup()
