"""What scripts of the first Azure ML SDK import to log: `from azureml.core import Run`.

Where the image has the SDK itself, that is what is imported; this stands in for it everywhere else.
"""

from __future__ import annotations

import importlib.machinery
import os
import sys
from typing import Any

_HERE = os.path.dirname(os.path.abspath(__file__))


def _installed() -> Any:
    """The real package, if one lies further down the path of modules."""
    ours = os.path.dirname(_HERE)
    others = [os.path.join(path or ".", "azureml") for path in sys.path]
    others = [path for path in others if os.path.abspath(path) != ours]
    return importlib.machinery.PathFinder.find_spec(__name__, others)


_real = _installed()
if _real is not None and _real.loader is not None:
    __spec__ = _real
    __file__ = _real.origin
    __path__ = list(_real.submodule_search_locations or [])
    _real.loader.exec_module(sys.modules[__name__])
else:
    from .run import Run as Run

    def __getattr__(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise ImportError(
            f"azureml.core.{name} belongs to the Azure ML SDK, which this image has not; of it a run knows "
            "Run.get_context() with its log functions. Data and models come as inputs and outputs of the TrainingRun; or add "
            "azureml-core to spec.environment"
        )
