"""Gates: what a version's metrics must be, before anything follows it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from smalt.api.schema import Name, SmaltModel, rule, rules

MetricName = Annotated[str, Field(min_length=1, max_length=250)]


class Incumbent(SmaltModel):
    """The version that is compared with."""

    model_config = {
        "json_schema_extra": rules(
            rule(
                "has(self.version) != has(self.stage)",
                message="takes exactly one of stage (its highest Ready version) and version, such as "
                "{model: churn, stage: Production}",
            )
        )
    }

    model: Name
    """The model's name."""
    stage: Literal["Staging", "Production", "Archived"] | None = None
    """The highest Ready version of this stage; while there is none, the gate is open."""
    version: Annotated[int, Field(ge=1, le=999999)] | None = None
    """This version."""


class Gate(SmaltModel):
    """One metric, and what it must be."""

    model_config = {
        "json_schema_extra": rules(
            rule(
                "[has(self.min), has(self.max), has(self.atLeast), has(self.atMost)].filter(x, x).size() == 1",
                says='"the gate of metric \'" + self.metric + "\' takes exactly one of min, max, atLeast and atMost, such as '
                '{metric: auc, min: 0.8} or {metric: auc, atLeast: {model: churn, stage: Production}}"',
            ),
            rule(
                "!has(self.tolerance) || has(self.atLeast) || has(self.atMost)",
                says='"the gate of metric \'" + self.metric + "\' has a tolerance, which is for atLeast and atMost: put it into '
                'the number of min or max"',
            ),
            rule(
                "!has(self.data) || has(self.atLeast) || has(self.atMost)",
                says='"the gate of metric \'" + self.metric + "\' names data, by which two versions are compared: leave it out, '
                'or use atLeast or atMost"',
            ),
        )
    }

    metric: MetricName
    """The metric's name: one that the run logged, or else an evaluation."""
    min: float | None = None
    """It must be at least this."""
    max: float | None = None
    """It must be at most this."""
    at_least: Incumbent | None = None
    """It must be at least as high as that version's, measured on the same data."""
    at_most: Incumbent | None = None
    """It must be at most as high as that version's, measured on the same data."""
    tolerance: Annotated[float, Field(ge=0)] | None = None
    """By how much it may miss the other version's value; 0 when absent."""
    data: Annotated[str, Field(min_length=1, max_length=63)] | None = None
    """The input, such as `test`, whose digest makes two measurements comparable. When absent, all data must be the same."""


Gates = Annotated[list[Gate], Field(max_length=16)]
