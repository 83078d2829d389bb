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
    format: str | None = None
    """What its files are, where the Model says so."""

    def folder(self, root: Path) -> Path:
        """AZUREML_MODEL_DIR for this version."""
        return root / "azureml-models" / self.name / str(self.version)

    def artifact(self, root: Path) -> Path:
        """What was registered: a folder of the output's name, as scripts open it, even when it holds a single file."""
        return self.folder(root) / self.output


@dataclass(frozen=True)
class RegistryFile:
    """A file that the registry keeps beside the model; `digest` is that of its content."""

    uri: str
    digest: str


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
    is_joining: bool = True
    """Whether requests that wait go through the model together."""
    is_signed: bool = False
    """Whether only files are served that the workspace's key has signed."""
    schema: RegistryFile | None = None
    """What requests are checked against, where no file beside the model says it."""
    lock: RegistryFile | None = None
    """Of the packages that the model was trained with, where they are to be had here."""
    written_with: Mapping[str, str] = field(default_factory=dict)
    """The versions of packages whose other versions may read the model as something else."""
    allows_skew: bool = False
    """Whether it is served with other versions all the same."""

    @property
    def is_direct(self) -> bool:
        """Whether the model itself answers, because there is no script."""
        return self.scoring_script is None or self.code is None


class ContractError(Failure):
    """A contract that cannot be served; the text names the field."""

    def __init__(self, words: str) -> None:
        super().__init__("InternalError", f"{words}: operator and scorer image must be of the same release")


def read(path: Path) -> Contract:
    """The contract of a file. ContractError names the field that is missing or of the wrong form."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ContractError(f"{path} cannot be read ({error})") from error
    return parse(found)


def parse(found: Any) -> Contract:
    """The contract of a JSON value. ContractError names the field that is missing or of the wrong form."""
    root = _Section("", found)
    if root.of("version", int) != VERSION:
        raise ContractError(f"scoring.json has version {found['version']}, and this scorer reads version {VERSION}")
    model, settings = root.section("model"), root.section("requestSettings")
    batching = root.of("batching", str) if root.has("batching") else "Auto"
    if batching not in ("Auto", "Off"):
        raise ContractError(f"batching of scoring.json is '{batching}', and must be Auto or Off")
    mode = root.of("authMode", str)
    if mode not in ("key", "none"):
        raise ContractError(f"authMode of scoring.json is '{mode}', and must be key or none")
    return Contract(
        model=Model(
            model.of("name", str),
            model.of("version", int),
            model.of("object", str),
            model.of("uri", str),
            model.of("digest", str),
            root.of("output", str),
            model.of("format", str) if model.has("format") else None,
        ),
        code=_code(root.section("code")) if root.has("code") else None,
        scoring_script=root.of("scoringScript", str) if root.has("scoringScript") else None,
        environment_variables=root.texts("environmentVariables"),
        needs_key=mode == "key",
        requests=RequestSettings(
            float(settings.of("requestTimeoutSeconds", int, float)),
            settings.of("maxConcurrentRequests", int),
            float(settings.of("maxQueueWaitSeconds", int, float)),
            settings.of("maxBodyBytes", int),
        ),
        is_joining=batching == "Auto",
        is_signed=root.flag("signing"),
        schema=_file(root.section("schema")) if root.has("schema") else None,
        lock=_file(root.section("lock")) if root.has("lock") else None,
        written_with=root.texts("writtenWith"),
        allows_skew=root.flag("allowSkew"),
    )


def _file(section: _Section) -> RegistryFile:
    return RegistryFile(section.of("uri", str), section.of("digest", str))


def _code(section: _Section) -> Code:
    if section.has("folder"):
        return Code(folder=Path(section.of("folder", str)))
    return Code(inline=section.texts("inline"))


class _Section:
    """An object of the contract, which knows its own place."""

    def __init__(self, place: str, found: Any) -> None:
        if not isinstance(found, dict):
            raise ContractError(f"{place or 'the content'} of scoring.json is no object but {found!r}")
        self._place, self._found = place, found

    def has(self, key: str) -> bool:
        return self._found.get(key) is not None

    def of(self, key: str, *kinds: type) -> Any:
        """The field's value, of one of the kinds; true and false are no numbers."""
        value = self._found.get(key)
        if not isinstance(value, kinds) or isinstance(value, bool):
            names = " or ".join(kind.__name__ for kind in kinds)
            raise ContractError(f"{self._name(key)} of scoring.json must be {names}, and is {value!r}")
        return value

    def flag(self, key: str) -> bool:
        """Whether it is true; absent is false."""
        value = self._found.get(key, False)
        if not isinstance(value, bool):
            raise ContractError(f"{self._name(key)} of scoring.json must be bool, and is {value!r}")
        return value

    def section(self, key: str) -> _Section:
        return _Section(self._name(key), self._found.get(key))

    def texts(self, key: str) -> dict[str, str]:
        """A map of texts; absent is empty."""
        section = _Section(self._name(key), self._found.get(key) or {})
        return {name: section.of(name, str) for name in section._found}

    def _name(self, key: str) -> str:
        return f"{self._place}.{key}" if self._place else key
