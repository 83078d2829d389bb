"""Models with `predict()` as scikit-learn's have it: pickled by joblib, or stored by skops."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from smalt_scorer.models.files import unloadable
from smalt_scorer.models.kernels import kernels_of
from smalt_scorer.models.loaded import PREDICTIONS, PROBABILITIES, Batch, Refused
from smalt_scorer.models.row_by_row import is_row_by_row
from smalt_scorer.models.schema import ANY, INTEGER, NUMBER, STRING, UNNAMED, Input, Output, Schema

METHODS = {PREDICTIONS: "predict", PROBABILITIES: "predict_proba"}
_KINDS = {"f": NUMBER, "i": INTEGER, "u": INTEGER, "b": "boolean", "U": STRING, "O": STRING, "S": STRING}


class Estimator:
    """One fitted estimator or pipeline."""

    def __init__(self, model: Any, platform: str, schema: Schema | None = None) -> None:
        """`schema` is what the training data had; without it, what the estimator remembers is what is checked."""
        self.model, self.platform = model, platform
        self._kernels = kernels_of(model)
        self.is_joinable = is_row_by_row(model)
        self.takes_singles = "predict" in self._kernels
        self.schema = fitting(schema, model) or remembered(model)
        self.outputs = outputs_of(model)
        self._is_of_any = any(each.type == ANY for each in self.schema.inputs)
        self.usual: tuple[str, ...] = (PREDICTIONS,)
        names = getattr(model, "feature_names_in_", None)
        self._names = list(self.schema.names) if names is None else [str(each) for each in names]
        # Objects that know nothing of columns, as models of one's own, get what the training data was: a table.
        self._is_of_texts = _takes_texts(first_step(model))
        is_own = self.schema.is_named and not hasattr(model, "n_features_in_") and not self._is_of_texts
        self._is_framed = names is not None or is_own

    def predict(self, batch: Batch, wanted: Collection[str]) -> dict[str, Any]:
        """As LoadedModel."""
        import numpy

        if batch.rows == 1:
            alone = self.predict_singly(batch, wanted)
            if alone is not None:
                return alone
        rows = self._rows(batch)
        made = {}
        try:
            if PREDICTIONS in wanted:
                made[PREDICTIONS] = numpy.asarray(self._asked("predict", rows))
            if PROBABILITIES in wanted:
                made[PROBABILITIES] = numpy.asarray(self._asked("predict_proba", rows))
        except (ValueError, OverflowError) as error:
            # Its rows have the right names, types and number: what is left is a value that it cannot take.
            raise Refused(str(error)) from error
        except TypeError as error:
            if not self._is_of_any:
                raise
            raise Refused(f"a value is of a type that the model does not take: {error}") from error
        return made

    def predict_singly(self, batch: Batch, wanted: Collection[str]) -> dict[str, Any] | None:
        """As LoadedModel."""
        if not self._kernels:
            return None
        rows = _of_numbers(batch.arrays)
        made = {}
        for name in wanted:
            kernel = self._kernels.get(METHODS[name])
            found = None if kernel is None or rows is None else kernel.singly(rows)
            if found is None:
                return None
            made[name] = found
        return made

    def _asked(self, method: str, rows: Any) -> Any:
        """What the method answers: by its kernel, where there is one and it takes these rows."""
        kernel = self._kernels.get(method)
        answered = None if kernel is None else kernel(rows)
        return getattr(self.model, method)(rows) if answered is None else answered

    def _rows(self, batch: Batch) -> Any:
        if not self._is_framed:
            return batch.arrays[0] if self._is_of_texts or batch.arrays[0].ndim > 1 else _stacked(batch.arrays)
        import pandas

        if len(batch.arrays) == 1 and batch.arrays[0].ndim == 2:
            return pandas.DataFrame(batch.arrays[0], columns=self._names)
        return pandas.DataFrame(dict(zip(self._names, batch.arrays, strict=True)))


def _of_numbers(arrays: tuple[Any, ...]) -> Any:
    """One table; None when there is more in it than numbers."""
    if any(each.dtype.kind not in "fiu" for each in arrays):
        return None
    return arrays[0] if len(arrays) == 1 and arrays[0].ndim == 2 else _stacked(arrays)


def check_predicts(model: Any, name: str) -> None:
    """Failure for an object that predicts nothing."""
    if not callable(getattr(model, "predict", None)):
        raise unloadable(
            f"'{name}' holds a {type(model).__name__}, which has no predict(): register a model, or add a score script"
        )


def fitting(schema: Schema | None, model: Any) -> Schema | None:
    """The schema of the training data, as far as the model takes it: without a target, in the model's order."""
    if schema is None:
        return None
    names = getattr(model, "feature_names_in_", None)
    if names is not None:
        known = {each.name: each for each in schema.inputs}
        missing = [str(each) for each in names if str(each) not in known]
        if missing:
            raise unloadable(
                f"schema.json has no column '{missing[0]}', which the model was trained with: register them together again"
            )
        return Schema(tuple(known[str(each)] for each in names))
    width = getattr(model, "n_features_in_", None)
    if width is not None and width != len(schema.inputs):
        raise unloadable(
            f"schema.json has {len(schema.inputs)} columns, and the model was trained with {width}: leave out what is no "
            "input of it and register them together again"
        )
    return schema


