"""ONNX models in ONNX Runtime: inputs and outputs are the graph's own."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from smalt_scorer.failures import last_line
from smalt_scorer.models.files import ONNX, described, format_of, unloadable
from smalt_scorer.models.loaded import PREDICTIONS, PROBABILITIES, Batch, Refused
from smalt_scorer.models.schema import BOOLEAN, INTEGER, NUMBER, STRING, Input, Output, Schema

# ONNX Runtime's names of element types -> (our type, numpy's).
_TYPES = {
    "tensor(float)": (NUMBER, "float32"),
    "tensor(double)": (NUMBER, "float64"),
    "tensor(float16)": (NUMBER, "float16"),
    "tensor(bool)": (BOOLEAN, "bool"),
    "tensor(string)": (STRING, "object"),
} | {f"tensor({sign}int{bits})": (INTEGER, f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64)}


class Graph:
    """One ONNX Runtime session."""

    platform = "onnx_onnxv1"

    def __init__(self, session: Any, schema: Schema | None = None) -> None:
        found, given = session.get_inputs(), [each for each in session.get_outputs() if _can_be_written(each)]
        if not given:
            raise unloadable("no output of the graph is a tensor: export the model with tensors, or add a score script")
        self.session = session
        self._feeds = [each.name for each in found]
        graph = tuple(_input(each) for each in found)
        self._is_stacked = schema is not None and len(graph) == 1 and graph[0].shape in ((len(schema.inputs),), (-1,))
        self.schema = _named(schema, graph) if self._is_stacked and schema is not None else _typed(graph, schema)
        self._dtype = graph[0].array_type
        own = session.get_modelmeta().producer_name == "skl2onnx"
        self._fetched = dict(
            zip(_names([each.name for each in given], own), (each.name for each in given), strict=True)
        )
        self.outputs = tuple(_output(name, each, own) for name, each in zip(self._fetched, given, strict=True))
        self.usual: tuple[str, ...] = (PREDICTIONS,) if PREDICTIONS in self._fetched else tuple(self._fetched)
        self._is_flat = {each.name for each in self.outputs if own and each.shape == ()}
        self.takes_singles = False
        self.is_joinable = all(_is_free(each) for each in (*found, *given))

    def predict_singly(self, batch: Batch, wanted: Collection[str]) -> dict[str, Any] | None:
        """As LoadedModel."""
        return None

    def predict(self, batch: Batch, wanted: Collection[str]) -> dict[str, Any]:
        """As LoadedModel."""
        names = [each.name for each in self.outputs if each.name in wanted]
        try:
            found = self.session.run([self._fetched[name] for name in names], self._fed(batch))
        except Exception as error:
            if type(error).__name__ not in ("InvalidArgument", "ValueError"):
                raise
            raise Refused(last_line(error)) from error
        made = {name: _array(each) for name, each in zip(names, found, strict=True)}
        return {name: each.reshape(len(each)) if name in self._is_flat else each for name, each in made.items()}

    def _fed(self, batch: Batch) -> dict[str, Any]:
        if self._is_stacked:
            return {self._feeds[0]: _stacked(batch, self._dtype)}
        arrays = batch.arrays
        if len(arrays) == 1 and len(self._feeds) > 1:
            arrays = tuple(arrays[0][:, number] for number in range(len(self._feeds)))
        return {
            name: each.reshape(batch.rows, *_tail(wanted, each)).astype(wanted.array_type, copy=False)
            for name, wanted, each in zip(self._feeds, self.schema.inputs, arrays, strict=True)
        }


def load(path: Path, schema: Schema | None = None) -> Graph:
    """Failure for a file of another format, or a graph that ONNX Runtime does not take."""
    if format_of(path) != ONNX:
        raise unloadable(
            f"'{path.name}' cannot be loaded as an ONNX model: it is {described(path)}; register a ModelProto, as onnx.save "
            "writes it, or name the format that it has"
        )
    try:
        import onnxruntime
    except ImportError as error:
        raise unloadable(f"'{path.name}' needs the package onnxruntime: add it to environment") from error
    try:
        session = onnxruntime.InferenceSession(str(path), _options(onnxruntime), providers=["CPUExecutionProvider"])
        return Graph(session, schema)
    except Exception as error:
        if getattr(error, "reason", None):
            raise
        raise unloadable(
            f"'{path.name}' cannot be loaded as an ONNX model ({last_line(error)[:500]}): it may be damaged, cut short, or of a newer "
            "operator set than this ONNX Runtime's; register the model again"
        ) from error


def _options(onnxruntime: Any) -> Any:
    """One thread for small machines, and threads that do not spin: they would take the time of the HTTP loop."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = max(1, int(os.environ.get("OMP_NUM_THREADS", "1") or 1))
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options


