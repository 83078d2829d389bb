"""Names that Azure's score scripts import, found without anything of Azure's being installed.

What belongs to the server or to the pod is always ours: @rawhttp has to reach this server, and what Azure's collectors
send goes to a sidecar that no pod has here. `azureml.core` is ours only where the environment has none.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

_FOLDER = Path(__file__).parent / "for_scripts"
_PACKAGE = "package"
_SERVER = "azureml_inference_server_http"
ALWAYS = {
    _SERVER: ("inference_server", _PACKAGE),
    f"{_SERVER}.api": ("__init__", _PACKAGE),
    f"{_SERVER}.api.aml_request": ("aml_request", ""),
    f"{_SERVER}.api.aml_response": ("aml_response", ""),
    f"{_SERVER}.log_config": ("log_config", ""),
    "azureml.contrib.services": ("contrib_services", _PACKAGE),
    "azureml.contrib.services.aml_request": ("aml_request_again", ""),
    "azureml.contrib.services.aml_response": ("aml_response_again", ""),
    "azureml.ai.monitoring": ("ai_monitoring", _PACKAGE),
    "azureml.ai.monitoring.context": ("ai_monitoring_context", ""),
    "azureml.monitoring": ("monitoring", _PACKAGE),
    "azureml.monitoring.modeldatacollector": ("monitoring", ""),
}
_PARENTS = ("azureml", "azureml.contrib", "azureml.ai")
CORE = "azureml.core"
_CORE_MODEL = f"{CORE}.model"


class Always(MetaPathFinder):
    """Goes before what is installed."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        file, kind = ALWAYS.get(fullname, ("", ""))
        return _spec(fullname, file, kind == _PACKAGE) if file else None


class Otherwise(MetaPathFinder):
    """Goes after what is installed."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname in _PARENTS:
            made = ModuleSpec(fullname, None, is_package=True)
            made.submodule_search_locations = []
            return made
        if fullname == CORE:
            return _spec(fullname, "core", True)
        if fullname.startswith(f"{CORE}.") and _is_ours(CORE):
            return _spec(fullname, "core_model" if fullname == _CORE_MODEL else "core", fullname != _CORE_MODEL)
        return None


def install() -> None:
    """Once in a process, before the script is imported."""
    if not any(isinstance(each, Always) for each in sys.meta_path):
        sys.meta_path.insert(0, Always())
        sys.meta_path.append(Otherwise())


def _is_ours(name: str) -> bool:
    file = getattr(sys.modules.get(name), "__file__", None)
    return file is not None and Path(file).parent == _FOLDER


def _spec(name: str, file: str, is_package: bool) -> ModuleSpec | None:
    locations: list[str] | None = [] if is_package else None
    return spec_from_file_location(name, _FOLDER / f"{file}.py", submodule_search_locations=locations)
