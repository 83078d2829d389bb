"""TrainingRun: one execution of code on data in a container; a record, so its spec cannot change."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from smalt.api.code import (
    CONDA_INSTEAD,
    ONE_PACKAGE_SOURCE,
    PIP_INSTEAD,
    Code,
    EnvironmentVariables,
    Packages,
    file_among_inline,
)
from smalt.api.experiment import ScalarMap
from smalt.api.gates import Gates
from smalt.api.inputs import Input
from smalt.api.policy import HoursUsed
from smalt.api.schema import KEY_PATTERN, RULES, Duration, Name, ObjectName, SmaltModel, keys, rule, rules
from smalt.api.status import Artifact, Status

DEFAULT_TIMEOUT = "1h"
DEFAULT_FINALIZING = "24h"
MOST_METRICS = 32
# An annotation or a label of a run: rather an earlier run's result than the same again.
REUSE = "smalt.dev/reuse"
ANOTHER_NAME = "under another name (a run is a record)"
Stage = Literal["None", "Staging", "Production", "Archived"]
# As containers' runtimes read it: host and port, a path in lower case, a tag, a digest.
IMAGE = (
    r"^([A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?(:[0-9]+)?/)?[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*"
    r"(:[A-Za-z0-9_][-A-Za-z0-9_.]{0,127})?(@[a-z0-9]+:[0-9a-f]{32,128})?$"
)


class RunEnvironment(Packages):
    """Where the script runs: an image with Python 3.9 or later, and packages on top of it."""

    model_config = {"json_schema_extra": rules(ONE_PACKAGE_SOURCE)}

    image: (
        Annotated[
            str,
            Field(
                min_length=1,
                max_length=512,
                json_schema_extra=rules(
                    rule(
                        f"self.matches(r'{IMAGE}')",
                        "this is no image: write it as registry.example/team/image:1.0",
                        says='"\'" + self + "\' is no image: write it as registry.example/team/image:1.0"',
                    )
                ),
            ),
        ]
        | None
    ) = None
    """Any image with Python 3.9 or later; Smalt's own trainer image when absent."""


class Output(SmaltModel):
    """Something the script leaves behind."""

    type: Literal["customModel", "uriFolder", "uriFile"]
    """customModel and uriFolder: the placeholder is a folder; uriFile: a file to write."""


class Limits(SmaltModel):
    """How long and how often."""

    timeout: Duration | None = None
    """How long the script may take; 1h when absent."""
    finalizing: Duration | None = None
    """How long storing the results is tried afterwards; 24h when absent."""
    retries: Annotated[int, Field(ge=0, le=10)] | None = None
    """How often a failed attempt is made again; 0 when absent. What the platform ends (a drained node, an eviction, a pod
    deleted by hand) is made again besides."""


class Register(SmaltModel):
    """The model that a successful run registers."""

    model: Name
    """The model's name; versions are counted from 1."""
    from_: Annotated[str, Field(alias="from", max_length=63)]
    """The output that becomes the model; where no output is a customModel also the name of a model that the script logs with
    mlflow, such as mlflow.sklearn.log_model(model, name="classifier")."""
    stage: Stage | None = None
    """The stage of the new version; None when absent."""
    gates: Gates | None = None
    """What its metrics must be. A version that misses a gate is registered, and nothing follows it."""


