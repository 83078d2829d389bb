"""`azureml.core`, and those of its modules that have none of their own here."""

from __future__ import annotations

from typing import Any

from smalt_scorer.for_scripts.standing_in import stand_in


def __getattr__(name: str) -> Any:
    if name == "Model":
        from azureml.core.model import Model

        return Model
    return stand_in(name)
