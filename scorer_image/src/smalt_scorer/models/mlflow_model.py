"""MLflow model folders: scikit-learn and ONNX by the file that MLmodel names, all others by `mlflow.pyfunc`."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from smalt_scorer.failures import last_line
from smalt_scorer.models import onnx_graph, pickled, skops_file
from smalt_scorer.models.files import inside, unloadable
from smalt_scorer.models.loaded import PREDICTIONS, Batch, LoadedModel, Refused
from smalt_scorer.models.schema import ANY, UNNAMED, Input, Output, Schema, type_named

_MOST_BYTES = 1 << 20  # of MLmodel, a page of text


def load(folder: Path, schema: Schema | None = None) -> LoadedModel:
    """Failure for a description that cannot be read, a file that is missing or lies elsewhere, a package that is not there."""
    described = read(folder / "MLmodel")
    schema = schema or signature(described)
    flavors = _section(described, "flavors")
    if "sklearn" in flavors:
        return _sklearn(folder, _section(flavors, "sklearn"), schema)
    if "onnx" in flavors:
        path = inside(folder, str(_section(flavors, "onnx").get("data", "model.onnx")), "MLmodel")
        return onnx_graph.load(path, schema)
    if "python_function" in flavors:
        return Pyfunc(_pyfunc(folder, flavors), schema)
    has = ", ".join(str(each) for each in flavors) or "none"
    raise unloadable(
        f"MLmodel has the flavors {has}, and sklearn, onnx and python_function are served without a score script: add one"
    )


def read(path: Path) -> Mapping[str, Any]:
    """MLmodel. Failure when it is no YAML of that kind."""
    if path.stat().st_size > _MOST_BYTES:
        raise unloadable(f"MLmodel has more than {_MOST_BYTES} bytes: this is no description of a model")
    try:
        import yaml

        text = path.read_text(encoding="utf-8")
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        if any(isinstance(each, yaml.AliasEvent) for each in yaml.parse(text, loader)):
            raise unloadable("MLmodel uses YAML aliases, which MLflow never writes: register the model again")
        found = yaml.load(text, loader)  # noqa: S506 - a safe one
    except ImportError as error:
        raise unloadable("an MLflow model needs the package pyyaml: add it to environment") from error
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise unloadable(f"MLmodel cannot be read ({last_line(error)[:300]}): register the model again") from error
    if not isinstance(found, dict):
        raise unloadable("MLmodel is no YAML mapping: register the model again")
    return found


def signature(described: Mapping[str, Any]) -> Schema | None:
    """The inputs of MLmodel's signature; None without one."""
    found = described.get("signature")
    text = found.get("inputs") if isinstance(found, dict) else None
    if not text:
        return None
    try:
        inputs = json.loads(text)
        made = tuple(_signed(number, each) for number, each in enumerate(inputs))
    except (TypeError, ValueError, KeyError, AttributeError, RecursionError) as error:
        raise unloadable(
            f"the signature of MLmodel cannot be read ({last_line(error)}): register the model again"
        ) from error
    return Schema(made) if made else None


def _signed(number: int, found: Mapping[str, Any]) -> Input:
    name = str(found.get("name", UNNAMED if number == 0 else f"input-{number}"))
    if found["type"] == "tensor":
        tensor = found["tensor-spec"]
        kind = {"f": "number", "i": "integer", "u": "integer", "b": "boolean"}.get(_kind(tensor["dtype"]), ANY)
        return Input(name, kind, tuple(int(each) for each in tensor["shape"][1:]))
    kind = type_named(str(found["type"])) or ANY
    return Input(name, kind, (), is_nullable=found.get("required", True) is False or kind in ("number", ANY, "string"))


def _kind(dtype: str) -> str:
    import numpy

    return numpy.dtype(dtype).kind


def _sklearn(folder: Path, flavor: Mapping[str, Any], schema: Schema | None) -> LoadedModel:
    path = inside(folder, str(flavor.get("pickled_model", "model.pkl")), "MLmodel")
    if flavor.get("serialization_format") == "skops":
        return skops_file.load(path, _table(schema))
    return pickled.load(path, _table(schema))


def _table(schema: Schema | None) -> Schema | None:
    """A signature of one tensor says nothing that the estimator does not know better."""
    return None if schema is None or any(each.shape for each in schema.inputs) else schema


def _pyfunc(folder: Path, flavors: Mapping[str, Any]) -> Any:
    others = [str(each) for each in flavors if each != "python_function"]
    flavor = others[0] if others else "python_function"
    try:
        from mlflow import pyfunc
    except ImportError as error:
        raise unloadable(
            f"this MLflow model is of flavor {flavor}, which needs the package mlflow (or mlflow-skinny) and {flavor}'s own: add "
            "them to environment, as the model's requirements.txt lists them"
        ) from error
    try:
        return pyfunc.load_model(str(folder))
    except ImportError as error:
        missing = error.name or last_line(error)
        raise unloadable(
            f"this MLflow model is of flavor {flavor}, and the package '{missing}' is missing: add it to environment, as the "
            "model's requirements.txt lists it"
        ) from error
    except Exception as error:
        raise unloadable(
            f"mlflow.pyfunc cannot load this model of flavor {flavor} ({last_line(error)[:500]}): register it again, with the "
            "packages of environment"
        ) from error


def _section(found: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    section = found.get(key)
    if not isinstance(section, dict):
        raise unloadable(f"'{key}' of MLmodel is no mapping: register the model again")
    return section


class Pyfunc:
    """A model that MLflow itself loads: it takes a DataFrame, and what it does with one row may depend on the others."""

    platform = "mlflow_pyfunc"
    is_joinable = takes_singles = False

    def __init__(self, model: Any, schema: Schema | None) -> None:
        self.model = model
        self.schema = schema or Schema((Input(UNNAMED, ANY, (-1,)),))
        self.outputs: tuple[Output, ...] = (Output(PREDICTIONS, ANY),)
        self.usual: tuple[str, ...] = (PREDICTIONS,)

    def predict_singly(self, batch: Batch, wanted: Collection[str]) -> dict[str, Any] | None:
        """As LoadedModel."""
        return None

    def predict(self, batch: Batch, wanted: Collection[str]) -> dict[str, Any]:
        """As LoadedModel."""
        import numpy
        from mlflow.exceptions import MlflowException

        try:
            found = self.model.predict(self._given(batch))
        except (MlflowException, ValueError) as error:
            raise Refused(str(error)) from error
        return {PREDICTIONS: numpy.asarray(found)}

    def _given(self, batch: Batch) -> Any:
        import pandas

        if self.schema.inputs[0].shape:
            return (
                batch.arrays[0]
                if len(self.schema.inputs) == 1
                else dict(zip(self.schema.names, batch.arrays, strict=True))
            )
        if len(batch.arrays) == 1 and batch.arrays[0].ndim == 2:
            return pandas.DataFrame(batch.arrays[0], columns=list(self.schema.names))
        columns = {name: each.reshape(len(each)) for name, each in zip(self.schema.names, batch.arrays, strict=True)}
        return pandas.DataFrame(columns)
