"""The headers by which Azure's clients find their request again."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping, Sequence

MOST_CHARACTERS = 100
NAMES = frozenset((b"x-request-id", b"x-ms-request-id", b"x-ms-client-request-id", b"traceid"))
# One of its own, which no script seeds. Identifiers are no secrets: they need only differ.
_random = random.Random()
os.register_at_fork(after_in_child=_random.seed)


def identifiers(given: Mapping[str, str]) -> tuple[dict[str, str], str | None]:
    """The headers of the answer, and why the request is refused (431), or None.

    `x-ms-request-id` is what clients sent before there was `x-ms-client-request-id`, so each stands in for the other.
    """
    own = given["x-request-id"] if "x-request-id" in given else made_up()
    trace = {"TraceId": given["traceid"]} if "traceid" in given else {}
    if len(own) > MOST_CHARACTERS:
        return trace, f"x-request-id must not exceed {MOST_CHARACTERS} characters"
    legacy, client = given.get("x-ms-request-id", ""), given.get("x-ms-client-request-id", "")
    client = client or legacy
    legacy = legacy or client or own
    made = ({"x-request-id": own} if own else {}) | trace
    if max(len(legacy), len(client)) > MOST_CHARACTERS:
        return made, f"x-ms-request-id and x-ms-client-request-id must not exceed {MOST_CHARACTERS} characters"
    made |= {"x-ms-request-id": legacy} if legacy else {}
    return made | ({"x-ms-client-request-id": client} if client else {}), None


def identifiers_of(headers: Sequence[tuple[bytes, bytes]]) -> tuple[dict[str, str], str | None]:
    """The same of headers as they came; of one that came repeatedly the last counts."""
    return identifiers({name.decode(): value.decode("latin-1") for name, value in headers if name in NAMES})


def made_up() -> str:
    """A random UUID (version 4); the library's own asks the system for each."""
    digits = f"{_random.getrandbits(128):032x}"
    return (
        f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{'89ab'[int(digits[16], 16) & 3]}{digits[17:20]}-{digits[20:]}"
    )
