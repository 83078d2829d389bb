"""registration.json: what the operator asks for, read once and checked."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Mapping, Optional, Tuple


@dataclass(frozen=True)
class Model:
    """Which version of which model."""

    name: str
    version: int
    object: str
    uid: str
    namespace: str
    type: Optional[str] = None
    format: Optional[str] = None
    stage: Optional[str] = None
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """Where the files lie; `is_imported` when not in the workspace's own store."""

    uri: str
    digest: Optional[str]
    is_imported: bool
    secret: str = ""
    """The name of the Secret whose keys are mounted for an import; none is needed when it is empty."""
    unpack: bool = False
    """What is imported is an archive, and the model is what is in it."""


@dataclass(frozen=True)
class Run:
    """The run that the model comes from, and its record in MLflow."""

    name: str
    tracking_run: str
    experiment: str


@dataclass(frozen=True)
class Contract:
    """All of it."""

    model: Model
    source: Source
    tracking_uri: str
    allowed_formats: Optional[Tuple[str, ...]] = None
    lineage: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    run: Optional[Run] = None
    profiles: Mapping[str, str] = field(default_factory=dict)
    convert: bool = False
    # The image that the model is converted in, and whether the run has asked for packages on top of it.
    image: str = ""
    has_lock: bool = False
    # Why it is not to be converted, where an earlier try has shown that it cannot.
    not_converted: Optional[Tuple[str, str]] = None
    signing: bool = False


def read_contract(path: Path) -> Contract:
    """The contract in a file. ValueError or KeyError for one that no operator of this version writes."""
    return contract_of(json.loads(path.read_text(encoding="utf-8")))


def contract_of(found: Mapping[str, Any]) -> Contract:
    """The contract as JSON has it."""
    if found.get("version") != 1:
        raise ValueError(f"the contract has version {found.get('version')!r}, and this program reads version 1")
    model, source, run = found["model"], found["source"], found.get("run")
    allowed, refusal = found.get("allowedFormats"), found.get("notConverted")
    return Contract(
        model=Model(
            name=model["name"],
            version=int(model["version"]),
            object=model["object"],
            uid=model["uid"],
            namespace=model["namespace"],
            type=model.get("type"),
            format=model.get("format"),
            stage=model.get("stage"),
            tags={str(key): str(value) for key, value in (model.get("tags") or {}).items()},
        ),
        source=Source(
            source["uri"],
            source.get("digest"),
            source.get("credentials") == "import",
            source.get("secret") or "",
            bool(source.get("unpack")),
        ),
        tracking_uri=(found.get("tracking") or {}).get("uri") or "",
        allowed_formats=None if allowed is None else tuple(allowed),
        lineage=found.get("lineage") or {},
        metrics=found.get("metrics") or {},
        parameters=found.get("parameters") or {},
        run=Run(run["name"], run["trackingRunId"], run["experimentId"]) if run else None,
        profiles=found.get("profiles") or {},
        convert=bool(found.get("convert")),
        image=str(found.get("image") or ""),
        has_lock=bool(found.get("hasLock")),
        not_converted=(refusal["reason"], refusal["message"]) if refusal else None,
        signing=bool(found.get("signing")),
    )
