"""Everything that scikit-learn calls a classifier or regressor: as ONNX it answers the same, or it stays as it is and says why."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy
import onnxruntime
import pytest
from sklearn.base import is_classifier
from sklearn.utils import all_estimators

from smalt_trainer.registration.conversion import TOLERANCE, converted

RANDOM = numpy.random.default_rng(11)
ROWS = numpy.abs(RANDOM.normal(size=(80, 4))).astype("float32").astype("float64") + 0.125
LABELS = numpy.where(ROWS[:, 0] + ROWS[:, 1] > 1.7, "yes", "no")
NUMBERS = ROWS @ numpy.array([1.5, -2.0, 0.25, 3.0]) + 7
SAMPLE = {f"c{each}": ("number", ROWS[:, each].tolist()) for each in range(ROWS.shape[1])}
REASONS = {"NotConvertible", "NotConverted", "NotEqual"}


def fitted(kind: Any) -> Any:
    """Fitted to labels or numbers; None for what needs arguments or other data."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            made = kind()
            return made.fit(ROWS, LABELS if is_classifier(made) else NUMBERS)
        except (TypeError, ValueError, AttributeError):
            return None


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), all_estimators(["classifier", "regressor"]))
@pytest.mark.filterwarnings("ignore")
def test_it_answers_the_same_or_stays_as_it_is(tmp_path: Path, name: str, kind: Any) -> None:
    model = fitted(kind)
    if model is None:
        pytest.skip(f"{name} needs arguments or other data")
    found = converted(model, [SAMPLE], tmp_path / "model.onnx")
    if "file" not in found:
        assert found["reason"] in REASONS and found["message"]
        assert not (tmp_path / "model.onnx").exists()
        return
    assert found["rows"] == len(ROWS) and 0 <= found["maxDifference"] <= TOLERANCE
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    answers = session.run(None, {"input": ROWS.astype("float32")})
    expected = model.predict(ROWS)
    if is_classifier(model):
        assert numpy.asarray(answers[0]).tolist() == expected.tolist()
        assert (len(answers) > 1) == hasattr(model, "predict_proba")
        if len(answers) > 1:
            assert numpy.abs(answers[1] - model.predict_proba(ROWS)).max() <= TOLERANCE
    else:
        assert numpy.allclose(numpy.asarray(answers[0]).reshape(expected.shape), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_what_users_train_most_is_converted(tmp_path: Path) -> None:
    kinds = dict(all_estimators(["classifier", "regressor"]))
    common = ("LogisticRegression", "RandomForestClassifier", "DecisionTreeClassifier", "LinearRegression", "Ridge")
    refused = {name: converted(fitted(kinds[name]), [SAMPLE], tmp_path / name) for name in common}
    assert {name: found for name, found in refused.items() if "file" not in found} == {}
