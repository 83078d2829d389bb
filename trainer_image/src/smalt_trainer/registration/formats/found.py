"""What a check has found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Tuple

ONNX, SKOPS, SAFETENSORS, JOBLIB, MLFLOW = "onnx", "skops", "safetensors", "joblib", "mlflow"
FORMATS = (ONNX, SKOPS, SAFETENSORS, JOBLIB, MLFLOW)
# Whatever a score script loads in its own way: nothing is known of it, and it is not served without one.
OTHER = "other"
# A plain pickle is what joblib reads too.
SAME = {"pickle": JOBLIB, "sklearn": JOBLIB, "mlflowModel": MLFLOW}


@dataclass(frozen=True)
class Found:
    """A file's format, and what is worth knowing of its content: `types` are classes that loading it would make."""

    format: str
    types: Tuple[str, ...] = ()
    # Other files of the model's folder that it needs.
    needs: Tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """As source.json holds it; at most a hundred names of each kind."""
        made: dict[str, Any] = {"format": self.format}
        for key in ("types", "needs"):
            names = getattr(self, key)
            if names:
                made[key] = list(names[:100])
        return made
