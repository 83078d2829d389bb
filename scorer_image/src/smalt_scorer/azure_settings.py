"""The settings that Azure's server takes from the environment and from config.json, where they mean something here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smalt_scorer.failures import Failure

# What config.json may hold; the environment goes first.
_IN_FILE = (
    "AZUREML_ENTRY_SCRIPT",
    "AZUREML_SOURCE_DIRECTORY",
    "SERVICE_NAME",
    "SERVICE_VERSION",
    "SERVICE_PATH_PREFIX",
    "SCORING_TIMEOUT_MS",
)


@dataclass(frozen=True)
class AzureSettings:
    """`root` is where scripts start and what they import from; `entry_script` is None when nothing names one."""

    root: Path
    entry_script: str | None = None
    source_directory: str | None = None
    service_name: str = "ML service"
    service_version: str = "1.0"
    path_prefix: str = ""
    timeout_ms: int | None = None
    cors_origins: str | None = None
    health_port: int | None = None
    worker_count: int | None = None


def read(environment: Mapping[str, str], root: Path) -> AzureSettings:
    """`root` is where there is no AML_APP_ROOT. Failure names the setting and its value."""
    root = Path(environment.get("AML_APP_ROOT") or root)
    found = {**_in_file(environment, root), **{name: environment[name] for name in _IN_FILE if environment.get(name)}}
    has_health_port = environment.get("SEPERATE_HEALTH_ENDPOINT") == "true"  # spelled as Azure spells it
    return AzureSettings(
        root=root,
        entry_script=_text(found, "AZUREML_ENTRY_SCRIPT"),
        source_directory=_text(found, "AZUREML_SOURCE_DIRECTORY"),
        service_name=_text(found, "SERVICE_NAME") or "ML service",
        service_version=_text(found, "SERVICE_VERSION") or "1.0",
        path_prefix=_text(found, "SERVICE_PATH_PREFIX") or "",
        timeout_ms=_positive(found, "SCORING_TIMEOUT_MS"),
        cors_origins=environment.get("AML_CORS_ORIGINS"),
        health_port=(_positive(environment, "HEALTH_PORT") or 5000) if has_health_port else None,
        worker_count=_positive(environment, "WORKER_COUNT"),
    )


def _in_file(environment: Mapping[str, str], root: Path) -> dict[str, Any]:
    """config.json: where AZUREML_CONFIG_FILE says, else beside the code, else beside the score script."""
    script = environment.get("AZUREML_ENTRY_SCRIPT")
    places = [Path(environment["AZUREML_CONFIG_FILE"])] if environment.get("AZUREML_CONFIG_FILE") else []
    places += [root / "config.json"] + ([(root / script).parent / "config.json"] if script else [])
    path = next((each for each in places if each.is_file() and each.stat().st_size), None)
    if path is None:
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Failure("ScriptInvalid", f"{path} is no JSON ({error}): correct it, or leave it out") from error
    if not isinstance(found, dict):
        raise Failure("ScriptInvalid", f'{path} is no JSON object: write settings as {{"SERVICE_NAME": "churn"}}')
    return {name: found[name] for name in _IN_FILE if found.get(name) is not None}


def _text(found: Mapping[str, Any], name: str) -> str | None:
    value = found.get(name)
    if value is not None and not isinstance(value, str):
        raise Failure("ScriptInvalid", f"{name} is {value!r}, and must be a text: correct config.json")
    return value


def _positive(found: Mapping[str, Any], name: str) -> int | None:
    value = found.get(name)
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not str(value).isdecimal() or int(value) < 1:
        raise Failure("ScriptInvalid", f"{name} is {value!r}, and must be a whole number above 0")
    return int(value)
