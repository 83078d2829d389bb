"""What `source` has left for the containers after it, and what it has found the model to be."""

from __future__ import annotations

import json
from pathlib import Path

MODEL, DESCRIPTION, SAMPLES = "model", "source.json", "samples"
LOCK_FOLDER, LOCK = "environment", "requirements.lock"
# What can hold an estimator of scikit-learn.
LOADABLE = ("joblib", "skops")


def format_found(source: Path) -> str:
    """The model's format."""
    return str(json.loads((source / DESCRIPTION).read_text(encoding="utf-8")).get("format"))


def is_loadable(source: Path) -> bool:
    """Whether it is of a format that is loaded to be converted."""
    return format_found(source) in LOADABLE
