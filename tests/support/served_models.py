"""Small fitted models of every kind that is served without a script, and the files they are stored in."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path
from typing import Any

import joblib
import numpy
import pandas
from sklearn.compose import make_column_transformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

PLACES = [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]
CUSTOMERS = pandas.DataFrame(
    {
        "age": [31, 45, 28, 60, 52, 39],
        "spend": [10.5, 200.0, 35.0, numpy.nan, 80.0, 12.0],
        "city": ["Rome", "Oslo", "Rome", "Bern", "Oslo", "Bern"],
    }
)
STAYED = ["stays", "leaves", "stays", "leaves", "leaves", "stays"]
CUSTOMERS_SCHEMA = {
    "inputs": [
        {"name": "age", "type": "integer", "nullable": False},
        {"name": "spend", "type": "number", "nullable": True},
        {"name": "city", "type": "category", "nullable": False},
    ]
}


def linear() -> Any:
    """Fitted on lists: two values, whose sum (the second twice) it predicts."""
    return LinearRegression().fit(PLACES, [0.0, 1.0, 2.0, 3.0])


def named() -> Any:
    """The same, fitted on a DataFrame."""
    return LinearRegression().fit(pandas.DataFrame(PLACES, columns=["age", "visits"]), [0.0, 1.0, 2.0, 3.0])


def customers() -> Any:
    """A pipeline of a ColumnTransformer with texts and missing numbers, and classes that are texts."""
    columns = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), ["age", "spend"]),
        (OneHotEncoder(handle_unknown="ignore"), ["city"]),
    )
    return make_pipeline(columns, LogisticRegression()).fit(CUSTOMERS, STAYED)


def comments() -> Any:
    """A pipeline that takes texts."""
    texts = ["good and kind", "bad and rude", "very good", "very bad"]
    return make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, [1, 0, 1, 0])


def several_numbers() -> Any:
    """A regressor of two values."""
    return LinearRegression().fit(PLACES, [[0.0, 1.0], [1.0, 1.0], [2.0, 1.0], [3.0, 1.0]])


def several_classes() -> Any:
    """A classifier of two labels."""
    labels = numpy.array([["a", "x"], ["b", "x"], ["a", "y"], ["b", "y"]])
    return MultiOutputClassifier(LogisticRegression()).fit(PLACES, labels)


def classes() -> Any:
    """A classifier of numbers."""
    return LogisticRegression().fit(PLACES, [0, 0, 1, 1])


def joblib_file(model: Any, compress: Any = 0) -> bytes:
    written = io.BytesIO()
    joblib.dump(model, written, compress=compress)
    return written.getvalue()


def pickle_file(model: Any) -> bytes:
    return pickle.dumps(model)


def skops_file(model: Any) -> bytes:
    from skops import io as skops

    return bytes(skops.dumps(model))


def onnx_file(model: Any, rows: Any, **options: Any) -> bytes:
    """Converted by skl2onnx; a DataFrame gives an input for each column."""
    from skl2onnx import to_onnx

    return bytes(to_onnx(model, rows, **options).SerializeToString())


def onnx_customers() -> bytes:
    """The pipeline with an input for each column, and probabilities as one table."""
    rows = CUSTOMERS.assign(age=CUSTOMERS["age"].astype("float32"), spend=CUSTOMERS["spend"].astype("float32"))
    return onnx_file(customers(), rows[:1], options={"zipmap": False})


def mlflow_folder(model: Any, folder: Path, **saved: Any) -> dict[str, bytes]:
    """The files of an MLflow model folder, as mlflow.sklearn writes them."""
    import mlflow.sklearn

    mlflow.sklearn.save_model(
        model, str(folder), **({"serialization_format": "cloudpickle", "pip_requirements": []} | saved)
    )
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def schema_file(schema: Any = CUSTOMERS_SCHEMA) -> bytes:
    return json.dumps(schema).encode()


def pyfunc_folder(folder: Path) -> dict[str, bytes]:
    """An MLflow model of a kind that only mlflow itself loads: it counts the columns of each row."""
    code = "import pandas\nclass Count:\n    def predict(self, rows):\n        return [len(rows[0])] * len(rows)\n"
    code += "def _load_pyfunc(path):\n    return Count()\n"
    described = "flavors:\n  python_function: {loader_module: counting, code: code, python_version: 3.11.0}\n"
    return {"MLmodel": described.encode(), "code/counting.py": code.encode()}


def own_model_file(source: str, name: str) -> dict[str, bytes]:
    """An object of a class that is written out in the pickle itself, as cloudpickle does it."""
    import cloudpickle

    inside: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(source, "own_model", "exec"), inside)
    return {"model.pkl": bytes(cloudpickle.dumps(inside[name]()))}
