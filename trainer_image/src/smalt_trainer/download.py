"""Fetches one file over https: streamed to disk, taken up where it broke off, never over plain http to elsewhere."""

from __future__ import annotations

import http.client
import string
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, Callable, Mapping, Optional

_CHUNK = 1 << 20
_STALLED = 60.0
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class DownloadFailed(Exception):
    """The address did not yield the whole file; the message says why."""


class _Interrupted(Exception):
    """The transfer broke off; trying again may help."""


def address_problem(url: str) -> Optional[str]:
    """Why an address is refused, or None; http is accepted for this very machine only."""
    parts = urllib.parse.urlsplit(url)
    if not parts.hostname:
        return "names no host"
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK):
        return None
    return f"uses {parts.scheme or 'no scheme'}, only https is accepted"


def shown(url: str) -> str:
    """An address as people may see it: without its query and without a user, which is where signatures and keys stand."""
    parts = urllib.parse.urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def file_name(url: str) -> str:
    """The name under which a fetched file is kept: the last part of the address's path."""
    name = urllib.parse.unquote(urllib.parse.urlsplit(url).path).rsplit("/", 1)[-1]
    return name if name.strip(". ") and "\0" not in name else "data"


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects only to addresses that would have been accepted in the first place."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        problem = address_problem(newurl)
        if problem:
            raise DownloadFailed(f"it redirects to {shown(newurl)}, which {problem}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def download(url: str, target: Path, say: Callable[[str], None], tries: int = 6, pause: float = 1.0) -> None:
    """Fetch into `target`; tries in a row that bring nothing new are counted, those that bring something are not."""
    problem = address_problem(url)
    if problem:
        raise DownloadFailed(f"it {problem}")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    part.unlink(missing_ok=True)
    opener = urllib.request.build_opener(_SafeRedirects())
    tag: list[str] = []
    failures = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            _fetch(opener, url, part, before, tag)
            part.replace(target)
            return
        except _Interrupted as error:
            after = part.stat().st_size if part.exists() else 0
            failures = 1 if after > before else failures + 1
            if failures >= tries:
                raise DownloadFailed(f"{error}, {tries} times in a row") from error
            say(f"{shown(url)}: {error} after {after} bytes; going on from there")
            time.sleep(min(pause * 2 ** (failures - 1), 30.0))


def _fetch(opener: urllib.request.OpenerDirector, url: str, part: Path, start: int, tag: list[str]) -> None:
    headers: dict[str, str] = {"Accept-Encoding": "identity", "User-Agent": "smalt-trainer"}
    # Without a validator the rest could belong to another version of the file, so it is fetched from the start again.
    if start and tag:
        headers.update({"Range": f"bytes={start}-", "If-Range": tag[0]})
    try:
        asked = urllib.parse.quote(url, safe=string.punctuation)  # letters beyond ASCII go over the line encoded
        request = urllib.request.Request(asked, headers=headers)  # noqa: S310 — `address_problem` has let it through
        with opener.open(request, timeout=_STALLED) as response:
            resumed = response.status == 206 and _continues(response.headers, start)
            tag[:] = [value for value in (response.headers.get("ETag"),) if value and not value.startswith("W/")]
            length = response.headers.get("Content-Length")
            received = _copy(response, part, "ab" if resumed else "wb")
            if length is not None and received != int(length):
                raise _Interrupted(f"the connection ended {int(length) - received} bytes early")
    except urllib.error.HTTPError as error:
        error.close()
        if error.code < 400:
            raise DownloadFailed(f"the server answered {error.code}, a redirect that cannot be followed") from error
        if error.code in (408, 416, 425, 429) or error.code >= 500:
            if error.code == 416:
                part.unlink(missing_ok=True)
            raise _Interrupted(f"the server answered {error.code} {error.reason}") from error
        raise DownloadFailed(f"the server answered {error.code} {error.reason}") from error
    except (http.client.InvalidURL, ValueError) as error:
        raise DownloadFailed("it is no address that can be asked for; check its host and port") from error
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        if isinstance(error, OSError) and error.errno in (28, 122):
            raise DownloadFailed("there is no space left for it in the pod") from error
        raise _Interrupted(f"the connection failed ({getattr(error, 'reason', None) or error})") from error


def _continues(headers: Mapping[str, str], start: int) -> bool:
    return (headers.get("Content-Range") or "").replace("bytes ", "").startswith(f"{start}-")


def _copy(response: Any, part: Path, mode: str) -> int:
    received = 0
    with part.open(mode) as stream:
        while True:
            piece = response.read1(_CHUNK)
            if not piece:
                return received
            stream.write(piece)
            received += len(piece)
