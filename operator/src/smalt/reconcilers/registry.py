"""Which module decides for which kind."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

from smalt.api.kinds import DEPLOYMENT, EXPERIMENT, MODEL, TRAINING_RUN, WORKSPACE, Kind
from smalt.api.schema import Json
from smalt.reconcilers import deployment, experiment, model, training_run, workspace
from smalt.reconcilers.plan import Plan
from smalt.reconcilers.world import Live, LiveRead, World
from smalt.settings import Settings


class Reconciler(Protocol):
    """What every module of this package offers."""

    def reads(self, resource: Json, world: World, now: datetime) -> tuple[LiveRead, ...]:
        """What must be read live before planning."""

    def plan(self, resource: Json, world: World, live: Live, now: datetime, settings: Settings) -> Plan:
        """What is to be done."""


RECONCILERS: Mapping[Kind, Reconciler] = {
    WORKSPACE: workspace,
    EXPERIMENT: experiment,
    TRAINING_RUN: training_run,
    MODEL: model,
    DEPLOYMENT: deployment,
}