def remembered(model: Any) -> Schema:
    """What a fitted estimator knows of its own inputs."""
    names = getattr(model, "feature_names_in_", None)
    first = first_step(model)
    if names is not None:
        kinds = column_types(first, [str(each) for each in names])
        return Schema(tuple(Input(name, kind) for name, kind in kinds.items()))
    if _takes_texts(first):
        return Schema((Input(UNNAMED, STRING, is_nullable=False),))
    kind = ANY if takes_more_than_numbers(first) else NUMBER
    width = getattr(model, "n_features_in_", None)
    return Schema((Input(UNNAMED, kind, (-1 if width is None else int(width),)),))


def column_types(step: Any, names: list[str]) -> dict[str, str]:
    """The type of each named column, as far as what it is given to tells it."""
    if not hasattr(step, "transformers_"):
        return dict(zip(names, _kinds_for(step, len(names)), strict=True))
    found: dict[str, set[str]] = {name: set() for name in names}
    for _, transformer, columns in step.transformers_:
        if transformer == "drop":
            continue
        chosen = _chosen(columns, names)
        for name, kind in zip(chosen, _kinds_for(first_step(transformer), len(chosen)), strict=True):
            found[name].add(kind)
    # A column that is not used, or used in two ways, is not looked at.
    return {name: kinds.pop() if len(kinds) == 1 else ANY for name, kinds in found.items()}


def _chosen(columns: Any, names: list[str]) -> list[str]:
    """The names of a ColumnTransformer's columns: by name, number, slice or mask."""
    import numpy

    if isinstance(columns, str):
        return [columns]
    if isinstance(columns, slice) and not isinstance(columns.start or columns.stop or 0, str):
        return names[columns]
    if isinstance(columns, slice):
        first = 0 if columns.start is None else names.index(columns.start)
        return names[first : len(names) if columns.stop is None else names.index(columns.stop) + 1]
    found = numpy.atleast_1d(numpy.asarray(columns))
    return [str(each) for each in (found if found.dtype.kind in "UOT" else numpy.asarray(names, dtype=object)[found])]


def _kinds_for(step: Any, count: int) -> list[str]:
    """The types of the columns that a step is given: an encoder remembers its categories."""
    categories = getattr(step, "categories_", None)
    if isinstance(categories, list) and len(categories) == count:
        return [_kind_of_categories(each) for each in categories]
    if _takes_texts(step):
        return [STRING] * count
    return [ANY if isinstance(step, str) or takes_more_than_numbers(step) else NUMBER] * count


