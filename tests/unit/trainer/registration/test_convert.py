"""The step `convert`: what a model is, ONNX that is proven on rows of its training data, and models that are up to no good."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy
import onnxruntime
import pandas
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from smalt_profile.limits import Limits
from smalt_profile.profiling import profile
from smalt_trainer.environment_record import EnvironmentRecord
from smalt_trainer.failures import RunFailed
from smalt_trainer.registration.convert import Bounds, run_convert
from smalt_trainer.registration.untrusted import read_converted

# Each test starts a process that imports scikit-learn and the converter.
pytestmark = pytest.mark.slow

RANDOM = numpy.random.default_rng(4)
ROWS = 300
TABLE = pandas.DataFrame(
    {
        "age": RANDOM.integers(18, 90, ROWS),
        "pay": RANDOM.normal(2_000, 500, ROWS).round(2),
        "plan": RANDOM.choice(["gold", "silver", "none"], ROWS),
    }
)
CHURNED = numpy.where((TABLE["age"] > 50) ^ (TABLE["plan"] == "gold"), "yes", "no")
NUMBERS = TABLE[["age", "pay"]]


def step(tmp_path: Path, model: Any, table: pandas.DataFrame | None = None, **bounds: Any) -> dict[str, Any]:
    """converted.json for a model and the data that it was trained on."""
    source, into = tmp_path / "source", tmp_path / "converted"
    (source / "model").mkdir(parents=True)
    (source / "samples").mkdir()
    (source / "source.json").write_text(json.dumps({"version": 1, "format": "joblib"}))
    joblib.dump(model, source / "model" / "model.joblib")
    if table is not None:
        table.to_csv(tmp_path / "train.csv", index=False)
        kept = profile(tmp_path / "train.csv", limits=Limits(keeps_rows=True)).sample
        (source / "samples" / "0.json").write_text(kept)
    run_convert(source, into, tmp_path / "environment", Bounds(**bounds) if bounds else Bounds(seconds=120))
    found: dict[str, Any] = json.loads((into / "converted.json").read_text())
    return found


def test_a_pipeline_over_named_columns_of_texts_and_numbers_becomes_onnx_with_a_schema(tmp_path: Path) -> None:
    columns = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), ["age", "pay"]),
            ("texts", OneHotEncoder(handle_unknown="ignore"), ["plan"]),
        ]
    )
    model = make_pipeline(columns, LogisticRegression()).fit(TABLE, CHURNED)
    found = step(tmp_path, model, TABLE.assign(churned=CHURNED))
    assert found["onnx"]["file"] == "onnx/model.onnx", found["onnx"]
    assert found["onnx"]["rows"] == ROWS and found["onnx"]["maxDifference"] <= found["onnx"]["tolerance"] == 1e-5
    assert found["inspection"]["class"] == "sklearn.pipeline.Pipeline"
    assert found["inspection"]["featureNames"] == ["age", "pay", "plan"]
    assert found["inspection"]["classes"] == ["no", "yes"]
    assert [(each["name"], each["type"]) for each in found["schema"]["inputs"]] == [
        ("age", "integer"),
        ("pay", "number"),
        ("plan", "string"),
    ]
    assert json.loads((tmp_path / "converted/schema.json").read_text()) == found["schema"]
    taken = read_converted(tmp_path / "converted", True)
    assert taken.onnx is not None and taken.onnx.rows == ROWS


def test_a_model_without_names_is_proven_on_the_numeric_columns(tmp_path: Path) -> None:
    model = RandomForestClassifier(10, random_state=1).fit(NUMBERS.to_numpy(), CHURNED)
    found = step(tmp_path, model, NUMBERS.assign(churned=CHURNED))
    assert found["onnx"]["rows"] == ROWS, found["onnx"]
    assert found["schema"] is None
    session = onnxruntime.InferenceSession(tmp_path / "converted/onnx/model.onnx")
    labels, probabilities = session.run(None, {"input": NUMBERS.to_numpy(dtype="float32")})
    assert labels.tolist() == model.predict(NUMBERS.to_numpy()).tolist()
    assert numpy.abs(probabilities - model.predict_proba(NUMBERS.to_numpy())).max() <= 1e-5


def test_a_classifier_without_probabilities_has_none_as_onnx_either(tmp_path: Path) -> None:
    model = RidgeClassifier().fit(NUMBERS, CHURNED)
    found = step(tmp_path, model, NUMBERS)
    assert "file" in found["onnx"], found["onnx"]
    session = onnxruntime.InferenceSession(tmp_path / "converted/onnx/model.onnx")
    assert len(session.get_outputs()) == 1


def test_a_forest_whose_float32_answers_differ_stays_as_it_is_and_says_by_how_much(tmp_path: Path) -> None:
    # What float32 cannot tell apart ends in other leaves once it has been scaled.
    table = pandas.DataFrame({"x": 1e8 + numpy.arange(ROWS) * 0.5, "y": RANDOM.normal(size=ROWS)})
    model = make_pipeline(StandardScaler(), RandomForestRegressor(10, random_state=1)).fit(
        table, numpy.arange(ROWS) % 7 * 100.0
    )
    found = step(tmp_path, model, table)
    assert found["onnx"]["reason"] == "NotEqual"
    assert "differ by up to" in found["onnx"]["message"] and "1e-05 is allowed" in found["onnx"]["message"]
    assert not (tmp_path / "converted/onnx").exists()
    assert found["schema"]["inputs"][0] == {"name": "x", "type": "number"}


def test_without_rows_nothing_is_converted(tmp_path: Path) -> None:
    found = step(tmp_path, LogisticRegression().fit(NUMBERS, CHURNED))
    assert found["onnx"]["reason"] == "NoRows"
    assert "SMALT" not in found["onnx"]["message"] and "inputs" in found["onnx"]["message"]


def test_a_class_that_cannot_be_converted_is_named(tmp_path: Path) -> None:
    from sklearn.neighbors import NearestCentroid

    found = step(tmp_path, NearestCentroid().fit(NUMBERS, CHURNED), NUMBERS)
    assert found["onnx"]["reason"] == "NotConvertible" and "NearestCentroid" in found["onnx"]["message"]


def test_a_schema_of_the_users_own_counts_first(tmp_path: Path) -> None:
    own = {"inputs": [{"name": "age", "type": "number"}, {"name": "pay", "type": "number", "nullable": False}]}
    (tmp_path / "source/model").mkdir(parents=True)
    (tmp_path / "source/samples").mkdir()
    (tmp_path / "source/model/schema.json").write_text(json.dumps(own))
    (tmp_path / "source/source.json").write_text(json.dumps({"version": 1, "format": "joblib"}))
    joblib.dump(LogisticRegression().fit(NUMBERS, CHURNED), tmp_path / "source/model/model.joblib")
    run_convert(tmp_path / "source", tmp_path / "converted", tmp_path / "environment")
    assert json.loads((tmp_path / "converted/schema.json").read_text())["inputs"] == own["inputs"]


def test_what_is_onnx_already_is_not_loaded(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source/source.json").write_text(json.dumps({"version": 1, "format": "onnx"}))
    run_convert(tmp_path / "source", tmp_path / "converted", tmp_path / "environment")
    assert "ONNX already" in json.loads((tmp_path / "converted/converted.json").read_text())["onnx"]["message"]


class Hostile:
    """A pickle that calls a function when it is loaded."""

    def __init__(self, call: Callable[..., Any], *arguments: Any) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call, self.arguments


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import sys; sys.exit(0)", "left no word"),
        ("import os; os._exit(7)", "exit code 7"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "signal 11"),
        ("import time; time.sleep(60)", "more than"),
        ("import os\nif not os.fork(): __import__('time').sleep(60)\nos._exit(3)", "exit code 3"),
        ("import sys\nwhile True: sys.stdout.write('x' * 1_000_000)", "more than"),
        ("raise ValueError('not today')", "not today"),
        ("open('inspected.json', 'w').write('[' * 100_000); import os; os._exit(0)", "left no word"),
        ("import os; os.symlink('/etc/passwd', 'inspected.json'); os._exit(0)", "left no word"),
    ],
)
def test_a_model_that_is_up_to_no_good_is_told_of_and_ends_nothing(tmp_path: Path, code: str, told: str) -> None:
    since = time.monotonic()
    found = step(tmp_path, Hostile(exec, code), seconds=4.0)
    assert found["onnx"]["reason"] == "ModelNotLoadable"
    assert told in found["onnx"]["message"]
    assert time.monotonic() - since < 20


def test_a_model_that_takes_all_memory_ends_itself_alone(tmp_path: Path) -> None:
    found = step(tmp_path, Hostile(exec, "x = bytearray(3 << 30)"), seconds=30.0, memory=1 << 30)
    assert "memory" in found["onnx"]["message"]


def test_links_that_a_model_has_laid_are_replaced_and_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("mine")
    target = tmp_path / "converted/converted.json"
    code = f"import os; os.symlink({os.fspath(outside)!r}, {os.fspath(target)!r}); os._exit(0)"
    found = step(tmp_path, Hostile(exec, code), seconds=10.0)
    assert found["onnx"]["reason"] == "ModelNotLoadable"
    assert outside.read_text() == "mine" and not target.is_symlink()


def test_a_model_that_another_scikit_learn_has_saved_proves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = LogisticRegression().fit(NUMBERS, CHURNED)
    with monkeypatch.context() as patch:
        patch.setattr("sklearn.base.__version__", "1.0.2")
        found = step(tmp_path, model, NUMBERS)
    assert found["onnx"]["reason"] == "ModelNotLoadable"
    assert "LogisticRegression from version 1.0.2 when using version" in found["onnx"]["message"]


def hidden(environment: Path, module: str) -> None:
    """A Python in the environment for which the module is not there."""
    (environment / "bin").mkdir(parents=True)
    (environment / "hiding").mkdir()
    (environment / "hiding/sitecustomize.py").write_text(
        "import importlib.util as util\n"
        "real = util.find_spec\n"
        f"util.find_spec = lambda name, package=None: None if name == {module!r} else real(name, package)\n"
    )
    python = environment / "bin/python"
    hiding = environment / "hiding"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={hiding}:$PYTHONPATH exec {sys.executable} "$@"\n')
    python.chmod(0o755)


def test_without_the_converter_the_reason_is_said_and_why_it_could_not_be_had(tmp_path: Path) -> None:
    hidden(tmp_path / "environment", "skl2onnx")
    record = EnvironmentRecord(tmp_path / "environment")
    record.folder.mkdir()
    record.write_failure(RunFailed("EnvironmentFailed", "no route to the index"))
    found = step(tmp_path, LogisticRegression().fit(NUMBERS, CHURNED), NUMBERS)
    assert found["onnx"]["reason"] == "ConverterUnavailable"
    assert "has no skl2onnx" in found["onnx"]["message"] and "no route to the index" in found["onnx"]["message"]
    assert found["inspection"]["nFeatures"] == 2


def test_what_the_image_has_suffices_where_the_runs_packages_cannot_be_had(tmp_path: Path) -> None:
    record = EnvironmentRecord(tmp_path / "environment")
    record.folder.mkdir(parents=True)
    record.write_failure(RunFailed("EnvironmentFailed", "no route to the index"))
    found = step(tmp_path, LogisticRegression().fit(NUMBERS, CHURNED), NUMBERS)
    assert "file" in found["onnx"], found["onnx"]
