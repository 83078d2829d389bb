"""Objects in S3 and in stores that speak its language: one, or all below a prefix.

The client library is imported only where something lies in S3: the wrapper in the user's image has none.
"""

from __future__ import annotations

import re
import urllib.parse
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Iterator, Mapping, Optional

from smalt_trainer.transfer import Answer, FetchFailed, Interrupted, patiently

if TYPE_CHECKING:
    from obstore import GetOptions

KEYS = ("accessKeyId", "secretAccessKey", "sessionToken", "endpointUrl", "region")
_REGION = "us-east-1"
# An object is asked for in parts that come within the time-out on a slow line too, so that one that stalls is noticed.
_PART = 64 << 20
_PIECE = 1 << 20
_STALLED = "120s"
_CONNECT = "15s"


@dataclass(frozen=True)
class Place:
    """A bucket and a key or prefix in it."""

    bucket: str
    key: str

    @property
    def shown(self) -> str:
        """As users write it."""
        return f"s3://{self.bucket}/{self.key}"


@dataclass(frozen=True)
class Found:
    """One object below a prefix: its name relative to it, its key and its size."""

    name: str
    key: str
    size: int


def place_of(url: str) -> Place:
    """`s3://bucket/key`, taken literally: a key may hold any character."""
    bucket, _, key = url.partition("://")[2].partition("/")
    return Place(bucket, key)


def connect(bucket: str, credentials: Mapping[str, str]) -> Any:
    """The bucket in the store that the Secret names. FetchFailed in words for what of it cannot be used."""
    from obstore.exceptions import BaseError
    from obstore.store import S3Store

    has_login = bool(credentials.get("accessKeyId"))
    if has_login != bool(credentials.get("secretAccessKey")):
        missing = "secretAccessKey" if has_login else "accessKeyId"
        raise FetchFailed(
            f"its Secret has no key {missing}: add it, or name no Secret for a bucket that everybody may read"
        )
    options: dict[str, Any] = {"region": credentials.get("region") or _REGION}
    endpoint = credentials.get("endpointUrl") or ""
    if endpoint:
        if urllib.parse.urlsplit(endpoint).scheme not in ("http", "https"):
            raise FetchFailed("endpointUrl in its Secret is no address: write it as https://s3.example")
        options["endpoint"] = endpoint.rstrip("/")
    if has_login:
        options["access_key_id"] = credentials["accessKeyId"]
        options["secret_access_key"] = credentials["secretAccessKey"]
        if credentials.get("sessionToken"):
            options["session_token"] = credentials["sessionToken"]
    else:
        options["skip_signature"] = True
    try:
        return S3Store(
            bucket,
            **options,
            # Where the store lies is its owner's decision, as is plain http within a cluster: no secret goes over the line.
            client_options={"allow_http": True, "timeout": _STALLED, "connect_timeout": _CONNECT},
            # What a broken connection costs is decided in one place for all sources.
            retry_config={"max_retries": 0},
        )
    except (BaseError, ValueError) as error:
        raise FetchFailed(f"its Secret cannot be used ({_brief(error)}): check its keys {', '.join(KEYS)}") from error


class S3Object:
    """One object, as a source."""

    def __init__(self, store: Any, place: Place) -> None:
        self.store, self.place = store, place

    @property
    def shown(self) -> str:
        """As users write it."""
        return self.place.shown

    @contextmanager
    def open(self, start: int, tag: str) -> Iterator[Answer]:
        """Ask for the object, or for its rest when it is still the version of that tag."""
        import obstore

        with translated():
            meta = obstore.head(self.store, self.place.key)
        known = meta.get("e_tag") or ""
        begin = start if start and known == tag and start <= meta["size"] else 0
        parts = _Parts(self.store, self.place.key, meta, begin)
        yield Answer(parts.read, begin, int(meta["size"]) - begin, known)