_PARAMETER_RULES: Any = {
    RULES: [
        # Which key it is cannot be said: a message that looks into an untyped map exceeds the API server's cost budget.
        rule(
            "!has(dyn(self).parameters) || !dyn(self).parameters.exists(k, k in ['true','false','null'])",
            message="parameters key 'true', 'false' or 'null' is what YAML makes of a bare word such as n, y, on or null: "
            "quote the key",
        ),
        rule(
            f"!has(dyn(self).parameters) || dyn(self).parameters.all(k, k.matches('{KEY_PATTERN}'))",
            message="a parameters key is no name: use letters, digits and _, at most 63, such as learning_rate",
        ),
        rule(
            "has(dyn(self).parameters)==has(dyn(oldSelf).parameters) && "
            "(!has(dyn(self).parameters) || dyn(self).parameters==dyn(oldSelf).parameters)",
            message=f"parameters cannot change: apply the change {ANOTHER_NAME}",
        ),
        rule(
            "!has(self.register) || !has(self.outputs) || self.register.from in self.outputs || "
            "!self.outputs.exists(name, self.outputs[name].type == 'customModel')",
            says='"register.from names \'" + self.register.from + "\', which is not among outputs, where another customModel '
            'is: name that one, or add it there, as outputs: {model: {type: customModel}}"',
        ),
        rule(
            "!has(self.register) || !has(self.outputs) || !(self.register.from in self.outputs) || "
            "self.outputs[self.register.from].type != 'uriFile'",
            says='"register.from names \'" + self.register.from + "\', which is a uriFile: a model is a folder, so write '
            'type: customModel for that output"',
        ),
        file_among_inline("condaFile", "code", CONDA_INSTEAD),
        file_among_inline("requirementsFile", "code", PIP_INSTEAD),
        rule(
            "!has(oldSelf.cancel) || !oldSelf.cancel || (has(self.cancel) && self.cancel)",
            message=f"cancel cannot be taken back: apply the run again {ANOTHER_NAME}",
        ),
    ]
    + [
        rule(
            f"has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})",
            message=f"{field} cannot change: apply the change {ANOTHER_NAME}",
        )
        for field in (
            "experiment",
            "code",
            "command",
            "environment",
            "environmentVariables",
            "inputs",
            "outputs",
            "instanceType",
            "priorityClassName",
            "limits",
            "register",
        )
    ]
}


class TrainingRunSpec(SmaltModel):
    """What is run on what; cannot be changed, since a run is a record, except `suspend` and `cancel`."""

    model_config = {"json_schema_extra": _PARAMETER_RULES}

    experiment: Name
    """The Experiment of the same namespace."""
    code: Code
    """The files that the command works with."""
    command: Annotated[
        str,
        Field(
            min_length=1,
            max_length=8192,
            json_schema_extra=rules(
                rule(r"self.matches(r'[^\s]')", message="there is no command in it: write one, such as python train.py")
            ),
        ),
    ]
    """A shell command, started in the code's folder. `${{inputs.x}}`, `${{outputs.y}}` and `${{parameters.z}}` become
    references to variables, never shell text."""
    environment: RunEnvironment | None = None
    """Where it runs."""
    environment_variables: EnvironmentVariables | None = None
    """Variables of the script's process."""
    inputs: Annotated[dict[str, Input], keys("inputs key", "train", 16)] | None = None
    """Data by name."""
    parameters: ScalarMap | None = None
    """Numbers, words and truths by name."""
    outputs: Annotated[dict[str, Output], keys("outputs key", "model", 8)] | None = None
    """What is kept, by name."""
    instance_type: Annotated[str, Field(max_length=63)] | None = None
    """The compute target, from the Workspace's instanceTypes; `default` when absent."""
    priority_class_name: ObjectName | None = None
    """The cluster's PriorityClass that the run's pods get; its default one when absent."""
    limits: Limits | None = None
    """How long and how often."""
    suspend: bool | None = None
    """true: the run is not started, or its pod is ended and what it has is stored; false again: it starts anew, as another
    attempt. May be changed at any time."""
    cancel: bool | None = None
    """true: the run is ended for good, and what it has is stored. Cannot be taken back."""
    register_: Annotated[Register | None, Field(alias="register")] = None
    """The model that a successful run registers."""


class Digests(SmaltModel):
    """What went in, by content."""

    run: str | None = None
    """All of the parts below in one: the same inputs give the same digest on another day and node."""
    code: str | None = None
    """The files that ran."""
    data: dict[str, str] | None = None
    """Each input."""
    environment: str | None = None
    """Packages."""
    parameters: str | None = None
    """Parameters."""
    image: str | None = None
    """The image, as the node resolved it."""
    command: str | None = None
    """The command."""
    variables: str | None = None
    """The variables of the script's process."""
    request: str | None = None
    """What was asked for, where all of it is pinned: by this an earlier result is found for `smalt.dev/reuse`."""


class FetchedCode(SmaltModel):
    """What a source that can change was when it was fetched; a further attempt runs the same."""

    commit: str | None = None
    """The commit that the revision of `code.git` was."""
    archive_digest: str | None = None
    """The digest of the archive that `code.url` was."""


