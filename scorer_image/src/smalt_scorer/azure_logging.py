"""The loggers that scripts know from Azure's server, set up by the logging.json that the code brings."""

from __future__ import annotations

import builtins
import json
import logging.config
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from smalt_scorer.failures import Failure

LOGGER = "azmlinfsrv"
_FILE = "logging.json"


def configure(*folders: Path) -> None:
    """By the first folder that has a logging.json; else `azmlinfsrv` writes to the pod's log. Failure when it has errors."""
    path = next((folder / _FILE for folder in folders if (folder / _FILE).is_file()), None)
    if path is None:
        _write_to_log()
        return
    try:
        logging.config.dictConfig(json.loads(path.read_text(encoding="utf-8")))
    except Exception as error:
        told = f"{error}: {error.__cause__}" if error.__cause__ else f"{error}"
        raise Failure(
            "ScriptInvalid", f"{_FILE} of the code is no configuration of logging ({told}): correct it"
        ) from error
    builtins.print = _printing(builtins.print)


def _write_to_log() -> None:
    logger = logging.getLogger(LOGGER)
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname).1s %(name)s - %(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False


def _printing(plain: Callable[..., None]) -> Callable[..., None]:
    """What scripts print to their output goes where logging.json sends `azmlinfsrv.print`."""
    logger = logging.getLogger(f"{LOGGER}.print")

    def print_to_log(
        *values: Any, sep: str | None = " ", end: str | None = "\n", file: Any = None, flush: bool = False
    ) -> None:
        if file in (None, sys.stdout):
            logger.info((" " if sep is None else sep).join(map(str, values)))
        else:
            plain(*values, sep=sep, end=end, file=file, flush=flush)

    return print_to_log