class _Parts:
    """The bytes of one version of an object, part after part."""

    def __init__(self, store: Any, key: str, meta: Any, at: int) -> None:
        self.store, self.key, self.meta = store, key, meta
        self.asked = at
        self.pieces: Iterator[Any] = iter(())

    def read(self, size: int) -> bytes:
        """The next piece, or nothing at the end."""
        with translated():
            for piece in self.pieces:
                return bytes(piece)
        if self.asked >= self.meta["size"]:
            return b""
        self._ask()
        return self.read(size)

    def _ask(self) -> None:
        import obstore

        until = min(self.asked + _PART, int(self.meta["size"]))
        options: GetOptions = {"range": (self.asked, until)}
        if self.meta.get("e_tag"):
            options["if_match"] = self.meta["e_tag"]
        with translated():
            answer = obstore.get(self.store, self.key, options=options)
            if any(answer.meta[each] != self.meta[each] for each in ("size", "e_tag", "last_modified")):
                raise Interrupted("it was replaced meanwhile", afresh=True)
            self.pieces = iter(answer.stream(min_chunk_size=_PIECE))
        self.asked = until


def list_objects(store: Any, place: Place, pause: float = 1.0) -> list[Found]:
    """Every object below the prefix, which is a folder's name whether it ends with a slash or not."""
    prefix = place.key.strip("/")

    def ask() -> list[Found]:
        import obstore

        with translated():
            keys = [
                (str(each["path"]), int(each["size"])) for page in obstore.list(store, prefix or None) for each in page
            ]
            return [
                Found(key[len(prefix) + 1 if prefix else 0 :], key, size)
                for key, size in keys
                if size or not _is_folder_marker(store, key)
            ]

    return patiently(ask, pause=pause)


def _is_folder_marker(store: Any, key: str) -> bool:
    """Some browsers of buckets make an empty object with a slash at its end for a folder; the list leaves the slash out."""
    import obstore

    try:
        obstore.head(store, key)
    except FileNotFoundError:
        return True
    return False


class translated:  # noqa: N801 — used as a keyword is
    """Errors of the client as FetchFailed or Interrupted."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: Optional[BaseException], trace: Any) -> None:
        from obstore.exceptions import BaseError

        if isinstance(error, (BaseError, OSError, ValueError)):
            raise _meaning(error) from error


def _meaning(error: Exception) -> Exception:
    """The client tells everything in one text: the answer's status and the store's own code for it."""
    text = str(error)
    found = re.search(r"status code: (\d{3})", text)
    told = re.search(r"<Code>(\w{1,64})</Code>", text)
    status = int(found[1]) if found else 404 if isinstance(error, FileNotFoundError) else 0
    code = told[1] if told else ""
    if status in (412, 416):
        return Interrupted("it was replaced meanwhile", afresh=True)
    if status == 404:
        return FetchFailed(
            "there is no such object or bucket; check the key, the bucket's name, and endpointUrl in the Secret"
        )
    if status in (401, 403):
        return FetchFailed(
            f"the store refuses access ({code or status}): check accessKeyId and secretAccessKey in the Secret that "
            "credentialsSecret names, and what they may read"
        )
    if status in (301, 307, 400):
        return FetchFailed(f"the store answered {status} {code}: check region and endpointUrl in the Secret")
    if status in (408, 409, 425, 429) or status >= 500:
        return Interrupted(f"the store answered {status} {code}".rstrip())
    if status:
        return FetchFailed(f"the store answered {status} {code}".rstrip())
    if isinstance(error, ValueError):
        return FetchFailed("its key cannot be asked for: it has an empty part, or '.' or '..' as one")
    if re.search(r"certificate|UnknownIssuer", text, re.IGNORECASE):
        return FetchFailed(
            "the store's certificate is not trusted; add the certificate of its authority to the ConfigMap in the "
            "Workspace's spec.trustBundle"
        )
    return Interrupted(f"the connection failed ({_brief(error)})")


def _brief(error: Exception) -> str:
    """The system's own words where there are some; else the end of the first line, before which stands the request."""
    text = str(error).strip()
    told = re.search(r'message: "([^"]{1,200})"', text)
    return told[1] if told else text.partition("\n")[0].rpartition(" - ")[2][:200] or type(error).__name__
