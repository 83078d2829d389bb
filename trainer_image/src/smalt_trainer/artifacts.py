"""What the workspace's own store holds: outputs of runs, models, and files that were pushed, each with its manifest.

The manifest is checked against the digest that was pinned, then every file against the manifest, as the model server
does it: what passes is what was stored, whoever could write there since.
"""

from __future__ import annotations

import os
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable, Mapping

from smalt_trainer.digests import Entry, entries_of, file_sha256, text_digest
from smalt_trainer.download import HttpFile
from smalt_trainer.progress import Progress
from smalt_trainer.tracking import Tracking
from smalt_trainer.transfer import CHUNK, patiently, transfer

# The server may be starting, or its password be made anew: it is asked for some minutes.
_TRIES = 18
_AT_ONCE = 4
_PASSING = frozenset({401, 408, 425, 429})
_LARGEST_MANIFEST = 256 << 20


class Altered(Exception):
    """What the store holds is not what the digest is of."""


class ArtifactStore:
    """The tracking server's store; `headers` are asked for every request, since the password may change."""

    def __init__(self, uri: str, headers: Callable[[], Mapping[str, str]], tries: int = _TRIES, pause: float = 1.0):
        self.uri, self.headers = uri.rstrip("/"), headers
        self.tries, self.pause = tries, pause
        # As everywhere, neither a proxy nor a redirect is on the way to this server: either would see the password.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects())

    @classmethod
    def of(cls, tracking: Tracking) -> ArtifactStore:
        """The store behind a tracking server, asked as whom the server knows."""
        return cls(tracking.uri, tracking.credentials)

    def fetch(self, place: str, digest: str, into: Path, progress: Progress) -> list[Entry]:
        """Every file of the artifact into the folder. FetchFailed, or Altered when something is not as pinned."""
        text = self._manifest(place)
        found = text_digest(text)
        if found != digest:
            raise Altered(f"its manifest has digest {found}, and {digest} was stored")
        try:
            entries = entries_of(text)
        except (ValueError, KeyError, TypeError) as error:
            raise Altered(f"its manifest is not one: {error}") from error
        progress.of_many(sum(entry.size for entry in entries))
        with ThreadPoolExecutor(_AT_ONCE) as workers:
            for _ in workers.map(lambda entry: self._file(place, entry, into, progress), entries):
                pass
        return entries

    def _manifest(self, place: str) -> str:
        def ask() -> str:
            received: list[bytes] = []
            with self._source(f"{place}.manifest.json").open(0, "") as answer:
                while True:
                    piece = answer.read(CHUNK)
                    if not piece:
                        return b"".join(received).decode("utf-8", "surrogateescape")
                    received.append(piece)
                    if sum(map(len, received)) > _LARGEST_MANIFEST:
                        raise Altered("its manifest is larger than any that is stored")

        return patiently(ask, self.tries, self.pause)

    def _file(self, place: str, entry: Entry, into: Path, progress: Progress) -> None:
        target = into / entry.path
        transfer(self._source(f"{place}/{entry.path}"), target, progress, self.tries, self.pause)
        size = target.stat().st_size
        if size != entry.size or file_sha256(target) != entry.sha256:
            raise Altered(f"its file {entry.path!r} is not the one that was stored")

    def _source(self, path: str) -> _Stored:
        quoted = urllib.parse.quote(os.fsencode(path))
        return _Stored(f"{self.uri}/api/2.0/mlflow-artifacts/artifacts/{quoted}", self.headers(), self._opener)


class _Stored(HttpFile):
    """A file of the store. A server that was asked with an old password answers 401 for a while."""

    def __init__(self, url: str, headers: Mapping[str, str], opener: urllib.request.OpenerDirector) -> None:
        super().__init__(url, headers, opener, _PASSING)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect stays an answer: following it would take the password along."""

    def redirect_request(self, *_: Any) -> None:
        return None
