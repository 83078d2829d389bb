"""scoring.json (version 1): what the operator asks this pod to serve."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smalt_scorer.failures import Failure

VERSION = 1


@dataclass(frozen=True)
class Model:
    """One registered version: `uri` is mlflow-artifacts:/<experiment>/<run>/artifacts/outputs/<output>."""

    name: str
    version: int
    object_name: str
    uri: str
    digest: str
    output: str

    def folder(self, root: Path) -> Path:
        """AZUREML_MODEL_DIR for this version."""
        return root / "azureml-models" / self.name / str(self.version)


@dataclass(frozen=True)
class RequestSettings:
    """How requests are treated."""

    timeout_seconds: float = 5.0
    max_concurrent: int = 64
    max_queue_wait_seconds: float = 0.5
    max_body_bytes: int = 10 << 20


@dataclass(frozen=True)
class Code:
    """The score script's files: written out here, or in a folder."""

    inline: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None


@dataclass(frozen=True)
class Contract:
    """All of it."""

    model: Model
    code: Code | None
    scoring_script: str | None
    environment_variables: Mapping[str, str]
    needs_key: bool
    requests: RequestSettings


def read(path: Path) -> Contract:
    """The contract. Failure names the field that is missing or of the wrong form."""
    try:
        return parse(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise Failure("InternalError", f"{path} cannot be read: {error}") from error
    except (KeyError, TypeError) as error:
        raise Failure("InternalError", f"{path} is not a contract of version {VERSION}: {error!r}") from error


def parse(found: Any) -> Contract:
    if found["version"] != VERSION:
        raise TypeError(f"version is {found['version']}")
    model, settings, code = found["model"], found["requestSettings"], found.get("code")
    return Contract(
        model=Model(model["name"], model["version"], model["object"], model["uri"], model["digest"], found["output"]),
        code=None
        if code is None
        else Code(code.get("inline") or {}, Path(code["folder"]) if "folder" in code else None),
        scoring_script=found.get("scoringScript"),
        environment_variables=found.get("environmentVariables") or {},
        needs_key=found["authMode"] == "key",
        requests=RequestSettings(
            float(settings["requestTimeoutSeconds"]),
            int(settings["maxConcurrentRequests"]),
            float(settings["maxQueueWaitSeconds"]),
            int(settings["maxBodyBytes"]),
        ),
    )
