"""What the trainer converts and the scorer serves: the same body gets the same answer from the original and from its ONNX."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import joblib
import numpy
import pandas
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from smalt_scorer.models import load
from smalt_scorer.models.loaded import LoadedModel
from smalt_scorer.models.schema import Schema, parse
from smalt_scorer.protocols.question import BadRequest
from smalt_scorer.protocols.routes import Routes
from smalt_scorer.raw_request import RawRequest
from smalt_trainer.registration.conversion import converted
from smalt_trainer.registration.loading import inspected

RANDOM = numpy.random.default_rng(7)
ROWS = 60
TABLE = pandas.DataFrame(
    {
        "age": RANDOM.integers(18, 90, ROWS),
        "pay": RANDOM.normal(2_000, 500, ROWS).round(2),
        "plan": RANDOM.choice(["gold", "silver"], ROWS),
    }
)
LABELS = numpy.where(TABLE["age"] > 50, "yes", "no")
NUMBERS = TABLE[["age", "pay"]]
SAMPLE = {
    "columns": [
        {"name": name, "type": kind, "values": TABLE[name].tolist()}
        for name, kind in (("age", "integer"), ("pay", "number"), ("plan", "string"))
    ]
}


def texts_and_numbers() -> Any:
    columns = make_column_transformer((StandardScaler(), ["age", "pay"]), (OneHotEncoder(), ["plan"]))
    return make_pipeline(columns, LogisticRegression()).fit(TABLE, LABELS)


MODELS: dict[str, tuple[Any, pandas.DataFrame]] = {
    "columns of texts and numbers": (texts_and_numbers(), TABLE),
    "columns in one tensor": (RandomForestClassifier(5, random_state=1).fit(NUMBERS, LABELS), NUMBERS),
    "numbers from numbers": (RandomForestRegressor(5, random_state=1).fit(NUMBERS, NUMBERS["pay"] * 3), NUMBERS),
    "without probabilities": (make_pipeline(StandardScaler(), RidgeClassifier()).fit(NUMBERS, LABELS), NUMBERS),
}


def both(model: Any, folder: Path, columns: list[str]) -> tuple[LoadedModel, LoadedModel, Schema]:
    """The original and its ONNX as they are served with the schema that their registration has found."""
    source = folder / "source"
    for each in ("model", "samples"):
        (source / each).mkdir(parents=True)
    kept = [each for each in SAMPLE["columns"] if each["name"] in columns]
    (source / "samples/0.json").write_text(json.dumps({"columns": kept}))
    joblib.dump(model, source / "model/model.joblib")
    (folder / "onnx").mkdir()
    sample = {each["name"]: (each["type"], each["values"]) for each in kept}
    made = converted(model, [sample], folder / "onnx/model.onnx")
    assert "file" in made, made
    schema = parse(inspected(model, source)["schema"])
    return load(source / "model", "joblib", schema), load(folder / "onnx", "onnx", schema), schema


def answer(model: LoadedModel, body: Any) -> Any:
    routes = Routes(model, "churn", "3", needs_key=False)
    question = routes.ask(routes.find("/score"), RawRequest(), json.dumps(body).encode())
    return json.loads(question.reply(model.predict(question.batch, question.wanted)).body)


@pytest.mark.parametrize("name", MODELS)
def test_the_same_rows_by_name_get_the_same_answer(name: str, tmp_path: Path) -> None:
    model, rows = MODELS[name]
    original, onnx, schema = both(model, tmp_path, list(rows.columns))
    assert schema.names == tuple(rows.columns) and onnx.platform == "onnx_onnxv1"
    body = {"data": rows[:20].to_dict("records")}
    expected, found = answer(original, body), answer(onnx, body)
    if isinstance(expected["predictions"][0], str):
        assert found == expected
    else:
        assert numpy.allclose(found["predictions"], expected["predictions"], rtol=1e-5)
    if hasattr(model, "predict_proba"):
        body |= {"method": "predict_proba"}
        expected, found = answer(original, body), answer(onnx, body)
        assert numpy.allclose(found["probabilities"], expected["probabilities"], atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_a_body_that_the_schema_refuses_is_refused_by_both_in_the_same_words(name: str, tmp_path: Path) -> None:
    model, rows = MODELS[name]
    original, onnx, _ = both(model, tmp_path, list(rows.columns))
    for change in ({"pay": "much"}, {"colour": "red"}):
        body = {"data": [rows[:1].to_dict("records")[0] | change]}
        said = []
        for each in (original, onnx):
            with pytest.raises(BadRequest) as refused:
                answer(each, body)
            said.append(str(refused.value))
        assert said[0] == said[1] and next(iter(change)) in said[0]
