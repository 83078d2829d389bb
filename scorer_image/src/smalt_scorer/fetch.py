"""Brings the model's files from the tracking server, and lets nothing pass that is not what was registered.

The manifest is checked against the registered digest first, then every file against the manifest, and a file gets
its name only when it is right: whatever happens, a folder that stands is a folder that was verified.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import shutil
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from smalt_scorer.contract import Model
from smalt_scorer.digests import Entry, entries_of, manifest, manifest_digest, text_digest
from smalt_scorer.failures import Failure

T = TypeVar("T")
PATIENCE_SECONDS = 60.0
_CHUNK = 1 << 20
_TIMEOUT_SECONDS = 30.0
_PASSING = frozenset({408, 429, 500, 502, 503, 504})


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """An answer that sends elsewhere stays an answer: urllib would take the password along."""

    def redirect_request(self, *arguments: object) -> None:
        return None


@cache
def opener(bundle: str) -> urllib.request.OpenerDirector:
    """The server is the workspace's: a proxy of the container's environment is not on the way to it. `bundle` is a file
    of certificates that are trusted besides the system's."""
    trusted = ssl.create_default_context()
    if bundle:
        trusted.load_verify_locations(cafile=bundle)
    handlers = urllib.request.ProxyHandler({}), _NoRedirect, urllib.request.HTTPSHandler(context=trusted)
    return urllib.request.build_opener(*handlers)


@dataclass(frozen=True)
class Server:
    """Where the artifacts are, and who asks."""

    uri: str
    username: str = ""
    password: str = ""
    trust_bundle: str = ""

    def open(self, path: str) -> Any:
        """The answer to a GET of an artifact."""
        quoted = urllib.parse.quote(path, errors="surrogateescape")
        url = f"{self.uri.rstrip('/')}/api/2.0/mlflow-artifacts/artifacts/{quoted}"
        token = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        headers = {"Authorization": f"Basic {token}"} if self.username else {}
        request = urllib.request.Request(url, headers=headers)
        return opener(self.trust_bundle).open(request, timeout=_TIMEOUT_SECONDS)


def mismatch(model: Model, found: str) -> Failure:
    return Failure(
        "ModelDigestMismatch",
        f"the stored files of Model '{model.object_name}' have digest {found}, and {model.digest} was registered: they were "
        "altered, and are not loaded. Find out who changed them, then register the model again",
    )


def verify(model: Model, artifact: Path) -> None:
    """Failure unless the artifact's files are the registered ones."""
    found = manifest_digest(manifest(artifact))
    if found != model.digest:
        raise mismatch(model, found)


def fetch(model: Model, root: Path, server: Server, patience_seconds: float = PATIENCE_SECONDS) -> Path:
    """The verified artifact, a folder as every output of a run that can be a model. Started again, it takes over what is
    there and right."""
    target = model.artifact(root)
    if target.exists():
        verify(model, target)
        return target
    place = artifact_path(model)
    text = patiently(lambda: _text(server, f"{place}.manifest.json"), model, patience_seconds)
    found = text_digest(text)
    if found != model.digest:
        raise mismatch(model, found)
    try:
        entries = entries_of(text)
    except (ValueError, KeyError, TypeError) as error:
        raise Failure(
            "ModelDigestMismatch",
            f"the manifest of Model '{model.object_name}' is not one ({error}): register the model again, from a new run",
        ) from error
    unfinished = target.with_name(f".{model.output}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    for entry in entries:
        _file(model, server, f"{place}/{entry.path}", entry, unfinished, patience_seconds)
    unfinished.rename(target)
    return target


def artifact_path(model: Model) -> str:
    """`mlflow-artifacts:/1/abc/artifacts/outputs/model` -> `1/abc/artifacts/outputs/model`."""
    return path_of(model.uri, model)


def path_of(uri: str, model: Model) -> str:
    """Where something of the model lies in the server's store."""
    scheme, _, rest = uri.partition(":/")
    if scheme != "mlflow-artifacts" or not rest:
        raise Failure(
            "ModelUnavailable",
            f"Model '{model.object_name}' lies at {uri}, which this server cannot read: register it from a run of "
            "this Workspace",
        )
    return rest.lstrip("/")


def _file(model: Model, server: Server, path: str, entry: Entry, into: Path, patience_seconds: float) -> None:
    target = into / entry.path
    target.parent.mkdir(parents=True, exist_ok=True)
    found = patiently(lambda: _download(server, path, entry, target), model, patience_seconds)
    if found != entry.sha256 or target.stat().st_size != entry.size:
        raise Failure(
            "ModelDigestMismatch",
            f"file '{entry.path}' of Model '{model.object_name}' has SHA-256 {found}, and {entry.sha256} was registered: it "
            "was altered, and is not loaded. Find out who changed it, then register the model again",
        )


def _download(server: Server, path: str, entry: Entry, target: Path) -> str:
    """The SHA-256 of what came; no more is read than was registered."""
    sha, size = hashlib.sha256(), 0
    with server.open(path) as answer, target.open("wb") as file:
        while size <= entry.size and (piece := answer.read(_CHUNK)):
            sha.update(piece)
            file.write(piece)
            size += len(piece)
        # read() says nothing of a connection that broke off; a part is no altered file, and is asked for again.
        whole = int(answer.headers.get("Content-Length") or 0)
        if size < min(whole, entry.size):
            raise ConnectionError(f"the answer broke off after {size} of {whole} bytes")
    return sha.hexdigest()


def _text(server: Server, path: str) -> str:
    with server.open(path) as answer:
        return bytes(answer.read()).decode("utf-8", "surrogateescape")


def patiently(attempt: Callable[[], T], model: Model, seconds: float) -> T:
    """Tries until it works. Failure at once when asking again cannot help, or when the time is over."""
    deadline = time.monotonic() + seconds
    wait = 0.5
    while True:
        try:
            return attempt()
        except urllib.error.HTTPError as error:
            problem: Exception = error
            if error.code not in _PASSING:
                raise unavailable(model, f"it answers {error.code} {error.reason}") from error
        except (OSError, http.client.HTTPException) as error:
            problem = error
        if time.monotonic() + wait > deadline:
            raise unavailable(model, f"{type(problem).__name__}: {problem}") from problem
        time.sleep(wait)
        wait = min(wait * 2, 5.0)


def unavailable(model: Model, words: str) -> Failure:
    return Failure(
        "ModelUnavailable",
        f"the files of Model '{model.object_name}' cannot be had from the tracking server ({words}): it is tried again; see "
        "the Workspace's condition",
    )
