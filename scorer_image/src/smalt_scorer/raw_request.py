"""One request as a score script's contract sees it, before any library has touched it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# Whether run() is to blame for what the answer says.
FAILED = "x-ms-run-function-failed"


@dataclass(slots=True)
class RawRequest:
    """Headers are as they came, names in lower case; `query` is what follows the question mark."""

    method: str = "POST"
    path: str = "/score"
    query: bytes = b""
    headers: Sequence[tuple[bytes, bytes]] = ()
    body: bytes = b""

    def header(self, name: str) -> str:
        """The header's value, empty without one."""
        return self.raw(name.encode("latin-1")).decode("latin-1")

    def has(self, name: str) -> bool:
        """Whether there is such a header, be it empty."""
        wanted = name.encode("latin-1")
        return any(key == wanted for key, _ in self.headers)

    def raw(self, name: bytes) -> bytes:
        """The same, as it came."""
        for key, value in self.headers:
            if key == name:
                return value
        return b""

    def by_name(self) -> dict[str, str]:
        """The headers; of one that came repeatedly the last."""
        return {name.decode("latin-1"): value.decode("latin-1") for name, value in self.headers}

    @property
    def media_type(self) -> str:
        """The content type in lower case, without its parameters."""
        return self.header("content-type").partition(";")[0].strip().lower()


@dataclass(slots=True)
class RawAnswer:
    """What a script's run() came to."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: Sequence[tuple[str, str]] = ()


class RequestHeaders(dict[str, str]):
    """`request_headers` of a run(): spelled as Azure's server spells them (`Content-Type`), found in any spelling."""

    @classmethod
    def of(cls, headers: Sequence[tuple[bytes, bytes]]) -> RequestHeaders:
        """A header that came more than once has its values joined by commas."""
        made = cls()
        for key, value in headers:
            name = key.decode("latin-1").title()
            text = value.decode("latin-1")
            made[name] = f"{made[name]},{text}" if name in made else text
        return made

    def __missing__(self, name: str) -> str:
        if name not in self:
            raise KeyError(name)
        return self[name.title()]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and super().__contains__(name.title())

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(name.title(), default)
