"""What of a score script can be joined: the models that init() has bound, and whether it holds locks."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any

from smalt_scorer.joined.row_by_row import RowByRow
from smalt_scorer.joined.watched import Joinable, Watch
from smalt_scorer.models.kernels import kernels_of
from smalt_scorer.models.kernels.formula import is_plain
from smalt_scorer.models.row_by_row import is_row_by_row

# A list of a million rows is not looked through for models.
MOST_INNER = 1000
LOCKS = (type(threading.Lock()), type(threading.RLock()), threading.Condition, threading.Semaphore)


def watch(modules: Iterable[ModuleType]) -> Watch:
    """Watches every model that is bound to a name of these modules, or lies one level below, and can be joined."""
    watch = Watch()
    for each in bound(modules):
        if type(each).__module__.startswith("sklearn.") and hasattr(each, "n_features_in_"):
            methods = joinable(each)
            if methods:
                watch.add(each, methods)
    return watch


def joinable(model: Any) -> dict[str, Joinable]:
    """The methods by which it can be asked for several at once: by kernels, or because it takes each row by itself."""
    found: dict[str, Joinable] = dict(kernels_of(model))
    if is_row_by_row(model) and is_plain(model):
        for method in ("predict", "predict_proba"):
            if hasattr(model, method):
                found.setdefault(method, RowByRow(getattr(model, method)))
    return found


def has_locks(modules: Iterable[ModuleType]) -> bool:
    """Whether a script keeps others out while it works: one that waits for its prediction would keep them out for ever."""
    return any(issubclass(type(each), LOCKS) for each in bound(modules))


def bound(modules: Iterable[ModuleType]) -> list[Any]:
    """What names of these modules stand for, and what is in that: members of lists and dicts, attributes."""
    found: dict[int, Any] = {}
    for module in modules:
        for value in list(vars(module).values()):
            for each in (value, *_inner(value)):
                found.setdefault(id(each), each)
    return list(found.values())


def _inner(value: Any) -> Iterator[Any]:
    kind = type(value)  # never isinstance: objects that stand for others, as flask.request, answer for those
    if issubclass(kind, ModuleType | type):
        return
    if kind is dict:
        yield from list(value.values())[:MOST_INNER]
    elif kind in (list, tuple):
        yield from value[:MOST_INNER]
    else:
        try:
            yield from list(vars(value).values())[:MOST_INNER]
        except Exception:  # it has none, or none now
            return
