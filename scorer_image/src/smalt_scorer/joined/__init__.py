"""Runs of an unchanged score script that are waiting together, answered by one predict.

Each waiting run() is a greenlet in the main thread. It goes on until it asks a model that init() has bound, and stops
there; when all have come so far, or have ended, one call of the model serves them all, and each goes on with its rows.
Nobody waits for more to come: what arrives meanwhile is next.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from smalt_scorer.runners import Alone, Runner


def runner(act: Callable[[Any], Any], modules: Sequence[ModuleType], seconds: float) -> Runner:
    """Answers the questions of a script that has begun, whose names are in these modules, together where it can be.

    Models that kernels stand for are asked through them in any case.
    """
    if "sklearn" not in sys.modules:
        return Alone(act, seconds)
    from smalt_scorer.joined import found
    from smalt_scorer.joined.worth import is_worth_joining

    watch = found.watch(modules)
    joining = [each for each in watch.methods if is_worth_joining(each)]
    if not joining:
        return Alone(act, seconds)
    why_not = _why_not(modules)
    if why_not is not None:
        print(f"run() sees one request at a time: {why_not}", flush=True)
        return Alone(act, seconds)
    from smalt_scorer.joined.runs import Runs

    runs = Runs(act, seconds, joining)
    watch.answer = runs.answer
    print(f"Requests that wait together are answered by one call of {', '.join(watch.names)}", flush=True)
    return runs


def _why_not(modules: Sequence[ModuleType]) -> str | None:
    from smalt_scorer.joined import found

    if found.has_locks(modules):
        return "the script holds a lock, which a request that waits for its prediction would not give back"
    try:
        import greenlet  # noqa: F401
    except ImportError:
        return "the package greenlet is not in its environment"
    return None
