"""A real S3 server on loopback: versitygw over a folder, so that what it holds can also be put there and looked at as files.

It asks for a login by signature as any S3 does; what it does not have (a public bucket's policy and the like) is no
part of these tests.
"""

from __future__ import annotations

import secrets
import shutil
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
REGION = "us-east-1"


class S3Failed(RuntimeError):
    """The server did not start; the text holds what it printed."""


class S3Server:
    """`versitygw posix` on a free port; buckets are folders of `data`, and all of it goes with the block."""

    def __init__(self, *buckets: str, host: str = "127.0.0.1", certificate: tuple[Path, Path] | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="smalt-s3-"))
        self.data = self.folder / "data"
        self.log = self.folder / "server.log"
        self.access_key, self.secret_key = f"AK{secrets.token_hex(8).upper()}", secrets.token_urlsafe(24)
        self.host, self.port = host, free_port()
        self.certificate = certificate
        self.url = f"{'https' if certificate else 'http'}://{host}:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None
        for bucket in buckets:
            (self.data / bucket).mkdir(parents=True)
        self.data.mkdir(exist_ok=True)

    @property
    def credentials(self) -> dict[str, str]:
        """As the Secret that `credentialsSecret` names."""
        return {
            "accessKeyId": self.access_key,
            "secretAccessKey": self.secret_key,
            "endpointUrl": self.url,
            "region": REGION,
        }

    def put(self, bucket: str, key: str, content: bytes) -> None:
        """An object, through the server, which gives it its tag."""
        import obstore
        from obstore.store import S3Store

        store = S3Store(
            bucket,
            endpoint=self.url,
            access_key_id=self.access_key,
            secret_access_key=self.secret_key,
            region=REGION,
            client_options={"allow_http": True},
        )
        obstore.put(store, key, content)

    def __enter__(self) -> S3Server:
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

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        command = [str(program("versitygw", "versitygw")), "--port", f"{self.host}:{self.port}", "--keep-alive"]
        if self.certificate:
            command += ["--cert", str(self.certificate[0]), "--key", str(self.certificate[1])]
        # Metadata beside the objects: a folder of a container's file system may know no extended attributes.
        (self.folder / "metadata").mkdir(exist_ok=True)
        command += ["--health", "/health", "posix", "--sidecar", str(self.folder / "metadata"), str(self.data)]
        login = {"ROOT_ACCESS_KEY": self.access_key, "ROOT_SECRET_KEY": self.secret_key}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                env={"PATH": "/usr/bin:/bin", "HOME": str(self.folder), **login},
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.wait_ready()

    def wait_ready(self) -> None:
        """Returns when the server listens; raises S3Failed with the log when it ends before."""
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            if self.process is None or self.process.poll() is not None:
                break
            try:
                urllib.request.urlopen(self.url, timeout=5).close()
            except urllib.error.HTTPError:
                return  # it answers, and wants a signature
            except urllib.error.URLError as error:
                if self.certificate and "CERTIFICATE" in str(error).upper():
                    return
                time.sleep(0.05)
        raise S3Failed(f"the S3 server did not start:\n{self.log.read_text()}")

    def stop(self) -> None:
        """Ends it by SIGTERM, and by SIGKILL when that is not enough."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None
