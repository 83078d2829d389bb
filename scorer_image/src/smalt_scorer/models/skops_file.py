"""skops files: a zip archive of arrays and names of types, which runs nothing but types that are trusted."""

from __future__ import annotations

import os
from pathlib import Path

from smalt_scorer.failures import last_line
from smalt_scorer.models.estimators import Estimator, check_predicts
from smalt_scorer.models.files import SKOPS, check_zip, described, format_of, unloadable
from smalt_scorer.models.schema import Schema

TRUSTED = "SKOPS_TRUSTED_TYPES"
# The type of an array's elements: every encoder has one, and it runs nothing.
HARMLESS = frozenset({"numpy.dtype"})


def load(path: Path, schema: Schema | None = None, trusted: frozenset[str] = frozenset()) -> Estimator:
    """Failure for another format, a damaged or hostile archive, a type that nobody has named as trusted."""
    if described(path) == "a zip archive" or format_of(path) == SKOPS:
        check_zip(path)
    if format_of(path) != SKOPS:
        raise unloadable(
            f"'{path.name}' cannot be loaded as a skops model: it is {described(path)}; register a model saved by "
            "skops.io.dump, or name the format that it has"
        )
    try:
        from skops import io
    except ImportError as error:
        raise unloadable(f"'{path.name}' needs the package skops: add it to environment") from error
    trusted |= HARMLESS | trusted_types()
    try:
        untrusted = [each for each in io.get_untrusted_types(file=path) if each not in trusted]
        if untrusted:
            raise _untrusted(path, untrusted)
        model = io.load(path, trusted=sorted(trusted))
    except (Exception, RecursionError) as error:
        if getattr(error, "reason", None):
            raise
        raise unloadable(
            f"'{path.name}' cannot be loaded as a skops model ({last_line(error)}): register a model saved by skops.io.dump, "
            "with the packages of environment"
        ) from error
    check_predicts(model, path.name)
    return Estimator(model, "sklearn_skops", schema)


def trusted_types() -> frozenset[str]:
    """What the Deployment's environmentVariables trust, by full names with commas between."""
    return frozenset(name.strip() for name in os.environ.get(TRUSTED, "").split(",") if name.strip())


def _untrusted(path: Path, found: list[str]) -> Exception:
    names = ", ".join(found[:10]) + (f" and {len(found) - 10} more" if len(found) > 10 else "")
    return unloadable(
        f"'{path.name}' holds types that skops does not trust: {names}; look at them, and name those that are trusted in "
        f"environmentVariables, {TRUSTED}: {','.join(found[:3])}"
    )
