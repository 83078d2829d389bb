"""Every method and path that the tracking server's application has, as JSON; run by that server's own Python."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from smalt_tracking.application import create  # type: ignore[import-not-found,unused-ignore]
from smalt_tracking.settings import Settings  # type: ignore[import-not-found,unused-ignore]


def routes(fastapi: Any, flask: Any) -> Iterator[tuple[str, str]]:
    """What FastAPI answers itself, then what it hands to Flask; parameters have a value."""
    for route in flattened(fastapi.routes):
        for method in getattr(route, "methods", None) or ():
            yield method, filled(route.path)
    for rule in flask.url_map.iter_rules():
        for method in rule.methods:
            yield method, filled(rule.rule)


def flattened(found: Any) -> Iterator[Any]:
    """Routes, those of included routers too."""
    for route in found:
        inner = getattr(route, "effective_candidates", None)
        if callable(inner):
            yield from flattened(inner())
        else:
            yield route


def filled(path: str) -> str:
    return re.sub(r"[<{][^>}]*[>}]", "1", path)


if __name__ == "__main__":
    data, secrets = map(Path, sys.argv[1:])
    guard = create(Settings("127.0.0.1", 5000, data, secrets, (), data / "no-database", "", "", ""))
    from mlflow.server import app

    print(json.dumps(sorted(set(routes(guard.application, app)))))
