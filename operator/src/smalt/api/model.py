"""Model: one version of a registered model; the artifact is immutable, stage and tags are not."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from smalt.api.schema import Digest, Name, SmaltModel, keys, rule, rules
from smalt.api.status import Artifact, Status
from smalt.api.training_run import Stage

ONLY_STAGE_AND_TAGS = "only stage and tags of a Model may change: register a new version instead"


class Source(SmaltModel):
    """Where the files come from."""

    run: Name
    """The TrainingRun."""
    output: Annotated[str, Field(min_length=1, max_length=63)]
    """The name of its output."""
    digest: Digest | None = None
    """The digest that the output must have."""


class ModelSpec(SmaltModel):
    """Which model this is, and how far it has come."""

    model_config = {
        "json_schema_extra": rules(
            *(
                rule(
                    f"has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})",
                    message=f"{field} cannot change: {ONLY_STAGE_AND_TAGS}",
                )
                for field in ("name", "version", "workspace", "source", "type", "format")
            )
        )
    }

    name: Name
    """The model's name."""
    version: Annotated[int, Field(ge=1, le=999999)]
    """The version; the object's name is `<name>-<version>`."""
    workspace: Name
    """The Workspace that holds the files."""
    source: Source
    """Where the files come from."""
    type: Literal["customModel"] | None = None
    """How the files are to be read; customModel when absent."""
    format: Annotated[str, Field(max_length=63)] | None = None
    """What the files are, for people, such as joblib."""
    stage: Stage | None = None
    """How far the version has come; None when absent. Deployments can follow a stage."""
    tags: Annotated[dict[str, Annotated[str, Field(max_length=1024)]], keys("tags key", "owner", 64)] | None = None
    """Words of the user's own."""


class CodeLineage(SmaltModel):
    """Which code ran."""

    commit: str | None = None
    """The commit, when it came from git."""
    digest: str | None = None
    """The digest of its files."""


class Lineage(SmaltModel):
    """Where the model comes from, by name and by content."""

    run: str | None = None
    """The run."""
    experiment: str | None = None
    """Its experiment."""
    code: CodeLineage | None = None
    """The code that ran."""
    data: dict[str, str] | None = None
    """The digest of each input."""
    environment: str | None = None
    """The digest of the packages."""
    run_digest: str | None = None
    """The digest of the run as a whole."""


class ModelStatus(Status):
    """What is known of the version."""

    artifact: Artifact | None = None
    """The files."""
    metrics: Annotated[dict[str, float], Field(max_length=32)] | None = None
    """The run's metrics."""
    lineage: Lineage | None = None
    """Where the model comes from."""
    used_by: list[str] | None = None
    """Deployments that serve it; while there are any it cannot be deleted."""


class Model(SmaltModel):
    """A model: one registered version of it, with its files' digest and its lineage."""

    spec: ModelSpec
    """Which model this is, and how far it has come."""
    status: ModelStatus | None = None
    """What the operator last saw."""
