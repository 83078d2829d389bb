"""Model: one version of a registered model; the artifact is immutable, stage and tags are not."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from smalt.api.gates import Gates
from smalt.api.inputs import HTTPS, S3
from smalt.api.schema import Digest, Name, ObjectName, SmaltModel, keys, rule, rules
from smalt.api.status import Artifact, Status
from smalt.api.training_run import Stage

IMPORTED = f"^({HTTPS}|{S3})$"
_GOOD = "write https://host/model.onnx, s3://bucket/model.onnx or s3://bucket/folder"
_LOGIN = "self.matches(r'^[a-z0-9]+://[^/]*@')"
ONLY_STAGE_AND_TAGS = "only stage and tags of a Model may change: register a new version instead"


class Source(SmaltModel):
    """Where the files come from: a run of this Workspace, or an address that they are imported from."""

    model_config = {
        "json_schema_extra": rules(
            rule(
                "has(self.run) != has(self.uri)",
                message="source takes exactly one of run (a TrainingRun, with output) and uri (an address to import from, with "
                "digest), such as {run: churn-lr-17, output: model}",
            ),
            rule(
                "has(self.run) == has(self.output)",
                message="source.output goes with source.run: it is the name of that run's output",
            ),
            rule(
                "!has(self.uri) || has(self.digest)",
                message="source.digest is missing: what is imported is proven by it; write sha256:… of the file, or of the "
                "folder as `python -m smalt digest` prints it",
            ),
            rule(
                "!has(self.credentialsSecret) || has(self.uri)",
                message="source.credentialsSecret goes with source.uri: a run's output needs none",
            ),
            rule(
                "!has(self.unpack) || has(self.uri)",
                message="source.unpack goes with source.uri: a run's output is no archive",
            ),
        )
    }

    run: Name | None = None
    """The TrainingRun."""
    output: Annotated[str, Field(min_length=1, max_length=63)] | None = None
    """The name of its output."""
    uri: (
        Annotated[
            str,
            Field(
                max_length=2048,
                json_schema_extra=rules(
                    rule(
                        f"!{_LOGIN}",
                        message="an address holds no user and no password: name a Secret in source.credentialsSecret",
                    ),
                    rule(
                        f"{_LOGIN} || (self.matches(r'{IMPORTED}') && !self.matches('/[.]{{1,2}}(/|$)'))",
                        f"this is no address to import from: {_GOOD}",
                        says=f'"\'" + self + "\' is no address to import from: {_GOOD}"',
                    ),
                ),
            ),
        ]
        | None
    ) = None
    """Where to import from: https://host/model.onnx (one file), s3://bucket/model.onnx, or s3://bucket/folder (all below it)."""
    digest: Digest | None = None
    """The digest that the files must have; needed with `uri`. Of an archive its own, or that of the folder in it."""
    unpack: bool | None = None
    """With `uri`: the file is a tar or zip archive, and the model is the folder of what is in it."""
    credentials_secret: ObjectName | None = None
    """With `uri`: a Secret that only the container that imports sees. For s3://: `accessKeyId`, `secretAccessKey`, optionally
    `sessionToken`, `endpointUrl` and `region`; for https://: `token`, or `username` and `password`."""


