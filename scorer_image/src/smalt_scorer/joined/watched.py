"""The methods of a script's models, caught where the script calls them.

It is the class that has the catching method, not the instance and not a stand-in: so the model stays what it is in every
respect (its type, its attributes, what a pickle or a copy of it has, what is set in it later), and other instances, as the
trees of a forest, are not concerned. Whatever is not caught goes to the method that the class had.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from types import MethodType
from typing import Any, Protocol

import numpy

Plain = Callable[..., Any]


class Joinable(Protocol):
    """A method of a model, which gives each caller the same, to the bit, whether it is asked alone or with others."""

    def rows_of(self, given: Any) -> Any:
        """What is given, as rows; None when that is for the plain call."""

    def form_of(self, rows: Any) -> Any:
        """Equal for rows that one call can have."""

    def alone(self, rows: Any) -> Any:
        """What the method gives for them; None when that is for the plain call."""

    def joined(self, questions: Sequence[Any]) -> list[Any] | None:
        """What it gives for each; None when that cannot be had at once."""


class Asked:
    """A call that has been caught, and what is given as rows."""

    __slots__ = ("given", "method", "plain", "rows")

    def __init__(self, method: Joinable, rows: Any, given: Any, plain: Plain) -> None:
        self.method, self.rows, self.given, self.plain = method, rows, given, plain

    @property
    def form(self) -> tuple[Any, ...]:
        """Equal for calls that one call can answer."""
        return (id(self.method), self.method.form_of(self.rows))

    def keep(self) -> None:
        """Has rows of its own from now on: others may write to what was given before it is read."""
        is_array = isinstance(self.rows, numpy.ndarray)
        rows = self.rows.copy(order="K") if is_array else self.rows.copy()  # BLAS rounds by how they lie
        if self.given is self.rows:
            self.given = rows
        self.rows = rows

    def alone(self) -> Any:
        """What the call gives by itself."""
        answer = self.method.alone(self.rows)
        return self.plain(self.given) if answer is None else answer


class Watch:
    """The models that are watched, and what becomes of calls of theirs."""

    def __init__(self) -> None:
        self.answer: Callable[[Asked], Any] = Asked.alone
        self._methods: dict[int, Mapping[str, Joinable]] = {}
        self._models: list[Any] = []
        self._caught: list[tuple[type, str, Any]] = []

    @property
    def names(self) -> list[str]:
        """The classes of what is watched."""
        return sorted({type(model).__name__ for model in self._models})

    @property
    def methods(self) -> list[Joinable]:
        """All that can be caught."""
        return [method for each in self._methods.values() for method in each.values()]

    def add(self, model: Any, methods: Mapping[str, Joinable]) -> None:
        """From now on calls of these methods are answered by `answer`."""
        self._methods[id(model)] = methods
        self._models.append(model)  # or another could come to have its id
        for method in methods:
            self._catch(type(model), method)

    def close(self) -> None:
        """Leaves all classes as they were."""
        for kind, method, own in reversed(self._caught):
            if own is None:
                delattr(kind, method)
            else:
                setattr(kind, method, own)
        self._caught.clear()
        self._methods.clear()
        self._models.clear()

    def of(self, model: Any, method: str) -> Joinable | None:
        """What stands for this method of this model, if it is watched."""
        found = self._methods.get(id(model))
        return None if found is None else found.get(method)

    def _catch(self, kind: type, method: str) -> None:
        if any(each[:2] == (kind, method) for each in self._caught):
            return
        self._caught.append((kind, method, vars(kind).get(method)))
        setattr(kind, method, _Catching(self, kind, method))


class _Catching:
    """In the place of a method: bound to a model that is watched it catches, else it is the method."""

    def __init__(self, watch: Watch, kind: type, method: str) -> None:
        self._watch, self._method = watch, method
        self._own = inspect.getattr_static(kind, method)
        # As the method looks to whoever inspects it.
        self._call = functools.wraps(getattr(kind, method))(
            lambda model, *given, **named: self._asked(model, given, named)
        )

    def __get__(self, model: Any, kind: type | None = None) -> Any:
        plain = self._own.__get__(model, kind)  # AttributeError for one that this model does not have
        return plain if model is None or self._watch.of(model, self._method) is None else MethodType(self._call, model)

    def _asked(self, model: Any, given: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
        plain = self._own.__get__(model, type(model))
        method = self._watch.of(model, self._method)
        one = given if not named else (named["X"],) if not given and named.keys() == {"X"} else ()
        rows = method.rows_of(one[0]) if method is not None and len(one) == 1 else None
        if method is None or rows is None:
            return plain(*given, **named)
        return self._watch.answer(Asked(method, rows, one[0], plain))