def _input(found: Any) -> Input:
    if found.type not in _TYPES:
        raise unloadable(
            f"input '{found.name}' of the graph is a {found.type}, which no request can carry: export the model with tensors, or add "
            "a score script"
        )
    kind, dtype = _TYPES[found.type]
    shape = tuple(each if isinstance(each, int) and each > 0 else -1 for each in found.shape)
    fixed = shape[0] if shape and shape[0] > 0 else None
    return Input(found.name, kind, shape[1:], dtype, is_nullable=kind == NUMBER, fixed_rows=fixed)


def _names(given: list[str], own: bool) -> list[str]:
    """What outputs are called. A graph that skl2onnx made of an estimator answers by the estimator's names."""
    if own and len(given) in (1, 2) and not any("_" in name and name[-1].isdigit() for name in given):
        return [PREDICTIONS, PROBABILITIES][: len(given)]
    return given


def _output(name: str, found: Any, own: bool) -> Output:
    if found.type.startswith("seq(map("):
        return Output(name, NUMBER, (-1,), "float64")  # a probability for each class, which becomes a table
    kind, dtype = _TYPES.get(found.type, ("any", ""))
    shape = tuple(each if isinstance(each, int) else -1 for each in found.shape[1:])
    return Output(name, kind, () if own and name == PREDICTIONS and shape == (1,) else shape, dtype)


def _named(schema: Schema, graph: tuple[Input, ...]) -> Schema:
    """The training data's columns, for a graph that takes them as one tensor."""
    return Schema(tuple(Input(each.name, each.type, (), "", each.is_nullable) for each in schema.inputs))


def _typed(graph: tuple[Input, ...], schema: Schema | None) -> Schema:
    """The graph's inputs, with what the training data knows of missing values."""
    known = {each.name: each for each in schema.inputs} if schema else {}
    return Schema(
        tuple(
            Input(
                each.name,
                each.type,
                each.shape,
                each.dtype,
                known[each.name].is_nullable and each.is_nullable if each.name in known else each.is_nullable,
                each.fixed_rows,
            )
            for each in graph
        )
    )


def _can_be_written(found: Any) -> bool:
    """Tensors, and a probability for each class; what else skl2onnx gives, for several labels, has no form in any answer."""
    return found.type in _TYPES or found.type.startswith("seq(map(")


def _is_free(found: Any) -> bool:
    return found.type.startswith("seq(") or (len(found.shape) > 0 and not isinstance(found.shape[0], int))


def _tail(wanted: Input, array: Any) -> tuple[int, ...]:
    """The shape of a row: a column becomes the table of one column that skl2onnx makes of it."""
    return wanted.shape if wanted.is_scalar else tuple(array.shape[1:])


def _stacked(batch: Batch, dtype: str) -> Any:
    import numpy

    if len(batch.arrays) == 1:
        return batch.arrays[0].astype(dtype, copy=False)
    return numpy.column_stack([each.astype(dtype) for each in batch.arrays])


def _array(found: Any) -> Any:
    """An array of what a session gives: ZipMap's list of maps becomes a table, columns in the order of the classes."""
    import numpy

    if isinstance(found, list) and found and isinstance(found[0], dict):
        return numpy.array([list(each.values()) for each in found], dtype="float64")
    return numpy.asarray(found)
