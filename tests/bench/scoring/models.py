"""The models that every server is given, the rows they are asked, and what is right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOREST_TREES = 100
FEATURES = 4
# Different rows, so that no server gains by remembering one.
ROWS = 64

SCRIPT = """
import json, os
import joblib
import numpy as np

def init():
    global model
    model = joblib.load(os.path.join(os.environ["AZUREML_MODEL_DIR"], "model.joblib"))

def run(raw_data):
    data = np.array(json.loads(raw_data)["data"])
    return model.predict(data).tolist()
"""


@dataclass(frozen=True)
class Iris:
    """One fitted model in each form that some server takes, with rows and the labels that it gives them."""

    name: str
    folder: Path
    rows: Sequence[Sequence[float]]
    labels: Sequence[int]

    @property
    def joblib(self) -> Path:
        return self.folder / "model.joblib"

    @property
    def onnx(self) -> Path:
        return self.folder / "onnx" / "model.onnx"


def linear(root: Path) -> Iris:
    """A logistic regression."""
    from sklearn.linear_model import LogisticRegression

    return _made("linear", LogisticRegression(max_iter=1000), root)


def forest(root: Path) -> Iris:
    """A forest of 100 trees."""
    from sklearn.ensemble import RandomForestClassifier

    return _made("forest", RandomForestClassifier(FOREST_TREES, random_state=7), root)


def _made(name: str, estimator: Any, root: Path) -> Iris:
    import joblib
    from skl2onnx import to_onnx
    from sklearn.datasets import load_iris

    features, target = load_iris(return_X_y=True)
    estimator.fit(features, target)
    folder = root / name
    (folder / "onnx").mkdir(parents=True)
    rows = features[:: len(features) // ROWS][:ROWS]
    labels = [int(each) for each in estimator.predict(rows)]
    iris = Iris(name, folder, rows.tolist(), labels)
    joblib.dump(estimator, iris.joblib)
    graph = to_onnx(estimator, features[:1].astype("float32"), options={"zipmap": False})
    iris.onnx.write_bytes(graph.SerializeToString())
    return iris
