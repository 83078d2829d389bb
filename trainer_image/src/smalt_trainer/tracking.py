"""The part of MLflow's REST API a run needs, by urllib: no client library, so any image will do."""

from __future__ import annotations

import base64
import http.client
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Iterable, Iterator, Mapping, Optional, Tuple

from smalt_trainer.refusals import Forbidden, Refused, Unreachable, Unreadable

_ANSWER = 30.0
_UPLOAD = 300.0
_PIECE = 1 << 20


class _Source:
    """A file on its way, no more of it than was promised, since it may grow meanwhile; what fails in reading it must not
    look like a connection that failed."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.size = self._left = os.fstat(stream.fileno()).st_size

    def read(self, size: int) -> bytes:
        try:
            piece = self._stream.read(min(size, self._left))
        except OSError as error:
            raise Unreadable(error.strerror) from error
        self._left -= len(piece)
        return piece


class Tracking:
    """One tracking server. A password in a file is read for every request, since the Secret may be made anew."""

    def __init__(self, uri: str, username: str = "", password: str = "", password_file: Optional[Path] = None) -> None:
        self.uri = uri.rstrip("/")
        self._username, self._password, self._password_file = username, password, password_file
        # The server is in the cluster: a proxy of the image's environment is not on the way to it, and a redirect would
        # carry the password to wherever it points. So neither is among the handlers.
        self._opener = urllib.request.OpenerDirector()
        for handler in (
            urllib.request.HTTPHandler(),
            urllib.request.HTTPSHandler(),
            urllib.request.UnknownHandler(),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
        ):
            self._opener.add_handler(handler)

    @classmethod
    def from_environment(cls, variables: Mapping[str, str], password_file: Path) -> Tracking:
        """The server that the pod's variables name; without the file, the password is the variable's."""
        return cls(
            variables.get("MLFLOW_TRACKING_URI", ""),
            variables.get("MLFLOW_TRACKING_USERNAME", ""),
            variables.get("MLFLOW_TRACKING_PASSWORD", ""),
            password_file,
        )

    def credentials(self) -> dict[str, str]:
        """The header that lets a request in, with the password as it is now."""
        if not self._username:
            return {}
        password = self._password
        if self._password_file and self._password_file.is_file():
            password = self._password_file.read_text(encoding="utf-8").strip() or password
        token = base64.b64encode(f"{self._username}:{password}".encode()).decode("ascii")
        return {"Authorization": f"Basic {token}"}

    def call(self, method: str, path: str, body: Optional[Mapping[str, Any]] = None, **query: str) -> dict[str, Any]:
        """One call of the API below /api/2.0/mlflow/."""
        url = f"{self.uri}/api/2.0/mlflow/{path}" + (f"?{urllib.parse.urlencode(query)}" if query else "")
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        return self._json(self._send(method, url, data, headers, _ANSWER))

    def _json(self, content: bytes) -> dict[str, Any]:
        try:
            answer = json.loads(content or b"{}")
        except (ValueError, RecursionError) as error:
            raise Unreachable(f"{self.uri} answers {content[:40]!r}, which is no JSON") from error
        if not isinstance(answer, dict):
            raise Unreachable(f"{self.uri} answers {content[:40]!r}, which is no JSON object")
        return answer

    def upload(self, experiment: str, run: str, name: str, content: bytes | Path | BinaryIO) -> None:
        """Store one artifact of a run; a file is streamed, and Unreadable when it cannot be."""
        try:
            self._put(experiment, run, name, content)
        except Forbidden:
            # The right that this call needs too. Whoever has it is not forbidden to store, only to store this name.
            self.log_batch(run)
            try:
                self._put(experiment, run, name, content)
            except Forbidden as error:
                raise Refused(str(error), "403") from error

    def put(self, place: str, content: bytes) -> None:
        """Store something small at a place of the store."""
        headers = {"Content-Type": "application/octet-stream"}
        self._send("PUT", self._place(place), content, headers, _UPLOAD)

    def download(self, place: str) -> Iterator[bytes]:
        """A file of the store, piece by piece."""
        request = urllib.request.Request(self._place(place), headers=self.credentials())  # noqa: S310 — the operator's
        with _answers(self.uri), self._opener.open(request, timeout=_UPLOAD) as response:
            while piece := response.read(_PIECE):
                yield piece

    def artifacts(self, place: str) -> list[Tuple[str, Optional[int]]]:
        """What lies in a folder of the store: names with sizes, folders without one."""
        url = f"{self.uri}/api/2.0/mlflow-artifacts/artifacts?{urllib.parse.urlencode({'path': place})}"
        found = self._json(self._send("GET", url, None, {}, _ANSWER)).get("files") or ()
        return [
            (str(each["path"]).rsplit("/", 1)[-1], None if each.get("is_dir") else int(each.get("file_size") or 0))
            for each in found
        ]

    def _place(self, place: str) -> str:
        return f"{self.uri}/api/2.0/mlflow-artifacts/artifacts/{urllib.parse.quote(os.fsencode(place))}"

    def _put(self, experiment: str, run: str, name: str, content: bytes | Path | BinaryIO) -> None:
        url = self._place(f"{experiment}/{run}/artifacts/{name}")
        headers = {"Content-Type": "application/octet-stream"}
        if isinstance(content, bytes):
            self._send("PUT", url, content, headers, _UPLOAD)
            return
        if not isinstance(content, Path):
            content.seek(0)
            source = _Source(content)
            self._send("PUT", url, source, {**headers, "Content-Length": str(source.size)}, _UPLOAD)
            return
        try:
            stream = content.open("rb")
        except OSError as error:
            raise Unreadable(error.strerror) from error
        with stream:
            self._put(experiment, run, name, stream)

    def _send(self, method: str, url: str, data: Any, headers: Mapping[str, str], timeout: float) -> bytes:
        with _answers(self.uri):
            headers = {**self.credentials(), "User-Agent": "smalt-trainer", **headers}
            # The address is the operator's, never the user's.
            request = urllib.request.Request(url, data, headers, method=method)  # noqa: S310
            with self._opener.open(request, timeout=timeout) as response:
                content: bytes = response.read()
                return content

    # What a run asks of the server.

    def experiment_id(self, name: str) -> str:
        """The experiment's id; it is created when it does not exist, also when another run is just doing so."""
        try:
            return str(self.call("GET", "experiments/get-by-name", experiment_name=name)["experiment"]["experiment_id"])
        except Refused as error:
            if error.code != "RESOURCE_DOES_NOT_EXIST":
                raise
        try:
            return str(self.call("POST", "experiments/create", {"name": name})["experiment_id"])
        except Refused as error:
            if error.code != "RESOURCE_ALREADY_EXISTS":
                raise
        return str(self.call("GET", "experiments/get-by-name", experiment_name=name)["experiment"]["experiment_id"])

    def find_runs(self, experiment: str, tags: Mapping[str, str], status: str = "") -> list[dict[str, Any]]:
        """The runs with these tags, the oldest first; a hundred of them when there are more."""
        conditions = [f"tags.`{name}` = '{value}'" for name, value in tags.items()]
        conditions += [f"attributes.status = '{status}'"] if status else []
        body = {"experiment_ids": [experiment], "filter": " and ".join(conditions), "max_results": 100}
        runs = self.call("POST", "runs/search", body).get("runs") or []
        return sorted(runs, key=lambda run: (int(run["info"].get("start_time") or 0), run["info"]["run_id"]))

    def log_batch(
        self,
        run: str,
        metrics: Iterable[Mapping[str, Any]] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Record metrics, parameters and tags of a run in one call."""
        body = {
            "run_id": run,
            "metrics": list(metrics),
            "params": [{"key": key, "value": value} for key, value in (params or {}).items()],
            "tags": [{"key": key, "value": value} for key, value in (tags or {}).items()],
        }
        self.call("POST", "runs/log-batch", body)

    def metrics(self, run: str) -> Tuple[dict[str, float], list[str]]:
        """The latest value of every metric, and the names of those whose latest value is not a finite number."""
        data = self.call("GET", "runs/get", run_id=run)["run"].get("data") or {}
        finite: dict[str, float] = {}
        other: list[str] = []
        for metric in data.get("metrics") or ():
            value = float(metric.get("value", 0.0))
            # The SQL store keeps infinities as the largest number there is.
            if abs(value) < 1.79e308:
                finite[metric["key"]] = value
            else:
                other.append(metric["key"])
        return finite, other


@contextmanager
def _answers(uri: str) -> Iterator[None]:
    """What goes wrong in here is said in our own words."""
    try:
        yield
    except urllib.error.HTTPError as error:
        raise _refusal(error) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Unreachable(f"{uri} does not answer ({getattr(error, 'reason', None) or error})") from error


def _refusal(error: urllib.error.HTTPError) -> Exception:
    with error:
        text = error.read(65536).decode("utf-8", "replace")
    try:
        answer = json.loads(text)
    except ValueError:
        answer = {}
    if not isinstance(answer, dict):
        answer = {}
    told = str(answer.get("message") or text.strip() or error.reason)[:300]
    message = f"the tracking server answered {error.code}: {told}"
    if error.code < 400:
        return Unreachable(f"the tracking server answered {error.code}, a redirect, which is not followed")
    if error.code == 403:
        return Forbidden(message)
    # A password that is being replaced and a server that is starting both answer so for a while.
    if error.code in (401, 408, 425, 429) or error.code >= 500:
        return Unreachable(message)
    return Refused(message, str(answer.get("error_code") or error.code))
