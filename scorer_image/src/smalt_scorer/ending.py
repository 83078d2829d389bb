"""How the process ends when it cannot go on: the cause in its log, and in the pod's last words where it is the pod's."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from smalt_scorer.contract import Contract, RequestSettings
from smalt_scorer.failures import Failure, last_line
from smalt_scorer.termination import has_words, leave
from smalt_scorer.workers import Worker


def ended(act: Callable[[], None], log: Path) -> int:
    try:
        act()
    except Failure as failure:
        end(failure, log)
    except Exception as error:
        end(unforeseen(error), log)
    else:
        return 0
    return 1


def unforeseen(error: Exception) -> Failure:
    """A full disk, no memory, a fault of the scorer: it too has to be told."""
    words = f"{last_line(error)}: this was not foreseen; the whole traceback is in the container's log"
    failure = Failure("InternalError", words)
    failure.__cause__ = error
    return failure


def end(failure: Failure, log: Path) -> None:
    """Says why it ends: all of it in the log, the cause in the termination message."""
    if failure.__cause__ is not None:
        traceback.print_exception(failure.__cause__)
    print(f"{failure.reason}: {failure}", file=sys.stderr, flush=True)
    leave(failure, log)


def end_at_once(failure: Failure, log: Path) -> NoReturn:
    """From a side thread, while the main thread is in code that does not come back."""
    end(failure, log)
    os._exit(1)


def end_early(failure: Failure, log: Path, worker: Worker | None) -> NoReturn:
    """Told to go before it is ready. Of several workers one that is merely later than another goes without a word, and so
    does one that has to go because another has failed, whose words are the cause.
    """
    if worker is not None and (worker.has_served or has_words(log)):
        os._exit(0)
    end_at_once(failure, log)


def end_stuck(failure: Failure, log: Path, worker: Worker | None) -> NoReturn:
    """Of several workers only this one ends, and another one takes its place: the pod's last words are not to be said."""
    if worker is None:
        end_at_once(failure, log)
    print(f"{failure.reason}: {failure}", file=sys.stderr, flush=True)
    os._exit(1)


def not_started(contract: Contract, seconds: float) -> Failure:
    """Kubernetes ends a container whose start takes too long, as it does one of a pod that is deleted."""
    ended = f"the container was ended after {seconds:.0f} s, before"
    if contract.scoring_script is None:
        return Failure(
            "ModelNotLoadable",
            f"{ended} the model was loaded: see the pod's log; register a smaller model, or raise spec.resources",
        )
    return Failure(
        "InitFailed",
        f"{ended} init() of score script '{contract.scoring_script}' came back: see in the pod's log how far it came, "
        "correct what it waits for and apply again",
    )


def stuck(settings: RequestSettings, seconds: float) -> Failure:
    return Failure(
        "RunStuck",
        f"run() did not end within requestSettings.requestTimeout ({settings.timeout_seconds:g} s), nor could it be "
        f"interrupted in the {seconds:g} s after it, so the container starts again: make run() faster, or raise requestTimeout",
    )
