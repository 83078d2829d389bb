"""What a Workspace allows its runs: how many at a time, which images, how much compute, how long they are kept."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from smalt.api.schema import Age, SmaltModel, rule, rules

MOST_CONCURRENT_RUNS = 1000
IMAGE_PATTERN = r"^[A-Za-z0-9*][-A-Za-z0-9._/:@*]*$"
Hours = Annotated[float, Field(ge=0, le=100_000_000)]


class Budget(SmaltModel):
    """Compute that all runs of the workspace together may use, ever. Used up: new runs wait, running ones go on."""

    model_config = {
        "json_schema_extra": rules(
            rule(
                "has(self.cpuHours) || has(self.gpuHours)",
                message="a budget limits cpuHours, gpuHours or both: write one, such as {cpuHours: 500}, or leave budget out",
            )
        )
    }

    cpu_hours: Hours | None = None
    """Hours of one CPU, by what pods request; without limit when absent."""
    gpu_hours: Hours | None = None
    """Hours of one graphics card; without limit when absent."""


ModelFormat = Literal["onnx", "skops", "safetensors", "joblib", "mlflow", "other"]


class Policy(SmaltModel):
    """What the workspace allows."""

    max_concurrent_runs: Annotated[int, Field(ge=1, le=MOST_CONCURRENT_RUNS)] | None = None
    """How many runs may be at work at a time; more wait in a queue, first in first out within an experiment and
    round-robin between experiments. Without limit when absent."""
    allowed_images: (
        Annotated[
            list[
                Annotated[
                    str,
                    Field(
                        min_length=1,
                        max_length=512,
                        json_schema_extra=rules(
                            rule(
                                f"self.matches(r'{IMAGE_PATTERN}')",
                                "this is no pattern of images: write one such as registry.example/team/*",
                                says='"\'" + self + "\' is no pattern of images: write one such as registry.example/team/*, '
                                'in which * stands for anything"',
                            )
                        ),
                    ),
                ]
            ],
            Field(min_length=1, max_length=64),
        ]
        | None
    ) = None
    """Images that runs may name in environment.image, as patterns in which `*` stands for anything, such as
    `registry.example/team/*`. The installation's own trainer image is always allowed. All images when absent."""
    model_formats: (
        Annotated[
            list[ModelFormat],
            Field(min_length=1, max_length=6, json_schema_extra={"x-kubernetes-list-type": "set"}),
        ]
        | None
    ) = None
    """Formats of models that may be registered and served, as the files' structure tells them: `joblib` is every pickle, and
    `other` what only a score script can load. All when absent."""
    budget: Budget | None = None
    """Compute that all runs together may use."""


class Retention(SmaltModel):
    """How long objects are kept; what is in the tracking server, and Models, stay."""

    finished_runs: Age | None = None
    """How long after its end a TrainingRun is deleted, such as 30d; never when absent."""


class HoursUsed(SmaltModel):
    """Compute that was used: what pods requested, times how long they ran."""

    cpu_hours: Annotated[float, Field(ge=0)] = 0
    """Hours of one CPU."""
    gpu_hours: Annotated[float, Field(ge=0)] = 0
    """Hours of one graphics card."""


class WorkspaceUsage(HoursUsed):
    """Compute that all attempts that have ended used, those of deleted runs too."""

    deleted_runs: HoursUsed | None = None
    """The part of it that belongs to runs which are no longer there."""
    lately_deleted: Annotated[list[Annotated[str, Field(max_length=64)]], Field(max_length=100)] | None = None
    """UIDs of the runs that were last added to that part, so that none is added twice."""


class RunQueue(SmaltModel):
    """Who may be at work, where policy.maxConcurrentRuns limits it."""

    admitted: Annotated[list[Annotated[str, Field(max_length=63)]], Field(max_length=MOST_CONCURRENT_RUNS)] | None = (
        None
    )
    """Runs that have a place. One is given before its Job is made, and taken back when the run has ended."""
    last_served: Annotated[str, Field(max_length=63)] | None = None
    """The experiment whose run was admitted last; the next place is another one's."""
