"""Models that are served without a score script: one module a format, and what they have in common.

A format is what the Model says it is, else what the one model file of its folder is called, else what its content
is. A file that is not what its format says is refused; nothing else is tried with it.
"""

from __future__ import annotations

from pathlib import Path

from smalt_scorer.models import files
from smalt_scorer.models.files import JOBLIB, MLFLOW, ONNX, SKOPS, format_of, unloadable
from smalt_scorer.models.loaded import LoadedModel
from smalt_scorer.models.schema import Schema, beside

SUFFIXES = {
    ".joblib": JOBLIB,
    ".pkl": JOBLIB,
    ".pickle": JOBLIB,
    ".skops": SKOPS,
    ".onnx": ONNX,
}
FORMATS = {"joblib": JOBLIB, "pickle": JOBLIB, "sklearn": JOBLIB, "skops": SKOPS, "onnx": ONNX, "mlflow": MLFLOW}


def load(artifact: Path, named: str | None = None, schema: Schema | None = None) -> LoadedModel:
    """The model of an artifact, a folder or a file; `named` is the Model's format. Failure says what is in the way."""
    wanted = _wanted(named)
    folder = mlflow_folder(artifact)
    if folder is not None and wanted in (None, MLFLOW):
        from smalt_scorer.models import mlflow_model

        return mlflow_model.load(folder, schema or beside(artifact))
    if wanted == MLFLOW:
        raise unloadable(
            "the Model's format is mlflow, and its folder has no file MLmodel: register the whole MLflow model folder"
        )
    path = model_file(artifact, wanted)
    return load_file(path, wanted or SUFFIXES.get(path.suffix) or format_of(path), schema or beside(artifact))


def load_file(path: Path, kind: str | None, schema: Schema | None) -> LoadedModel:
    """The model of one file of a format."""
    if kind == JOBLIB:
        from smalt_scorer.models import pickled

        return pickled.load(path, schema)
    if kind == SKOPS:
        from smalt_scorer.models import skops_file

        return skops_file.load(path, schema)
    if kind == ONNX:
        from smalt_scorer.models import onnx_graph

        return onnx_graph.load(path, schema)
    raise unloadable(
        f"'{path.name}' is of no format that is served without a score script: it is {files.described(path)}; register joblib, "
        "skops, ONNX or an MLflow model, or add codeConfiguration with a score script"
    )


def mlflow_folder(artifact: Path) -> Path | None:
    """The folder that has the file MLmodel: the artifact, or the only folder in it."""
    if artifact.is_file():
        return artifact.parent if artifact.name == "MLmodel" else None
    if (artifact / "MLmodel").is_file():
        return artifact
    inner = [each for each in artifact.iterdir() if each.is_dir()] if artifact.is_dir() else []
    return inner[0] if len(inner) == 1 and (inner[0] / "MLmodel").is_file() else None


def model_file(artifact: Path, wanted: str | None) -> Path:
    """The one file to load. Failure when there is none, or more than one."""
    if artifact.is_file():
        return artifact
    every = sorted(path for path in artifact.rglob("*") if path.is_file())
    suffixes = [suffix for suffix, kind in SUFFIXES.items() if wanted in (None, kind)]
    found = [path for path in every if path.suffix in suffixes]
    if not found and len(others := [path for path in every if path.name != "schema.json"]) == 1:
        found = others  # a single file is the model, whatever it is called
    if len(found) != 1:
        has = ", ".join(path.relative_to(artifact).as_posix() for path in found[:10]) or "none"
        raise unloadable(
            f"serving without a score script needs exactly one file of {', '.join(suffixes)} in the model, or an MLflow "
            f"model folder (it has {has}): add codeConfiguration with a score script"
        )
    return found[0]


def _wanted(named: str | None) -> str | None:
    if named is None:
        return None
    kind = FORMATS.get(named.lower())
    if kind is None:
        raise unloadable(
            f"the Model's format is '{named}', and {', '.join(sorted(FORMATS))} are served without a score script: correct format, "
            "or add codeConfiguration with a score script"
        )
    return kind
