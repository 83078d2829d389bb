"""joblib and pickle files. Loading one runs its code: who may register models decides that, not this server."""

from __future__ import annotations

from pathlib import Path

from smalt_scorer.failures import last_line
from smalt_scorer.models.estimators import Estimator, check_predicts
from smalt_scorer.models.files import JOBLIB, check_growth, described, format_of, unloadable
from smalt_scorer.models.schema import Schema


def load(path: Path, schema: Schema | None = None) -> Estimator:
    """Failure for a file that is no pickle, is damaged, or holds no model."""
    if format_of(path) != JOBLIB:
        raise unloadable(
            f"'{path.name}' cannot be loaded as a joblib model: it is {described(path)}; register a model saved by joblib.dump, "
            "or name the format that it has"
        )
    check_growth(path)
    try:
        import joblib

        model = joblib.load(path)
    except Exception as error:
        raise unloadable(
            f"'{path.name}' cannot be loaded as a joblib model ({last_line(error)}): register a model saved by joblib.dump, with "
            "the packages of environment, or add a score script"
        ) from error
    check_predicts(model, path.name)
    return Estimator(model, "sklearn_joblib", schema)
