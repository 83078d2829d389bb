"""GET /docs: a page to try the model with.

It is the same for every model and says nothing of any, so it needs no key; what it shows it reads from /openapi.json,
which does. It loads nothing from elsewhere, and its Content-Security-Policy lets it run and ask nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from pathlib import Path

from smalt_scorer.protocols.question import Reply


@cache
def page() -> Reply:
    """The page with its headers."""
    content = (Path(__file__).parent / "page.html").read_bytes()
    headers = {
        "Content-Security-Policy": policy(content.decode()),
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }
    return Reply(content, "text/html; charset=utf-8", headers)


def policy(page: str) -> str:
    """What the page may do: its own script and style, by their hashes, and requests to its own server."""
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {_hash_of('script', page)}",
            f"style-src {_hash_of('style', page)}",
            "img-src data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )


def _hash_of(element: str, page: str) -> str:
    (content,) = re.findall(rf"<{element}>(.*?)</{element}>", page, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
