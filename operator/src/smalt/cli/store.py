"""The workspace's store as a user writes to it: files below `uploads/`, where no run can change them.

What lies there is named by its digest, so a name is written once or written again with the same content: whatever
broke off is begun again where it was.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

from smalt.cli.errors import CommandFailed, Interrupted

T = TypeVar("T")
TRIES = 6
_SECONDS = 300.0


@dataclass(frozen=True)
class Way:
    """How the store is reached: an address that may change when the way breaks, and what to do when it does."""

    url: Callable[[], str]
    renew: Callable[[], None]


class Store:
    """The store behind a tracking server."""

    def __init__(self, way: Way, username: str, password: str, tries: int = TRIES, pause: float = 1.0) -> None:
        self.way, self.tries, self.pause = way, tries, pause
        token = base64.b64encode(f"{username}:{password}".encode()).decode()
        self._headers = {"Authorization": f"Basic {token}"}
        # A password goes to this one address: no proxy, and no redirect, is on the way to it.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect())

    def read(self, path: str) -> bytes | None:
        """A small file, or None where there is none."""
        return self._patiently(lambda: self._asked("GET", _address(path), None, 0))

    def sizes(self, folder: str) -> dict[str, int]:
        """The files of a folder, not of those in it, by name."""
        query = f"?{urllib.parse.urlencode({'path': folder})}"
        content = self._patiently(lambda: self._asked("GET", query, None, 0)) or b"{}"
        found = json.loads(content).get("files") or []
        return {each["path"]: int(each.get("file_size") or 0) for each in found if not each.get("is_dir")}

    def write(self, path: str, content: bytes | Path, sent: Callable[[int], None]) -> None:
        """A file, streamed; `sent` hears of each piece, with a number below 0 when it is begun again."""

        def put() -> bytes | None:
            if isinstance(content, bytes):
                return self._asked("PUT", _address(path), content, len(content))
            with content.open("rb") as stream:
                counted = _Counted(stream, sent)
                try:
                    return self._asked("PUT", _address(path), counted, os.fstat(stream.fileno()).st_size)
                except Interrupted:
                    sent(-counted.count)
                    raise

        self._patiently(put)

    def _patiently(self, ask: Callable[[], T]) -> T:
        failures = 0
        while True:
            try:
                return ask()
            except Interrupted as error:
                failures += 1
                if failures >= self.tries:
                    raise CommandFailed(
                        f"{error}, {self.tries} times in a row: see the Workspace's condition, then run the command again; "
                        "it goes on where it was"
                    ) from error
                self.way.renew()
                time.sleep(min(self.pause * 2 ** (failures - 1), 15.0))

    def _asked(self, method: str, path: str, content: bytes | _Counted | None, size: int) -> bytes | None:
        url = f"{self.way.url()}/api/2.0/mlflow-artifacts/artifacts{path}"
        request = urllib.request.Request(url, content, dict(self._headers), method=method)  # noqa: S310 — our own forward
        if content is not None:
            request.add_header("Content-Type", "application/octet-stream")
            request.add_header("Content-Length", str(size))
        try:
            with self._opener.open(request, timeout=_SECONDS) as answer:
                found: bytes = answer.read()
                return found
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 404 and method == "GET":
                    return None
                raise _refusal(error, path) from error
        except (OSError, http.client.HTTPException) as error:
            raise Interrupted(
                f"the connection to the store failed ({getattr(error, 'reason', None) or error})"
            ) from error


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect stays an answer: following it would take the password along."""

    def redirect_request(self, *_: object) -> None:
        return None


class _Counted:
    """A file on its way, that tells how far it has come."""

    def __init__(self, stream: BinaryIO, sent: Callable[[int], None]) -> None:
        self._stream, self._sent, self.count = stream, sent, 0

    def read(self, size: int = -1) -> bytes:
        piece = self._stream.read(size)
        self.count += len(piece)
        self._sent(len(piece))
        return piece


def _refusal(error: urllib.error.HTTPError, path: str) -> Exception:
    if error.code in (408, 425, 429) or error.code >= 500:
        return Interrupted(f"the store answered {error.code} {error.reason}")
    if error.code in (401, 403):
        return CommandFailed(
            f"the store refuses the password of the workspace's Secret ({error.code}): wait until its tracking server has "
            "started again, and run the command again"
        )
    told = error.read(300).decode("utf-8", "replace")
    name = urllib.parse.unquote(path.rpartition("/")[2])
    return CommandFailed(f"the store refuses file '{name}' ({error.code}: {told}): rename it")


def _address(path: str) -> str:
    return "/" + urllib.parse.quote(os.fsencode(path))
