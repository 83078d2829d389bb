"""Brings a small file that the registry keeps beside a model: the lock of its run's packages, the schema of its requests."""

from __future__ import annotations

import hashlib
from pathlib import Path

from smalt_scorer.contract import Model, RegistryFile
from smalt_scorer.failures import Failure
from smalt_scorer.fetch import PATIENCE_SECONDS, Server, path_of, patiently

LOCK = "requirements.lock"
# A lock with all the hashes of a few hundred packages has a tenth of it, and so has a schema of a few thousand columns.
MOST_BYTES = 4 << 20


def fetch_file(
    file: RegistryFile, target: Path, model: Model, server: Server, patience_seconds: float = PATIENCE_SECONDS
) -> Path:
    """The file, when it is the registered one; what is there and right already is not asked for again."""
    if target.exists() and digest_of(target.read_bytes()) == file.digest:
        return target
    content = patiently(lambda: _content(server, path_of(file.uri, model)), model, patience_seconds)
    check(content, file, target.name, model)
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_suffix(".unfinished")
    unfinished.write_bytes(content)
    unfinished.rename(target)
    return target


def check(content: bytes, file: RegistryFile, name: str, model: Model) -> None:
    """Failure for another content than the registered one."""
    found = digest_of(content)
    if found != file.digest:
        raise Failure(
            "ModelDigestMismatch",
            f"{name} of Model '{model.object_name}' has digest {found}, and {file.digest} was registered: it was altered, and "
            "nothing of it is used. Find out who changed it, then register the model again",
        )


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _content(server: Server, path: str) -> bytes:
    with server.open(path) as answer:
        content = bytes(answer.read(MOST_BYTES + 1))
        whole = int(answer.headers.get("Content-Length") or 0)
        if len(content) < min(whole, MOST_BYTES):
            raise ConnectionError(f"the answer broke off after {len(content)} of {whole} bytes")
    return content
