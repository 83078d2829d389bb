"""Loads the model once and answers requests such as {"data": [[17.99, 10.38, ...]]}."""

import json
import os
from pathlib import Path

import joblib
import numpy as np

model = None


def init():
    """Called once, when the server starts."""
    global model
    model = joblib.load(Path(os.environ["AZUREML_MODEL_DIR"]) / "model" / "model.joblib")


def run(raw_data):
    """Called for each request with its body."""
    rows = np.array(json.loads(raw_data)["data"])
    return {"predictions": model.predict(rows).tolist()}