def _kind_of_categories(categories: Any) -> str:
    types = {type(each) for each in categories.tolist() if each is not None and each == each}
    if types == {str}:
        return STRING
    return NUMBER if types and types <= {int, float} else ANY


def first_step(model: Any) -> Any:
    """What the rows meet first, in pipelines and in searches around them."""
    seen = 0
    while seen < 20:
        seen += 1
        steps = getattr(model, "steps", None)
        inner = getattr(model, "best_estimator_", None)
        if isinstance(steps, list) and steps:
            model = next((step for _, step in steps if step not in (None, "passthrough")), steps[-1][1])
        elif inner is not None:
            model = inner
        else:
            break
    return model


def takes_more_than_numbers(step: Any) -> bool:
    """Whether texts can be among its values; what cannot be known is left to the model."""
    if hasattr(step, "transformers") or hasattr(step, "transformer_list"):
        return True  # a ColumnTransformer or a FeatureUnion: what of it takes which is its own affair
    tags = _tags(step)
    if tags is None or tags.categorical or tags.string or type(step).__module__.partition(".")[0] != "sklearn":
        return True
    filled = getattr(getattr(step, "statistics_", None), "dtype", None)  # what an imputer fills holes with
    has_categories = getattr(step, "is_categorical_", None) is not None  # of boosting on columns of categories
    return has_categories or getattr(filled, "kind", "") == "O" or type(step).__name__ == "FunctionTransformer"


def _takes_texts(step: Any) -> bool:
    tags = _tags(step)
    return tags is not None and tags.string and not tags.two_d_array


def _tags(step: Any) -> Any:
    try:
        from sklearn.utils import get_tags

        return get_tags(step).input_tags
    except Exception:  # no estimator of scikit-learn's kind, or one of an older kind: nothing is known
        return None


def outputs_of(model: Any) -> tuple[Output, ...]:
    """Predictions, and the classes' probabilities where the model has them as one table."""
    classes = getattr(model, "classes_", None)
    found = [Output(PREDICTIONS, *_predicted(model, classes))]
    if callable(getattr(model, "predict_proba", None)) and not isinstance(classes, list):
        found.append(Output(PROBABILITIES, NUMBER, (-1 if classes is None else len(classes),), "float64"))
    return tuple(found)


def _predicted(model: Any, classes: Any) -> tuple[str, tuple[int, ...], str]:
    """Type, shape and numpy type of predictions, as far as they show before any was made."""
    if isinstance(classes, list):
        return ANY, (len(classes),), ""
    if classes is not None:
        import numpy

        dtype = numpy.asarray(classes).dtype
        return _KINDS.get(dtype.kind, ANY), (), "object" if dtype.kind in "US" else str(dtype)
    if getattr(model, "_estimator_type", None) == "regressor" or _is_regressor(model):
        count = _targets(model)
        return NUMBER, () if count == 1 else (count,), "float64"
    return ANY, (), ""


def _is_regressor(model: Any) -> bool:
    try:
        from sklearn.base import is_regressor

        return bool(is_regressor(model))
    except Exception:  # as with tags: an object that has predict() and nothing else of scikit-learn
        return False


def _targets(model: Any) -> int:
    """How many values a regressor gives for a row."""
    last = model
    while getattr(last, "steps", None):
        last = last.steps[-1][1]
    last = getattr(last, "best_estimator_", last)
    count = getattr(last, "n_outputs_", None)
    if isinstance(count, int):
        return count
    estimators = getattr(last, "estimators_", None)
    if type(last).__name__.startswith("MultiOutput") and isinstance(estimators, list):
        return len(estimators)
    coefficients = getattr(last, "coef_", None)
    shape: tuple[int, ...] = getattr(coefficients, "shape", ())
    return int(shape[0]) if len(shape) == 2 and shape[0] > 1 else 1


def _stacked(arrays: tuple[Any, ...]) -> Any:
    import numpy

    return numpy.column_stack(arrays)
