"""`azureml.core.model`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from smalt_scorer.collected import served_model
from smalt_scorer.for_scripts.standing_in import StandingIn, stand_in


class Model(metaclass=StandingIn):
    """The served model's place; nothing else of Azure's Model."""

    @staticmethod
    def get_model_path(model_name: str, version: int | None = None, _workspace: Any = None) -> str:
        """What was registered: its one file or folder. FileNotFoundError names what is served instead."""
        if version is not None and not isinstance(version, int):
            raise TypeError(f"version is {version!r}, and must be an int or None")
        folder = Path(os.environ.get("AZUREML_MODEL_DIR", ""))
        served, its_version = served_model()
        if served:
            if served != model_name or version not in (None, int(its_version)):
                asked = model_name if version is None else f"{model_name}:{version}"
                raise FileNotFoundError(f"this Deployment serves the model '{served}:{its_version}', not '{asked}'")
            return str(_only(folder))
        # Outside of a Deployment nothing says what the folder's model is called.
        named = [folder / model_name, Path(model_name)]
        return str(next((path for path in named if path.exists()), None) or _only(folder))


def _only(folder: Path) -> Path:
    """The one entry of the folder, or the folder where it has several."""
    entries = list(folder.iterdir())
    return entries[0] if len(entries) == 1 else folder


def __getattr__(name: str) -> Any:
    return stand_in(name)