class BuiltEnvironment(SmaltModel):
    """The image of the environment, where the Workspace has images built."""

    job: str | None = None
    """The Job that builds it, for all that ask for the same packages."""
    image: str | None = None
    """The image that the script runs in."""


class Tracking(SmaltModel):
    """Where the history stands."""

    run_id: str
    """MLflow's identifier."""
    url: str | None = None
    """The page, relative to a port-forward of the tracking server."""


class DataProfile(SmaltModel):
    """What a table among the inputs or outputs holds; the whole is in its report."""

    rows: Annotated[int, Field(ge=0)] | None = None
    """Rows; of a folder, those of its tables together."""
    columns: Annotated[int, Field(ge=0)] | None = None
    """Columns; of a folder, those of its widest table."""
    missing: Annotated[int, Field(ge=0)] | None = None
    """Cells without a value."""
    warnings: Annotated[int, Field(ge=0)] | None = None
    """How many warnings the report has, such as constant columns or suspects of target leakage."""
    report: Annotated[str, Field(max_length=2048)] | None = None
    """Where the report lies among the run's artifacts: an HTML page, and the same as JSON beside it."""
    message: Annotated[str, Field(max_length=256)] | None = None
    """Why there is no profile, or none of all rows."""


class Progress(SmaltModel):
    """How far the script is, as it says itself."""

    percent: Annotated[int, Field(ge=0, le=100)]
    """0 to 100."""
    estimated_completion_time: Annotated[str, Field(json_schema_extra={"format": "date-time"})] | None = None
    """When it expected to end, when the percentage or a metric last changed."""


Phase = Literal["Pending", "Queued", "Preparing", "Running", "Finalizing", "Succeeded", "Failed", "Canceled"]


class TrainingRunStatus(Status):
    """How the run goes."""

    phase: Phase | None = None
    """One word for people, derived from the conditions."""
    workspace: Annotated[str, Field(max_length=63)] | None = None
    """The Workspace that has its history."""
    queue_position: Annotated[int, Field(ge=1)] | None = None
    """Its place in the Workspace's queue."""
    attempt: Annotated[int, Field(ge=1)] | None = None
    """Which attempt this is."""
    failures: Annotated[int, Field(ge=0)] | None = None
    """Attempts that failed by themselves; limits.retries counts these alone."""
    disruptions: Annotated[int, Field(ge=0)] | None = None
    """Attempts that the platform ended, such as by draining their node."""
    usage: HoursUsed | None = None
    """Compute that the attempts which have ended used."""
    reused_from: Annotated[str, Field(max_length=63)] | None = None
    """The earlier run whose result this one has, instead of having run."""
    job: str | None = None
    """The attempt's Job."""
    start_time: Annotated[str, Field(json_schema_extra={"format": "date-time"})] | None = None
    """When the Job started."""
    completion_time: Annotated[str, Field(json_schema_extra={"format": "date-time"})] | None = None
    """When the last attempt ended; a run that has it is history."""
    progress: Progress | None = None
    """How far a running script is, at most 10 s ago."""
    metrics: Annotated[dict[str, float], Field(max_length=MOST_METRICS)] | None = None
    """The latest value of at most 32 metrics, of a running script at most 10 s ago; the series are in MLflow."""
    code: FetchedCode | None = None
    """Which code was fetched."""
    digests: Digests | None = None
    """What went in, by content."""
    inputs: Annotated[dict[str, Artifact], Field(max_length=16)] | None = None
    """What the inputs were: where they lay, and how large they are. Those that runs and Models make are known, and stay
    what they are, from the first attempt's beginning."""
    outputs: Annotated[dict[str, Artifact], Field(max_length=8)] | None = None
    """What came out."""
    data_profile: Annotated[dict[str, DataProfile], Field(max_length=24)] | None = None
    """The tables among inputs and outputs, by name; an output that is named like an input stands as `outputs.<name>`."""
    environment: BuiltEnvironment | None = None
    """The image of the environment, where the Workspace has images built."""
    tracking: Tracking | None = None
    """Where the history stands."""
    model: str | None = None
    """The Model that was registered."""


class TrainingRun(SmaltModel):
    """A training run: one execution of code on data in a container, recorded for good."""

    spec: TrainingRunSpec
    """What is run on what."""
    status: TrainingRunStatus | None = None
    """What the operator last saw."""
