"""A fitted estimator of scikit-learn as ONNX, if it answers as the original does on rows that the original was trained on.

ONNX computes in float32: labels must be equal, probabilities within 1e-5, and numbers within 1e-5 of their size.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Mapping, Optional, Sequence, Tuple

TOLERANCE = 1e-5
# By the names of their distributions, which are those of their modules.
TOOLS = ("skl2onnx", "onnx", "onnxruntime")
# The one input of a model whose columns have no names, as a graph can call it.
INPUT = "input"
# Fewer rows prove little; a sample of a table that has fewer is all there is.
FEWEST_ROWS = 10
_NUMERIC = ("integer", "number", "boolean")
Columns = Mapping[str, Tuple[str, Sequence[Any]]]


class NotConverted(Exception):
    """The model stays as it is."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason, self.message = reason, message


def converted(model: Any, samples: Sequence[Columns], into: Path) -> dict[str, Any]:
    """What is said of the file that was made, or why there is none."""
    try:
        rows, is_named = proving_rows(model, samples)
        graph = convert(model, rows, is_named)
        content = graph.SerializeToString()
        difference = largest_difference(model, content, rows)
    except NotConverted as error:
        return {"reason": error.reason, "message": error.message}
    into.write_bytes(content)
    made = {"file": "onnx/model.onnx", "tolerance": TOLERANCE, "rows": len(rows), "maxDifference": difference}
    return {**made, "opset": max(each.version for each in graph.opset_import if each.domain in ("", "ai.onnx"))}


def proving_rows(model: Any, samples: Sequence[Columns]) -> Tuple[Any, bool]:
    """Rows as the model takes them; whether each column is an input of its own."""
    import numpy

    names = getattr(model, "feature_names_in_", None)
    width = int(model.n_features_in_)
    for columns in samples:
        wanted = [str(each) for each in names] if names is not None else _unnamed(columns, width)
        if not wanted or any(name not in columns for name in wanted):
            continue
        if any(columns[name][0] not in (*_NUMERIC, "string") for name in wanted):
            continue
        if len(columns[wanted[0]][1]) < FEWEST_ROWS:
            continue
        if names is None:
            return numpy.column_stack([_series(*columns[name]) for name in wanted]).astype(numpy.float64), False
        # Only here: a model that was fitted without names needs no pandas, and neither does its environment.
        import pandas

        frame = pandas.DataFrame({name: _series(*columns[name]) for name in wanted})
        return frame, any(columns[name][0] == "string" for name in wanted) or _goes_by_columns(model)
    raise NotConverted(
        "NoRows",
        f"there are no {FEWEST_ROWS} rows of its training data to prove it on: name the table in the run's inputs with "
        "columns as the model takes them, and do not turn its sample off",
    )


def _unnamed(columns: Columns, width: int) -> list[str]:
    """All numeric columns, or all but the last one, when there are just as many as the model takes."""
    numeric = [name for name, (kind, _) in columns.items() if kind in _NUMERIC]
    return numeric if len(numeric) == width else numeric[:-1] if len(numeric) == width + 1 else []


def _series(kind: str, values: Sequence[Any]) -> Any:
    import numpy

    if kind == "string":
        import pandas

        # As objects: which of its own types for texts pandas would choose, depends on its version.
        return pandas.Series([math.nan if each is None else each for each in values], dtype=object)
    if None in values:
        return numpy.array([math.nan if each is None else float(each) for each in values])
    return numpy.array(values, dtype={"integer": "int64", "boolean": "bool"}.get(kind, "float64"))


def _goes_by_columns(model: Any) -> bool:
    """Whether its first step names columns."""
    for _ in range(20):
        inner = getattr(model, "best_estimator_", None)
        steps = getattr(model, "steps", None)
        if inner is not None:
            model = inner
        elif isinstance(steps, list) and steps:
            model = steps[0][1]
        else:
            break
    return hasattr(model, "transformers_")


