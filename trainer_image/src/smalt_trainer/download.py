"""One file over https: a source that can be taken up where it broke off, never over plain http to elsewhere."""

from __future__ import annotations

import base64
import http.client
import ssl
import string
import urllib.error
import urllib.parse
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Iterator, Mapping, Optional

from smalt_trainer.addresses import address_problem, shown
from smalt_trainer.progress import Progress
from smalt_trainer.transfer import TRIES, Answer, FetchFailed, Interrupted, transfer

_STALLED = 60.0


def login(credentials: Mapping[str, str]) -> dict[str, str]:
    """The header for a token, or for a user and a password; none without either."""
    if credentials.get("token"):
        return {"Authorization": f"Bearer {credentials['token']}"}
    if credentials.get("username") or credentials.get("password"):
        pair = f"{credentials.get('username', '')}:{credentials.get('password', '')}"
        return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode('ascii')}"}
    return {}


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects only to addresses that would have been accepted in the first place; a login stays with its server."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        problem = address_problem(newurl)
        if problem:
            raise FetchFailed(f"it redirects to {shown(newurl)}, which {problem}")
        made = super().redirect_request(req, fp, code, msg, headers, newurl)
        if made is not None and _origin(newurl) == _origin(req.full_url):
            made.unredirected_hdrs.update(req.unredirected_hdrs)
        return made


def _origin(url: str) -> tuple[str, str]:
    parts = urllib.parse.urlsplit(url)
    return parts.scheme, parts.netloc


class HttpFile:
    """A file at an address; `headers` such as a login go to its own server alone."""

    def __init__(
        self,
        url: str,
        headers: Optional[Mapping[str, str]] = None,
        opener: Optional[urllib.request.OpenerDirector] = None,
        passing: frozenset[int] = frozenset({408, 416, 425, 429}),
    ) -> None:
        self.url, self.headers = url, dict(headers or {})
        self.opener = opener or urllib.request.build_opener(_SafeRedirects())
        self.passing = passing

    @property
    def shown(self) -> str:
        """Without its query and user."""
        return shown(self.url)

    @contextmanager
    def open(self, start: int, tag: str) -> Iterator[Answer]:
        """Ask for the file, or for its rest when it is still the version of that tag."""
        with self._asked(start, tag) as response:
            resumed = response.status == 206 and _continues(response.headers, start)
            strong = response.headers.get("ETag") or ""
            length = response.headers.get("Content-Length")
            yield Answer(
                lambda size: _read(response, size),
                start if resumed else 0,
                int(length) if length is not None and length.isdigit() else None,
                "" if strong.startswith("W/") else strong,
            )

    def _asked(self, start: int, tag: str) -> Any:
        headers = {"Accept-Encoding": "identity", "User-Agent": "smalt-trainer"}
        if start:
            headers.update({"Range": f"bytes={start}-", "If-Range": tag})
        try:
            asked = urllib.parse.quote(
                self.url, safe=string.punctuation
            )  # letters beyond ASCII go over the line encoded
            request = urllib.request.Request(asked, headers=headers)  # noqa: S310 — whoever made the source has checked it
            for name, value in self.headers.items():
                request.add_unredirected_header(name, value)
            return self.opener.open(request, timeout=_STALLED)
        except urllib.error.HTTPError as error:
            with error:
                raise self._refusal(error) from error
        except (http.client.InvalidURL, ValueError) as error:
            raise FetchFailed("it is no address that can be asked for; check its host and port") from error
        except (OSError, http.client.HTTPException) as error:
            raise _broken(error) from error

    def _refusal(self, error: urllib.error.HTTPError) -> Exception:
        words = f"the server answered {error.code} {error.reason}"
        if error.code < 400:
            return FetchFailed(f"the server answered {error.code}, a redirect that cannot be followed")
        if error.code in self.passing or error.code >= 500:
            return Interrupted(words, afresh=error.code == 416)
        return FetchFailed(words)


def _read(response: Any, size: int) -> bytes:
    try:
        piece: bytes = response.read1(size)
        return piece
    except (OSError, http.client.HTTPException) as error:
        raise _broken(error) from error


def _broken(error: Exception) -> Exception:
    reason = getattr(error, "reason", None) or error
    if isinstance(reason, ssl.SSLCertVerificationError):
        return FetchFailed(
            f"its certificate is not trusted ({reason.verify_message}); add the certificate of its authority to the "
            "ConfigMap in the Workspace's spec.trustBundle"
        )
    return Interrupted(f"the connection failed ({reason})")


def _continues(headers: Mapping[str, str], start: int) -> bool:
    return (headers.get("Content-Range") or "").replace("bytes ", "").startswith(f"{start}-")


def download(
    url: str,
    target: Path,
    say: Callable[[str], None],
    tries: int = TRIES,
    pause: float = 1.0,
    headers: Optional[Mapping[str, str]] = None,
    progress: Optional[Progress] = None,
) -> None:
    """Fetch into `target`, over https alone. FetchFailed says why it cannot be had."""
    problem = address_problem(url)
    if problem:
        raise FetchFailed(f"it {problem}")
    transfer(HttpFile(url, headers), target, progress or Progress(shown(url), say), tries, pause)
