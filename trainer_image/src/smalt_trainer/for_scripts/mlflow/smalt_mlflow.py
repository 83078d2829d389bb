"""A plugin that MLflow loads in a script: a tracking server set in the code must not take the records away from the run.

`mlflow.set_tracking_uri('./mlruns')`, or an address of the laptop, is how scripts begin that were written elsewhere. With
a folder of its own MLflow would not even find the run that it is to log to.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.parse
import urllib.request
from typing import Any, Callable

_SERVICE = "mlflow.tracking._tracking_service.utils"
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1", "0.0.0.0"})  # noqa: S104 — recognised, not listened on


def store(*_: Any, **__: Any) -> Any:
    """What MLflow registers plugins for; nothing has an address of this scheme."""
    raise ValueError("smalt:// is no tracking server; leave the tracking server to the run")


def stays(uri: str, own: str) -> bool:
    """Whether the address is the run's own, or a server elsewhere that somebody means."""
    parts = urllib.parse.urlsplit(uri)
    return uri.rstrip("/") == own.rstrip("/") or (parts.scheme in ("http", "https") and parts.hostname not in _LOOPBACK)


def guarded(original: Callable[[Any], None], own: str) -> Callable[[Any], None]:
    """`mlflow.set_tracking_uri`, as it is in a run."""

    def set_tracking_uri(uri: Any) -> None:
        if stays(str(uri), own):
            original(uri)
        else:
            _warn(
                own,
                f"mlflow.set_tracking_uri({str(uri)[:200]!r}) is not followed: all is recorded with the run; remove the call",
            )

    set_tracking_uri.__doc__ = original.__doc__
    return set_tracking_uri


def _warn(own: str, text: str) -> None:
    print(f"[smalt] {text}", file=sys.stderr, flush=True)
    body = {"run_id": os.environ.get("SMALT_RUN_ID"), "key": "smalt.warning.tracking_uri", "value": text}
    address, headers = f"{own}/api/2.0/mlflow/runs/set-tag", {"Content-Type": "application/json"}
    request = urllib.request.Request(address, json.dumps(body).encode(), headers)  # noqa: S310
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        opener.open(request, timeout=30).close()
    except OSError as error:
        print(f"[smalt] the run is not tagged with that: {error}", file=sys.stderr, flush=True)


def _take_part() -> None:
    """MLflow loads plugins at the end of the module that the function is defined in, before anybody has imported it."""
    own, service = os.environ.get("SMALT_TRACKING_URI"), sys.modules.get(_SERVICE)
    original = getattr(service, "set_tracking_uri", None)
    if own and original is not None:
        service.set_tracking_uri = guarded(original, own)  # type: ignore[union-attr]


_take_part()
