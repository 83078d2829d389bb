"""A model without a score script: one joblib file, asked with `{"data": [[…], …]}`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smalt_scorer.failures import Failure, last_line

SUFFIXES = (".joblib", ".pkl", ".pickle")
KEYS = ("data", "input_data", "inputs")


class BadRequest(ValueError):
    """The caller's body cannot be predicted; the text says why."""


def load(artifact: Path) -> Any:
    """The model of the artifact, a folder or a file. Failure when there is none, more than one, or it is no model."""
    folder = artifact.parent if artifact.is_file() else artifact
    files = [artifact] if artifact.is_file() else sorted(path for path in folder.rglob("*") if path.is_file())
    found = [path for path in files if path == artifact or path.suffix in SUFFIXES]
    if len(found) != 1:
        has = ", ".join(path.relative_to(folder).as_posix() for path in found) or "none"
        raise Failure(
            "ModelNotLoadable",
            f"serving without a score script needs exactly one file of {', '.join(SUFFIXES)} in the model (it has {has}): "
            "add codeConfiguration with a score script",
        )
    name = found[0].relative_to(folder).as_posix()
    try:
        import joblib

        model = joblib.load(found[0])
    except Exception as error:
        raise Failure(
            "ModelNotLoadable",
            f"'{name}' cannot be loaded as a joblib model ({last_line(error)}): register a model saved by joblib.dump, with the "
            "packages of environment, or add a score script",
        ) from error
    if not callable(getattr(model, "predict", None)):
        raise Failure(
            "ModelNotLoadable",
            f"'{name}' holds a {type(model).__name__}, which has no predict(): register a model, or add a score script",
        )
    return model


def run_of(model: Any) -> Any:
    """A `run` for the model: rows in, predictions out."""

    def run(raw: str, headers: Mapping[str, str]) -> Any:
        return {"predictions": model.predict(rows_of(raw, model))}

    return run


def rows_of(raw: str, model: Any) -> Any:
    """The rows of a body, with the column names of the training data where the model knows them. BadRequest otherwise."""
    if not raw:
        raise BadRequest('the body is empty: send {"data": [[1.0, 2.0]]} with Content-Type: application/json')
    try:
        body = json.loads(raw)
    except ValueError as error:
        raise BadRequest(f"the body is no JSON: {error}") from error
    key = next((each for each in KEYS if isinstance(body, dict) and each in body), None)
    if key is None:
        raise BadRequest(f'the body has none of {", ".join(KEYS)}: send {{"data": [[1.0, 2.0]]}}')
    rows = body[key]
    if not isinstance(rows, list) or not rows or not all(isinstance(row, list) for row in rows):
        raise BadRequest(f"'{key}' is no list of rows: send {{\"data\": [[1.0, 2.0]]}}")
    width = getattr(model, "n_features_in_", None)
    for number, row in enumerate(rows):
        if width is not None and len(row) != width:
            raise BadRequest(f"row {number} of '{key}' has {len(row)} values, the model takes {width}")
    names = getattr(model, "feature_names_in_", None)
    if names is None:
        return rows
    import pandas

    return pandas.DataFrame(rows, columns=list(names))
