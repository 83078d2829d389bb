"""Experiment: a named group of runs with one objective."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from smalt.api.schema import Name, Scalar, SmaltModel, rule, rules
from smalt.api.status import RunCounts, Status

LEADERBOARD_SIZE = 10
SCALAR_MAP: dict[str, Any] = {
    "type": "object",
    "maxProperties": 128,
    "additionalProperties": {
        "x-kubernetes-preserve-unknown-fields": True,
        "maxProperties": 0,
        "maxItems": 0,
        "maxLength": 1024,
    },
}
ScalarMap = Annotated[dict[str, Scalar], Field(json_schema_extra={"x-smalt-scalar-map": True})]

IMMUTABLE_WORKSPACE = rule(
    "self.workspace == oldSelf.workspace",
    says='"workspace cannot change from \'" + oldSelf.workspace + "\' to \'" + self.workspace + "\': make the object under another name"',
    field=".workspace",
)


class Objective(SmaltModel):
    """By what runs are compared."""

    primary_metric: Annotated[str, Field(min_length=1, max_length=250)]
    """The metric's name, as the script logs it."""
    goal: Literal["maximize", "minimize"]
    """Whether more or less is better."""


class ExperimentSpec(SmaltModel):
    """What the experiment is about."""

    model_config = {"json_schema_extra": rules(IMMUTABLE_WORKSPACE)}

    workspace: Name
    """The Workspace of the same namespace; cannot be changed."""
    objective: Objective | None = None
    """By what runs are compared; without it there is no best run."""


class Best(SmaltModel):
    """The best run so far."""

    run: str
    """Its name."""
    metric: float
    """Its primary metric."""


class Ranked(SmaltModel):
    """One line of the leaderboard."""

    run: str
    """The run's name."""
    metric: float
    """Its primary metric."""
    parameters: ScalarMap | None = None
    """Its parameters."""


class ExperimentStatus(Status):
    """How the experiment goes."""

    runs: RunCounts | None = None
    """Its runs, counted."""
    best: Best | None = None
    """The best run that succeeded."""
    leaderboard: Annotated[list[Ranked], Field(max_length=LEADERBOARD_SIZE)] | None = None
    """The ten best."""


class Experiment(SmaltModel):
    """An experiment: a named group of training runs with one objective."""

    spec: ExperimentSpec
    """What the experiment is about."""
    status: ExperimentStatus | None = None
    """What the operator last saw."""
