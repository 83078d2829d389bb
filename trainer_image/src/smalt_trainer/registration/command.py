"""The command `registration`: one of its steps, and its last words as the container's termination message."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType
from typing import Any, Mapping, NamedTuple, Optional

from smalt_trainer.registration.contract import Contract, read_contract
from smalt_trainer.registration.refused import NotRegistered
from smalt_trainer.termination import encode, shorten, write_termination

_LONGEST_MESSAGE = 2000


class Folders(NamedTuple):
    """What the steps before have left, and where this one leaves its own."""

    source: Path
    converted: Path
    into: Optional[Path] = None
    environment: Path = Path("/smalt/environment")
    cache: Optional[Path] = None


def run_step(step: str, contract_file: Path, folders: Folders, termination: Path) -> int:
    """0 when the step is done, else 1 with {"reason", "message"} as the container's last words."""
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _end)
    try:
        report = _STEPS[step](read_contract(contract_file), folders)
    except NotRegistered as error:
        return _failed(termination, error)
    except Exception as error:
        traceback.print_exc()
        words = f"{type(error).__name__}: {error}; see the log of container {step}"
        return _failed(termination, NotRegistered("InternalError", words))
    if report is not None:
        write_termination(termination, encode(report))
    return 0


# Imported when wanted: the step that loads the model runs in the user's image, which lacks what the others need.


def _source(contract: Contract, folders: Folders) -> Optional[Mapping[str, Any]]:
    from smalt_trainer.registration.source import run_source

    run_source(contract, folders.into or folders.source, os.environ)
    return None


def _register(contract: Contract, folders: Folders) -> Optional[Mapping[str, Any]]:
    from smalt_trainer.registration.register import run_register

    return run_register(contract, folders.source, folders.converted, os.environ)


def _environment(contract: Contract, folders: Folders) -> Optional[Mapping[str, Any]]:
    from smalt_trainer.registration.converter import Site, run_environment

    run_environment(contract, folders.source, Site(folders.into or folders.environment, folders.cache))
    return None


def _convert(_contract: Contract, folders: Folders) -> Optional[Mapping[str, Any]]:
    from smalt_trainer.registration.convert import run_convert

    run_convert(folders.source, folders.into or folders.converted, folders.environment)
    return None


_STEPS = {"source": _source, "environment": _environment, "convert": _convert, "register": _register}


def _failed(termination: Path, failure: NotRegistered) -> int:
    print(f"[smalt] failed: {failure.reason}: {failure.message}", file=sys.stderr, flush=True)
    said = {"reason": failure.reason, "message": shorten(failure.message, _LONGEST_MESSAGE)}
    write_termination(termination, encode(said))
    return 1


def _end(_number: int, _frame: Optional[FrameType]) -> None:
    raise NotRegistered("Interrupted", "the pod was deleted before the model was registered: it is tried again")
