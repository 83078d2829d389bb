"""Everything that scikit-learn calls an estimator can be registered as joblib and as a pickle."""

from __future__ import annotations

import contextlib
import pickle
import warnings
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.utils import all_estimators

from smalt_trainer.registration.formats.checking import check

ROWS = np.abs(np.random.default_rng(0).normal(size=(60, 4))) + 0.1
TRUTHS = ((ROWS[:, 0] > 0.8).astype(int), ROWS[:, 1], ROWS[:, :2])


def fitted(kind: Any) -> Any:
    """Fitted to what it takes; None for what needs arguments."""
    try:
        made = kind()
    except TypeError:
        return None
    for truth in TRUTHS:
        with warnings.catch_warnings(), contextlib.suppress(ValueError, TypeError, AttributeError):
            warnings.simplefilter("ignore")
            return made.fit(ROWS, truth)
    return made


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), all_estimators())
def test_an_estimator_of_scikit_learn_is_made_of_what_is_allowed(tmp_path: Path, name: str, kind: Any) -> None:
    estimator = fitted(kind)
    if estimator is None:
        pytest.skip(f"{name} needs arguments")
    (tmp_path / "joblib").mkdir()
    (tmp_path / "pickle").mkdir()
    joblib.dump(estimator, tmp_path / "joblib/model.joblib")
    (tmp_path / "pickle/model.pkl").write_bytes(pickle.dumps(estimator))
    assert check(tmp_path / "joblib", None, None).format == "joblib"
    assert check(tmp_path / "pickle", None, None).format == "joblib"
