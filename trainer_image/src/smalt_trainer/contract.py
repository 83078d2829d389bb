"""The run as the operator wrote it down, read once and checked, so that no other module meets raw JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Mapping, Optional

from smalt_trainer.failures import RunFailed


@dataclass(frozen=True)
class Artifact:
    """Files in the workspace's own store: where, and the digest of their manifest."""

    place: str
    digest: str


@dataclass(frozen=True)
class Input:
    """One named input: a path that is mounted, an address to fetch, or an artifact; exactly one of the three."""

    name: str
    kind: str
    # As the user wrote it.
    path: str
    mount: Optional[str] = None
    url: Optional[str] = None
    artifact: Optional[Artifact] = None
    digest: Optional[str] = None
    unpack: bool = False
    # The digest of what an earlier attempt has read.
    pinned: Optional[str] = None
    # The column to predict, when it is a table.
    target: Optional[str] = None
    # The folder of its Secret below `places.credentials`, and the Secret's name.
    credentials: Optional[str] = None
    secret: Optional[str] = None

    @property
    def is_fetched(self) -> bool:
        """The container `fetch` brings it; else it is read where it is mounted."""
        return self.mount is None or self.unpack


@dataclass(frozen=True)
class GitCode:
    """Code in a git repository; `commit` is what an earlier attempt ran, whatever the revision means by now."""

    url: str
    revision: Optional[str]
    path: Optional[str]
    credentials_secret: Optional[str]
    commit: Optional[str]


@dataclass(frozen=True)
class ArchiveCode:
    """Code in an archive; `pinned` is the digest of what an earlier attempt ran."""

    url: str
    digest: Optional[str]
    path: Optional[str]
    credentials_secret: Optional[str]
    pinned: Optional[str]
    # Of a workspace:// address, where the files lie: those of a folder, or one that is an archive.
    artifact: Optional[Artifact] = None


@dataclass(frozen=True)
class Contract:
    """Everything the pod needs to know about its run."""

    namespace: str
    name: str
    uid: str
    attempt: int
    workspace: str
    experiment: str
    command: str
    inline_code: Optional[Mapping[str, str]]
    code_folder: Optional[str]
    code_git: Optional[GitCode]
    code_archive: Optional[ArchiveCode]
    variables: Mapping[str, str]
    parameters: Mapping[str, Any]
    inputs: Mapping[str, Input]
    outputs: Mapping[str, str]
    # Of the models that the script logs with mlflow, the one that is to be registered.
    logged_model: Optional[str]
    environment: Mapping[str, Any]
    image: str
    timeout: float
    finalizing: float

    @property
    def is_code_fetched(self) -> bool:
        """The container `fetch` brings it."""
        return self.code_git is not None or self.code_archive is not None

    @property
    def log_hint(self) -> str:
        """The next step for every failure whose cause the log tells."""
        return f"see the log: kubectl logs -n {self.namespace} job/{self.name}-{self.attempt}"


def read_contract(path: Path) -> Contract:
    """Read run.json, or say which part of it is not as expected."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return parse_contract(data)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunFailed(
            "InternalError",
            f"the run's contract {path} cannot be used ({type(error).__name__}: {error}); "
            "check that the operator and the image that installs the tools are of one version",
        ) from error


def parse_contract(data: Mapping[str, Any]) -> Contract:
    """The contract from its JSON; a version of another number is another language."""
    if data["version"] != 1:
        raise ValueError(f"version is {data['version']!r}, this wrapper understands 1")
    run, code, limits = data["run"], data["code"], data["limits"]
    return Contract(
        namespace=str(run["namespace"]),
        name=str(run["name"]),
        uid=str(run["uid"]),
        attempt=int(run["attempt"]),
        workspace=str(data["workspace"]),
        experiment=str(data["experiment"]),
        command=str(data["command"]),
        inline_code={str(name): str(text) for name, text in code["inline"].items()} if "inline" in code else None,
        code_folder=code.get("folder"),
        code_git=_git(code["git"]) if "git" in code else None,
        code_archive=_archive(code["archive"]) if "archive" in code else None,
        variables={str(name): str(value) for name, value in (data.get("environmentVariables") or {}).items()},
        parameters=dict(data.get("parameters") or {}),
        inputs={name: _input(name, item) for name, item in (data.get("inputs") or {}).items()},
        outputs={name: str(item["type"]) for name, item in (data.get("outputs") or {}).items()},
        logged_model=data.get("loggedModel"),
        environment=dict(data.get("environment") or {}),
        image=str(data.get("image") or ""),
        timeout=float(limits["timeoutSeconds"]),
        finalizing=float(limits["finalizingSeconds"]),
    )


def _git(item: Mapping[str, Any]) -> GitCode:
    return GitCode(
        str(item["url"]), item.get("revision"), item.get("path"), item.get("credentialsSecret"), item.get("commit")
    )


def _archive(item: Mapping[str, Any]) -> ArchiveCode:
    stored = item.get("stored")
    return ArchiveCode(
        url=str(item["url"]),
        digest=item.get("digest"),
        path=item.get("path"),
        credentials_secret=item.get("credentialsSecret"),
        pinned=item.get("pinned"),
        artifact=Artifact(str(stored["artifact"]), str(stored["digest"])) if stored else None,
    )


def _input(name: str, item: Mapping[str, Any]) -> Input:
    source, secret = item["source"], item.get("credentials") or {}
    if len({"mount", "url", "artifact"} & source.keys()) != 1:
        raise ValueError(f"inputs.{name}.source must have exactly one of mount, url and artifact")
    return Input(
        name=name,
        kind=str(item["type"]),
        path=str(item["path"]),
        mount=source.get("mount"),
        url=source.get("url"),
        artifact=Artifact(str(source["artifact"]), str(source["digest"])) if "artifact" in source else None,
        digest=item.get("digest"),
        unpack=bool(item.get("unpack")),
        pinned=item.get("pinned"),
        target=item.get("target"),
        credentials=secret.get("folder"),
        secret=secret.get("secret"),
    )


def parameter_text(value: Any) -> str:
    """A parameter as the script's command line and MLflow see it: JSON's true and false, numbers as written."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else json.dumps(value)
