"""Makes the environment of a pod before its program starts: of a training run and of a scoring pod, by the same rules.

It runs in the image of that program, in a container of its own: the credentials of a package index, and the cache that
runs share, are nowhere else. A run's failure is handed to its wrapper, so that the run is recorded like any other.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterator, Mapping, Optional

from smalt_trainer.announcing import Announcing
from smalt_trainer.code import lay_out_inline
from smalt_trainer.environment import Workshop, ensure, read_environment
from smalt_trainer.environment_record import EnvironmentRecord
from smalt_trainer.failures import ANOTHER_NAME, RunFailed
from smalt_trainer.package_cache import PackageCache
from smalt_trainer.requirements import installed_versions
from smalt_trainer.termination import encode, shorten, write_termination
from smalt_trainer.trust import extend_trust

_DEPLOY_AGAIN = "then apply the Deployment again"
# A ConfigMap reaches the pod while its init container is started again and again.
_NOTHING_TO_DO = "the pod goes on by itself then"
_MESSAGE_LIMIT = 2000


@dataclass(frozen=True)
class Preparing:
    """Where things are, as the command line names them."""

    contract: Path
    into: Path
    termination: Path
    fetched_code: Path
    cache: Optional[Path] = None
    port: Optional[int] = None


def make_environment(preparing: Preparing) -> int:
    """Read `environment` and `code` of a contract and make it; what fails is left for whoever reads the pod's end.

    The Job that builds an image for a Deployment has the contract of a run, with the Deployment's name beside it."""
    is_runs = False
    record = EnvironmentRecord(preparing.into)
    record.folder.mkdir(parents=True, exist_ok=True)
    with Announcing.on(preparing.port) as announcing, _log(record.log) as log:

        def tell(line: str) -> None:
            print(f"[smalt] {line}", file=sys.stderr, flush=True)
            log(line)
            announcing.say(line)

        try:
            contract = json.loads(preparing.contract.read_text(encoding="utf-8"))
            is_runs = "run" in contract
            extend_trust(os.environ, Path(tempfile.gettempdir()), ANOTHER_NAME if is_runs else _NOTHING_TO_DO)
            next_step = ANOTHER_NAME if is_runs and "deployment" not in contract else _DEPLOY_AGAIN
            _make(preparing, contract, record, next_step, tell)
            return 0
        except Exception as error:
            failure = error if isinstance(error, RunFailed) else _unforeseen(error)
            tell(f"{failure.reason}: {failure.message}")
    if is_runs:
        record.write_failure(failure)
        return 0
    message = {"version": 1, "reason": failure.reason, "message": shorten(failure.message, _MESSAGE_LIMIT)}
    write_termination(preparing.termination, encode(message))
    return 1


def _unforeseen(error: Exception) -> RunFailed:
    traceback.print_exception(type(error), error, error.__traceback__)
    return RunFailed("InternalError", f"{type(error).__name__}: {error}; see the log of container environment")


def _make(
    preparing: Preparing,
    contract: Mapping[str, Any],
    record: EnvironmentRecord,
    next_step: str,
    tell: Callable[[str], None],
) -> None:
    spec = contract.get("environment") or {}
    with _code(preparing, contract.get("code") or {}) as folder:
        wanted = read_environment(spec, folder, next_step)
    image = str(contract.get("image") or "")
    have = installed_versions()
    cache = PackageCache.at(preparing.cache, tell)
    record.write(ensure(wanted, Workshop(preparing.into, image, next_step, tell, cache)), have)


@contextlib.contextmanager
def _code(preparing: Preparing, code: Mapping[str, Any]) -> Iterator[Path]:
    """The folder with the files that the environment may name."""
    if code.get("inline") is None:
        yield Path(code.get("folder") or preparing.fetched_code)
        return
    with tempfile.TemporaryDirectory() as scratch:
        lay_out_inline(code["inline"], Path(scratch) / "code")
        yield Path(scratch) / "code"


@contextlib.contextmanager
def _log(file: Path) -> Iterator[Callable[[str], None]]:
    with file.open("a", encoding="utf-8", errors="replace") as stream:

        def write(line: str) -> None:
            stream.write(line + "\n")
            stream.flush()

        yield write
