"""Makes the environment of a scoring pod, by the same rules as a training run's, before the model server starts."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any, Mapping

from smalt_trainer.code import lay_out_inline
from smalt_trainer.environment import ensure, read_environment
from smalt_trainer.failures import RunFailed
from smalt_trainer.termination import encode, shorten, write_termination
from smalt_trainer.trust import extend_trust

_NEXT_STEP = "then apply the Deployment again"
# A ConfigMap reaches the pod while its init container is started again and again.
_NOTHING_TO_DO = "the pod goes on by itself then"
_MESSAGE_LIMIT = 2000


def make_environment(contract: Path, into: Path, code: Path | None, termination: Path) -> int:
    """Read `environment` (and `code`) from a JSON file; what fails is left as the pod's termination message."""
    try:
        extend_trust(os.environ, Path(tempfile.gettempdir()), _NOTHING_TO_DO)
        data = json.loads(contract.read_text(encoding="utf-8"))
        _make(data, into, code)
    except RunFailed as error:
        return _failed(termination, error.reason, error.message)
    except (OSError, ValueError, AttributeError) as error:
        return _failed(
            termination, "InternalError", f"{type(error).__name__}: {error}; see the log of container environment"
        )
    return 0


def _make(data: Mapping[str, Any], into: Path, code: Path | None) -> None:
    spec = data.get("environment") or {}
    image = str(data.get("image") or "")
    with tempfile.TemporaryDirectory() as scratch:
        folder = code or Path(scratch) / "code"
        if code is None:
            lay_out_inline((data.get("code") or {}).get("inline") or {}, folder)
        wanted = read_environment(spec, folder, image, _NEXT_STEP)
    ensure(wanted, into, image, _NEXT_STEP)


def _failed(termination: Path, reason: str, message: str) -> int:
    print(f"[smalt] {reason}: {message}", file=sys.stderr, flush=True)
    write_termination(
        termination, encode({"version": 1, "reason": reason, "message": shorten(message, _MESSAGE_LIMIT)})
    )
    return 1
