"""A model served without a script."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import joblib
import numpy
import pandas
import pytest
from sklearn.linear_model import LinearRegression

from smalt_scorer.direct import BadRequest, load, run_of
from smalt_scorer.failures import Failure

ROWS = [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]
PLAIN = LinearRegression().fit(ROWS, [0.0, 1.0, 2.0])
NAMED = LinearRegression().fit(pandas.DataFrame(ROWS, columns=["age", "visits"]), [0.0, 1.0, 2.0])


def predictions(model: Any, body: str) -> list[float]:
    found: list[float] = numpy.round(run_of(model)(body, {})["predictions"], 6).tolist()
    return found


@pytest.mark.parametrize("model", [PLAIN, NAMED], ids=["fitted on lists", "fitted on a DataFrame"])
@pytest.mark.parametrize("key", ["data", "input_data", "inputs"])
@pytest.mark.filterwarnings("error")
def test_rows_give_predictions_under_any_of_the_usual_names(key: str, model: Any) -> None:
    assert predictions(model, json.dumps({key: [[1, 1], [2, 0]]})) == [3.0, 2.0]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("", "Content-Type: application/json"),
        ("{", "no JSON"),
        ("[[1, 1]]", "none of data, input_data, inputs"),
        ('{"rows": [[1, 1]]}', "none of data, input_data, inputs"),
        ('{"data": [1, 1]}', "'data' is no list of rows"),
        ('{"data": []}', "'data' is no list of rows"),
        ('{"data": [[1, 1], [1]]}', "row 1 of 'data' has 1 values, the model takes 2"),
    ],
)
def test_a_body_that_cannot_be_predicted_is_told_why(body: str, told: str) -> None:
    with pytest.raises(BadRequest) as caught:
        run_of(PLAIN)(body, {})
    assert told in str(caught.value)


@pytest.mark.parametrize("name", ["model.joblib", "deep/er/model.pkl"])
def test_the_one_model_file_of_the_artifact_is_loaded(name: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    joblib.dump(PLAIN, tmp_path / name)
    (tmp_path / "README.txt").write_text("about")
    assert predictions(load(tmp_path), '{"data": [[1, 1]]}') == [3.0]


def test_an_artifact_of_one_file_is_the_model_whatever_its_name(tmp_path: Path) -> None:
    joblib.dump(PLAIN, tmp_path / "model")
    assert predictions(load(tmp_path / "model"), '{"data": [[1, 1]]}') == [3.0]


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({}, "it has none"),
        ({"weights.bin": 1}, "it has none"),
        ({"a.joblib": PLAIN, "b.pkl": PLAIN}, "it has a.joblib, b.pkl"),
        ({"a.joblib": {"not": "a model"}}, "holds a dict, which has no predict()"),
    ],
)
def test_an_artifact_that_is_no_model_names_what_it_has(files: dict[str, Any], told: str, tmp_path: Path) -> None:
    for name, content in files.items():
        joblib.dump(content, tmp_path / name)
    with pytest.raises(Failure, match="score script") as caught:
        load(tmp_path)
    assert told in str(caught.value)
    assert caught.value.reason == "ModelNotLoadable"


def test_a_file_that_is_no_pickle_is_named_with_the_cause(tmp_path: Path) -> None:
    (tmp_path / "model.joblib").write_text("no pickle")
    with pytest.raises(Failure, match=r"'model\.joblib' cannot be loaded as a joblib model \(\w+Error") as caught:
        load(tmp_path)
    assert caught.value.reason == "ModelNotLoadable"