class ModelSpec(SmaltModel):
    """Which model this is, and how far it has come."""

    model_config = {
        "json_schema_extra": rules(
            *(
                rule(
                    f"has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})",
                    message=f"{field} cannot change: {ONLY_STAGE_AND_TAGS}",
                )
                for field in ("name", "version", "workspace", "source", "type", "format", "gates")
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
    gates: Gates | None = None
    """What its metrics must be before a Deployment follows it; those of the run's `register`, or your own."""
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


class ImportedFrom(SmaltModel):
    """Where files were imported from, and by which digest they were proven."""

    uri: Annotated[str, Field(max_length=2048)]
    """The address, without its query."""
    digest: str
    """The digest that was declared."""


class Lineage(SmaltModel):
    """Where the model comes from, by name and by content."""

    source: ImportedFrom | None = None
    """The address, of a model that no run has made."""
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


class Evaluation(SmaltModel):
    """What a run that read the model measured."""

    run: str
    """The run, which has the model as an input."""
    completion_time: str | None = None
    """When it ended."""
    data: Annotated[dict[str, str], Field(max_length=16)] = {}
    """The digest of each of its other inputs."""
    metrics: Annotated[dict[str, float], Field(max_length=32)] = {}
    """What it logged."""


class Verdict(SmaltModel):
    """How the version did at one of its gates."""

    metric: str
    """The gate's metric."""
    passed: bool
    """Whether it passed."""
    message: str
    """The value, and by how much it passed or missed."""


class RegistryEntry(SmaltModel):
    """Where the version stands in MLflow."""

    version: Annotated[str, Field(max_length=2048)]
    """MLflow's own number of the version, in its registered model of the same name."""
    run_id: Annotated[str, Field(max_length=2048)]
    """The run of the experiment `smalt-models` that holds the files."""


class TrainedIn(SmaltModel):
    """The packages of the training run: a Deployment that names none has them, too."""

    uri: Annotated[str, Field(max_length=2048)] | None = None
    """The registry's copy of the lock, where the run asked for packages."""
    digest: Digest | None = None
    """The digest of that file."""
    versions: Annotated[dict[str, Annotated[str, Field(max_length=64)]], Field(max_length=8)] | None = None
    """The versions of numpy and scikit-learn that the model was written with."""


class Signature(SmaltModel):
    """What proves that the registry has stored these files."""

    uri: Annotated[str, Field(max_length=2048)]
    """Where it lies."""
    key_digest: Annotated[str, Field(max_length=2048)]
    """sha256 of the public key that it is proven with."""


class Onnx(SmaltModel):
    """The model as ONNX, proven on rows of its run's data; or `reason` and `message`, which say why it is as it is."""

    uri: Annotated[str, Field(max_length=2048)] | None = None
    """Where it lies, beside the original."""
    digest: Annotated[str, Field(max_length=128)] | None = None
    """sha256 of the manifest of its files."""
    bytes: Annotated[int, Field(ge=0)] | None = None
    """Its size."""
    rows: Annotated[int, Field(ge=0)] | None = None
    """On how many rows it was compared with the original."""
    tolerance: float | None = None
    """How far probabilities, and numbers in proportion to their size, may differ; labels are equal."""
    max_difference: float | None = None
    """How far they did."""
    reason: Annotated[str, Field(max_length=63)] | None = None
    """Why there is none, in one word."""
    message: Annotated[str, Field(max_length=1024)] | None = None
    """Why there is none."""


class Column(SmaltModel):
    """A column of requests or answers."""

    name: Annotated[str, Field(max_length=256)]
    """Its name."""
    type: Annotated[str, Field(max_length=63)]
    """integer, number, boolean, string, datetime, or any."""
    nullable: bool | None = None
    """false: it may not be missing."""


class RequestSchema(SmaltModel):
    """What requests are checked against: the columns of the training data, or those of a schema.json beside the model."""

    uri: Annotated[str, Field(max_length=2048)]
    """Where the whole of it lies."""
    digest: Annotated[str, Field(max_length=128)]
    """sha256 of the file."""
    inputs: Annotated[list[Column], Field(max_length=64)] | None = None
    """The columns of a request, where there are not too many."""
    outputs: Annotated[list[Column], Field(max_length=64)] | None = None
    """The columns of an answer."""


class ModelStatus(Status):
    """What is known of the version."""

    format: str | None = None
    """What the files are, as their structure tells."""
    card: Annotated[str, Field(max_length=2048)] | None = None
    """The model card: a page among the registry's artifacts, with the same as Markdown beside it."""
    environment: TrainedIn | None = None
    """The packages that it was trained with."""
    signature: Signature | None = None
    """The files' signature, where the Workspace has a key."""
    registry: RegistryEntry | None = None
    """Where the version stands in MLflow."""
    onnx: Onnx | None = None
    """The model as ONNX, for Deployments with `optimize: onnx`; or why there is none."""
    schema_: Annotated[RequestSchema | None, Field(alias="schema")] = None
    """What requests are checked against where the model is served directly."""
    artifact: Artifact | None = None
    """The registry's copy of the files, where run credentials cannot write."""
    metrics: Annotated[dict[str, float], Field(max_length=32)] | None = None
    """The run's metrics."""
    evaluations: Annotated[list[Evaluation], Field(max_length=10)] | None = None
    """What the latest ten runs measured that had the model as an input."""
    gates: Annotated[list[Verdict], Field(max_length=16)] | None = None
    """How it did at its gates. Once it has passed all of them that stands."""
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
