"""A scoring pod without a cluster: the server as a process on loopback, with the contract the operator writes."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from smalt_scorer.digests import manifest, manifest_digest
from support.run_pod import wait_until
from support.tracking import free_port

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCE = REPOSITORY / "scorer_image/src"
PRIMARY, SECONDARY = "first-key", "second-key"


@dataclass(frozen=True)
class Answer:
    """What came back."""

    code: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class ScoringPod:
    """One pod; its artifact lies where the init container puts it, and `changes` replace fields of the contract."""

    def __init__(self, folder: Path, script: str | None, files: dict[str, bytes], **changes: Any) -> None:
        self.folder, self.port = folder, free_port()
        # Another Python and other sources stand for another image.
        self.python, self.source = Path(sys.executable), SOURCE
        self.started_by: Callable[[Sequence[str]], list[str]] = list
        self.model_dir = folder / "model/azureml-models/churn/3"
        self.keys = folder / "keys"
        self.set_keys(PRIMARY, SECONDARY)
        for name, content in files.items():
            path = self.model_dir / "model" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        (folder / "termination-log").touch()
        settings = {
            "requestTimeoutSeconds": 5,
            "maxConcurrentRequests": 64,
            "maxQueueWaitSeconds": 0.5,
            "maxBodyBytes": 1 << 20,
        }
        self.contract: dict[str, Any] = {
            "version": 1,
            "deployment": {"namespace": "team-a", "name": "churn-prod"},
            "model": {
                "name": "churn",
                "version": 3,
                "object": "churn-3",
                "uri": "mlflow-artifacts:/1/abc/artifacts/outputs/model",
                "digest": manifest_digest(manifest(self.model_dir / "model")),
            },
            "output": "model",
            "code": {"inline": {"score.py": script}} if script is not None else None,
            "scoringScript": "score.py" if script is not None else None,
            "environment": None,
            "environmentVariables": {},
            "authMode": "key",
            **changes,
            "requestSettings": settings | changes.get("requestSettings", {}),
        }
        self.process: subprocess.Popen[bytes] | None = None

    def set_keys(self, primary: str, secondary: str) -> None:
        """What a changed Secret looks like in the pod."""
        self.keys.mkdir(parents=True, exist_ok=True)
        for name, key in (("primaryKey", primary), ("secondaryKey", secondary)):
            # At once, as the kubelet does it: nobody finds half a key.
            unfinished = self.keys / f".{name}"
            unfinished.write_text(key)
            unfinished.replace(self.keys / name)

    def start(self, *further: str) -> ScoringPod:
        """Start the server, with further arguments, and return at once."""
        self.write_contract()
        paths = {"contract": "scoring.json", "model-root": "model", "work": "work", "environment": "environment"}
        paths |= {"keys": "keys", "termination-log": "termination-log"}
        arguments = [part for name, path in paths.items() for part in (f"--{name}", str(self.folder / path))]
        return self.launch("serve", *arguments, "--host", "127.0.0.1", "--port", str(self.port), *further)

    def fetch(self, **variables: str) -> int:
        """What the init container does; its exit code."""
        self.write_contract()
        paths = {"contract": "scoring.json", "into": "model", "termination-log": "termination-log"}
        arguments = [part for name, path in paths.items() for part in (f"--{name}", str(self.folder / path))]
        return self.launch("fetch", *arguments, **variables).wait()

    def write_contract(self) -> None:
        """The annotation, as the pod sees it."""
        (self.folder / "scoring.json").write_text(json.dumps(self.contract))

    def launch(self, *arguments: str, **variables: str) -> ScoringPod:
        """Start the scorer with these arguments."""
        variables |= {
            "PATH": f"{self.python.parent}:/usr/bin:/bin",
            "HOME": str(self.folder),
            "PYTHONPATH": str(self.source),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
        }
        command = self.started_by([str(self.python), "-m", "smalt_scorer", *arguments])
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, env=variables, cwd=self.folder, stdout=log, stderr=log)
        return self

    def __enter__(self) -> ScoringPod:
        self.start()
        try:
            self.wait_ready()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def wait_ready(self) -> None:
        """Until /readyz says so; the log when the process ends before."""
        wait_until(lambda: self.exit_code is not None or self.is_ready(), "/readyz answering 200", 60)
        assert self.exit_code is None, self.log

    def is_ready(self) -> bool:
        try:
            return self.get("/readyz").code == 200
        except OSError:
            return False  # nothing listens yet

    def terminate(self) -> None:
        """What the kubelet does when the pod is deleted."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)

    def wait(self, seconds: float = 30) -> int:
        """The exit code."""
        assert self.process is not None
        return self.process.wait(seconds)

    def end(self) -> None:
        assert self.process is not None
        if self.exit_code is None:
            self.process.kill()
        self.process.wait()

    @property
    def exit_code(self) -> int | None:
        assert self.process is not None
        return self.process.poll()

    def request(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            names = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body or None, names)
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def get(self, path: str) -> Answer:
        return self.request("GET", path)

    def score(self, body: Any, key: str = PRIMARY, **headers: str) -> Answer:
        """POST /score with a key, as clients do."""
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"} | headers
        return self.request("POST", "/score", json.dumps(body).encode(), **headers)

    @property
    def message(self) -> dict[str, Any]:
        """The termination message."""
        found: dict[str, Any] = json.loads((self.folder / "termination-log").read_text())
        return found

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()