def convert(model: Any, rows: Any, is_named: bool) -> Any:
    """The graph. NotConverted names the class that cannot be converted."""
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType
    from sklearn.base import is_classifier

    if isinstance(getattr(model, "classes_", None), list):
        raise NotConverted("NotConvertible", f"a {type(model).__name__} of several outputs is not converted")
    if is_named:
        types: list[Any] = [
            (str(name), StringTensorType([None, 1]) if rows[name].dtype == object else FloatTensorType([None, 1]))
            for name in rows.columns
        ]
    else:
        types = [(INPUT, FloatTensorType([None, rows.shape[1]]))]
    has_probabilities = is_classifier(model) and callable(getattr(model, "predict_proba", None))
    options = {id(model): {"zipmap": False}} if has_probabilities else None
    try:
        graph = convert_sklearn(model, initial_types=types, options=options)
    except Exception as error:
        words = " ".join(str(error).split())[:300]
        raise NotConverted(
            "NotConvertible", f"skl2onnx cannot convert a {type(model).__name__}: {type(error).__name__}: {words}"
        ) from error
    if is_classifier(model) and not has_probabilities:
        # What it has in their place are no probabilities, and the original does not give them either.
        del graph.graph.output[1:]
    return graph


def largest_difference(model: Any, content: bytes, rows: Any) -> float:
    """Between the answers of both. NotConverted when it is over what is allowed."""
    import onnxruntime

    try:
        onnxruntime.set_default_logger_severity(3)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        answers = session.run(None, _feeds(session, rows))
    except Exception as error:
        words = " ".join(str(error).split())[:300]
        raise NotConverted("NotConverted", f"ONNX Runtime cannot run what was made: {words}") from error
    expected = model.predict(rows)
    found = difference_of(expected, answers[0])
    if len(answers) > 1:
        found = max(found, _over(_distance(model.predict_proba(rows), answers[1]), "probabilities", "absolute"))
    return found


def difference_of(expected: Any, answer: Any) -> float:
    """0 for labels, which are equal; of numbers, relative to the larger of a prediction and their mean size."""
    import numpy

    expected, answer = numpy.asarray(expected), numpy.asarray(answer)
    if answer.ndim == expected.ndim + 1 and answer.shape[-1] == 1:
        answer = answer[..., 0]
    if expected.shape != answer.shape:
        raise NotConverted("NotEqual", f"predictions have the shape {answer.shape} instead of {expected.shape}")
    if expected.dtype.kind == "f" and answer.dtype.kind == "f":
        size = numpy.abs(expected.astype(float))
        mean = float(numpy.mean(size))
        scale = numpy.maximum(size, mean) if mean > 0 else 1.0
        return _over(_distance(expected, answer, scale), "predictions", "relative")
    if _family(expected) != _family(answer):
        raise NotConverted("NotEqual", f"labels are {answer.dtype} instead of {expected.dtype}")
    unlike = int(numpy.sum(expected.astype(str) != answer.astype(str)))
    if unlike:
        raise NotConverted("NotEqual", f"{unlike} of {len(expected)} labels differ")
    return 0.0


def _family(array: Any) -> str:
    kind = str(array.dtype.kind)
    return {"u": "i", "U": "O", "S": "O"}.get(kind, kind)


def _distance(expected: Any, answer: Any, scale: Any = 1.0) -> Optional[float]:
    """None when one has numbers where the other has none."""
    import numpy

    expected, answer = numpy.asarray(expected, dtype=float), numpy.asarray(answer, dtype=float)
    if expected.shape != answer.shape or not numpy.isfinite(answer).all() or not numpy.isfinite(expected).all():
        return None
    return float(numpy.max(numpy.abs(expected - answer) / scale)) if expected.size else 0.0


def _over(distance: Optional[float], what: str, how: str) -> float:
    if distance is None:
        raise NotConverted("NotEqual", f"{what} are not finite numbers of one shape")
    if distance > TOLERANCE:
        raise NotConverted("NotEqual", f"{what} differ by up to {distance:.3g} ({how}), and {TOLERANCE:g} is allowed")
    return distance


def _feeds(session: Any, rows: Any) -> dict[str, Any]:
    import numpy

    inputs = session.get_inputs()
    if len(inputs) == 1 and inputs[0].name == INPUT:
        return {INPUT: numpy.asarray(rows, dtype=numpy.float32)}
    return {
        each.name: rows[[each.name]].to_numpy(dtype=object if "string" in each.type else numpy.float32)
        for each in inputs
    }
