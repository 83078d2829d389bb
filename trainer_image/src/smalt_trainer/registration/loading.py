"""The process that loads a model, for `convert`: `inspect` tells what it is, `convert` makes ONNX of it and proves it.

Nothing that is printed or left here is trusted by anybody.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any, Optional

from smalt_trainer.registration.described import format_found

_ALIASES = {"joblib": (".joblib", ".pkl", ".pickle"), "skops": (".skops",)}


def main(step: str, source: Path, into: Path) -> None:
    """inspected.json or made.json in `into`."""
    sys.path.extend(each for each in os.environ.get("SMALT_OVERLAY", "").split(os.pathsep) if each)
    # What another scikit-learn has saved may answer otherwise here, and nothing would be proven of it. By its words: it
    # takes long to import what the warning's class is in.
    warnings.filterwarnings("error", "Trying to unpickle estimator")
    try:
        model = load(source / "model", format_found(source))
    except Warning as warning:
        words = str(warning).partition(". ")[0]
        _leave(into / "inspected.json", {"reason": "ModelNotLoadable", "problem": words})
        return
    if step == "inspect":
        _leave(into / "inspected.json", inspected(model, source))
        return
    from smalt_trainer.registration.conversion import TOOLS, converted

    lacking = [name for name in TOOLS if importlib.util.find_spec(name) is None]
    if lacking:
        words = f"the run's environment has no {', '.join(lacking)}"
        _leave(into / "made.json", {"reason": "ConverterUnavailable", "message": words})
        return
    _leave(into / "made.json", converted(model, samples(source), into / "model.onnx"))


def load(folder: Path, format_: str) -> Any:
    """The object in the one file of the format."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "schema.json"]
    named = [path for path in files if path.suffix in _ALIASES[format_]]
    found = named or files
    if len(found) != 1:
        raise SystemExit(f"the model has {len(found)} files that could be the one to load")
    if format_ == "skops":
        from skops import io

        return io.load(found[0], trusted=io.get_untrusted_types(file=found[0]))
    import joblib

    return joblib.load(found[0])


def inspected(model: Any, source: Path) -> dict[str, Any]:
    """What the object says of itself, and the columns of the requests that it takes."""
    kind = type(model)
    classes = getattr(model, "classes_", None)
    names = _names(model)
    width = getattr(model, "n_features_in_", None)
    outputs = [
        name for name in ("predict", "predict_proba", "decision_function") if callable(getattr(model, name, None))
    ]
    made: dict[str, Any] = {
        "inspection": {
            "library": kind.__module__.partition(".")[0],
            "class": f"{kind.__module__}.{kind.__qualname__}",
            "featureNames": names,
            "nFeatures": None if width is None else int(width),
            "classes": None
            if classes is None or isinstance(classes, list)
            else [str(each)[:200] for each in classes][:1000],
            "outputs": outputs,
        },
        "schema": _own_schema(source) or _schema(model, names, source),
    }
    if "predict" not in outputs:
        made.update(reason="NotConvertible", problem=f"a {kind.__name__} has no predict()")
    elif not hasattr(model, "get_params") or not hasattr(model, "n_features_in_"):
        made.update(reason="NotConvertible", problem=f"a {kind.__qualname__} is no fitted estimator of scikit-learn")
    return made


def samples(source: Path) -> list[dict[str, Any]]:
    """Rows of what the model was trained on, as the training run has kept them; those of the longest table first."""
    found = []
    folder = source / "samples"
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
        try:
            read = json.loads(path.read_text(encoding="utf-8"))
            tried = {
                str(each["name"]): (str(each["type"]), list(each["values"]))
                for each in read["columns"]
                if each["name"] != read.get("target")
            }
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            print(f"{path.name} is no sample: {error}")
            continue
        found.append(tried)
    return sorted(found, key=lambda each: -max((len(values) for _, values in each.values()), default=0))


def fitting(names: list[str], found: list[dict[str, Any]]) -> Optional[dict[str, Any]]:
    """The first sample that has all the columns."""
    return next((each for each in found if all(name in each for name in names)), None)


def _names(model: Any) -> Optional[list[str]]:
    names = getattr(model, "feature_names_in_", None)
    return None if names is None else [str(each) for each in names]


def _own_schema(source: Path) -> Optional[dict[str, Any]]:
    """The user's, beside the model, counts before what is found out."""
    path = source / "model" / "schema.json"
    if not path.is_file():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    return {"outputs": [], **found} if isinstance(found, dict) else None


def _schema(model: Any, names: Optional[list[str]], source: Path) -> Optional[dict[str, Any]]:
    """Names that the model remembers with the types that its data had; a model without names takes one table of numbers."""
    if not names:
        return None
    sample = fitting(names, samples(source))
    if sample is None:
        return None
    inputs = [{"name": name, "type": sample[name][0]} for name in names]
    outputs: list[dict[str, Any]] = [{"name": "predictions", "type": _predicted(model)}]
    if callable(getattr(model, "predict_proba", None)):
        outputs.append({"name": "probabilities", "type": "number"})
    return {"inputs": inputs, "outputs": outputs}


def _predicted(model: Any) -> str:
    classes = getattr(model, "classes_", None)
    if classes is None:
        from sklearn.base import is_regressor

        return "number" if is_regressor(model) else "any"
    kind = getattr(getattr(classes, "dtype", None), "kind", "")
    return {"i": "integer", "u": "integer", "f": "number", "b": "boolean", "U": "string", "O": "string"}.get(
        kind, "any"
    )


def _leave(path: Path, content: Any) -> None:
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(content), encoding="utf-8")
    draft.replace(path)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
