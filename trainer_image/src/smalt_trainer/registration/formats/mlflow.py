"""MLflow model folders: MLmodel is read as plain data, and the files that its flavors name must be there."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Iterable, Mapping

from smalt_trainer.registration.formats.found import MLFLOW, Found
from smalt_trainer.registration.formats.places import leaves
from smalt_trainer.registration.refused import damaged, refused, shown

MLMODEL = "MLmodel"
_DEEPEST = 64
_MOST_BYTES = 1 << 20
# What a flavor calls the file or folder that it keeps the model in.
_FILES = (
    "pickled_model",
    "data",
    "model_data",
    "model_path",
    "python_model",
    "model_binary",
    "env",
    "code",
    "loader_file",
)
# Names that MLflow itself takes when a flavor has none.
_DEFAULTS = {"sklearn": ("pickled_model", "model.pkl"), "onnx": ("data", "model.onnx")}


def check(folder: Path) -> Found:
    """A description with flavors whose files exist. NotRegistered for anything else."""
    described = _read(folder / MLMODEL)
    flavors = described.get("flavors")
    if not isinstance(flavors, dict) or not flavors:
        raise damaged(MLMODEL, "it names no flavors")
    needs: set[str] = set()
    for flavor, settings in flavors.items():
        if not isinstance(settings, dict):
            raise damaged(MLMODEL, f"flavor '{shown(str(flavor))}' is no mapping")
        for name in _named(str(flavor), settings):
            needs.add(_existing(folder, str(flavor), name))
    return Found(
        MLFLOW, types=tuple(sorted(f"flavor {shown(str(each))}" for each in flavors)), needs=tuple(sorted(needs))
    )


def _read(path: Path) -> Mapping[str, Any]:
    """YAML without aliases, of which a page could unfold to gigabytes."""
    import yaml

    if path.stat().st_size > _MOST_BYTES:
        raise refused(MLMODEL, f"has more than {_MOST_BYTES} bytes: this is no description of a model")
    try:
        text = path.read_text(encoding="utf-8")
        _check_events(yaml.parse(text, yaml.SafeLoader))
        found = yaml.safe_load(text)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise damaged(MLMODEL, f"no YAML: {str(error)[:200]}") from error
    if not isinstance(found, dict):
        raise damaged(MLMODEL, "no YAML mapping")
    return found


def _check_events(events: Iterable[Any]) -> None:
    """Read one by one: the parser takes ever longer for what is nested ever deeper."""
    import yaml

    depth = 0
    for each in events:
        if isinstance(each, yaml.AliasEvent):
            raise refused(MLMODEL, "uses YAML aliases, which MLflow never writes: log the model again")
        depth += isinstance(each, yaml.CollectionStartEvent) - isinstance(each, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise damaged(MLMODEL, f"no YAML of MLflow: it is nested more than {_DEEPEST} levels deep")


def _named(flavor: str, settings: Mapping[str, Any]) -> list[str]:
    key, default = _DEFAULTS.get(flavor, ("", ""))
    names = [settings[each] for each in _FILES if isinstance(settings.get(each), str) and settings[each]]
    # A flavor's `data` may be a folder's name or, for python_function, none at all.
    return names + ([default] if key and not isinstance(settings.get(key), str) else [])


def _existing(folder: Path, flavor: str, name: str) -> str:
    if leaves(name):
        raise refused(
            MLMODEL,
            f"has a flavor '{shown(flavor)}' that names '{shown(name)}', which lies outside of the model's folder",
        )
    if not (folder / name).exists():
        raise damaged(MLMODEL, f"flavor '{shown(flavor)}' names '{shown(name)}', which is not in the model's folder")
    return name.rstrip("/")
