"""No module of an allowed package hands on, under a name that is allowed, what it has itself imported from elsewhere."""

from __future__ import annotations

import importlib
import pkgutil
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from smalt_trainer.registration.formats.pickle_names import may_be_called, may_be_named

PACKAGES = (
    *("sklearn", "scipy.interpolate", "scipy.sparse", "scipy.spatial", "scipy.special", "scipy.stats"),
    *("numpy.dtypes", "pandas.arrays", "pandas.core.arrays", "pandas.core.dtypes.dtypes"),
)
# Where models' own classes and functions are at home, and what describes types and does nothing when it is made.
HOMES = ("sklearn", "scipy", "numpy", "pandas", "_cyutility", "View.MemoryView", "_propack", "builtins")
HARMLESS = {
    "abc",
    "typing",
    "numbers",
    "collections",
    "collections.abc",
    "decimal",
    "math",
    "operator",
    "_operator",
    "types",
}
ERRORS = {"importlib._bootstrap"}  # scipy.stats makes one by hand
# What an estimator that holds it could do no harm with either.
HELD = {
    *(
        "array",
        "contextlib",
        "copy",
        "dataclasses",
        "datetime",
        "functools",
        "_functools",
        "_heapq",
        "inspect",
        "itertools",
    ),
    *("joblib.parallel", "time", "traceback", "warnings", "_warnings"),
}


def modules(package: str) -> Iterator[ModuleType]:
    root = importlib.import_module(package)
    yield root
    for found in pkgutil.walk_packages(getattr(root, "__path__", []), f"{package}.", onerror=lambda _: None):
        if "tests" in found.name:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                yield importlib.import_module(found.name)
            except ImportError:
                continue  # it wants a package that is not here, so nothing can be loaded from it here either


def home(value: Any) -> str:
    return str(getattr(value, "__module__", None) or type(value).__module__)


@pytest.mark.slow
@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize(
    ("may", "harmless"), [(may_be_called, HARMLESS | ERRORS), (may_be_named, HARMLESS | ERRORS | HELD)]
)
def test_what_an_allowed_name_leads_to_is_a_part_of_models(package: str, may: Any, harmless: set[str]) -> None:
    foreign = {
        f"{module.__name__}.{name} of {home(value)}"
        for module in modules(package)
        for name, value in vars(module).items()
        if callable(value)
        and may(module.__name__, name)
        and home(value) not in harmless
        and not home(value).startswith(HOMES)
    }
    assert not foreign
