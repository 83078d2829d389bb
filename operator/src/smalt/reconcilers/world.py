"""What a reconciler may look at: the operator's cache, and a few things that are read live."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from smalt.api.hours import Hours
from smalt.api.kinds import Kind
from smalt.api.references import Address
from smalt.api.schema import Json


class Runs(Protocol):
    """What is asked of runs by the thousand; no answer takes longer for the runs that have finished."""

    def unfinished(self, experiment: Address) -> list[str]:
        """Names of the experiment's runs that have not ended."""

    def asking(self, experiment: Address) -> list[str]:
        """Names of the experiment's runs that ask for a place in the queue, in the order of arrival."""

    def count_asking(self, experiment: Address) -> int:
        """How many those are."""

    def asking_before(self, experiment: Address, moment: tuple[str, str]) -> int:
        """How many of them came before."""

    def finished(self, workspace: Address) -> Iterator[tuple[str, str]]:
        """When runs of the Workspace ended, and their names; the oldest first."""

    def usage(self, workspace: Address) -> Hours:
        """What the Workspace's runs that are there used in attempts that have ended."""

    def departed(self, workspace: Address) -> Mapping[str, Hours]:
        """What deleted runs used, by their UID, as far as the Workspace has not written it down."""

    def answering(self, namespace: str, request: str) -> list[str]:
        """Succeeded runs that were asked for the same, the latest last."""

    def is_busy(self, run: Address) -> bool:
        """The run is being reconciled at this moment."""


class World(Protocol):
    """Everything watched, by name, owner, label and reference. Objects found are not to be changed."""

    @property
    def runs(self) -> Runs:
        """What is asked of runs alone."""

    def get(self, kind: Kind, namespace: str, name: str) -> Json | None:
        """The object of that name."""

    def owned(self, kind: Kind, uid: str) -> list[Json]:
        """Objects whose controlling owner has that UID."""

    def labelled(self, kind: Kind, owner: Address) -> list[Json]:
        """Children that carry the owner's kind of label with the owner's name."""

    def referrers(self, kind: Kind, target: Address) -> list[Json]:
        """Objects of that kind whose spec refers to the target."""

    def highest_version(self, family: Address) -> int:
        """The highest version of a model that was ever given, whether it is still there or not; 0 when none was."""

    def nodes(self) -> list[Json]:
        """The cluster's nodes; none where the operator serves one namespace and may not look at them."""

    def families(self, workspace: Address) -> list[Address]:
        """The models that have, or once had, versions in the Workspace."""


@dataclass(frozen=True)
class Read:
    """One object to be read live, since it is never cached (Secrets, ConfigMaps)."""

    kind: Kind
    namespace: str
    name: str


@dataclass(frozen=True)
class Refusals:
    """The events that say why Jobs of a namespace get no pods, read live; all who ask within seconds share one answer."""

    namespace: str


@dataclass(frozen=True)
class Warnings:
    """The warnings about the namespace's objects of one kind, read live; all who ask within seconds share one answer."""

    namespace: str
    kind: Kind


@dataclass(frozen=True)
class Occupied:
    """What the pods of all namespaces ask for, in sums by node and resource; read live, some seconds old at most."""


@dataclass(frozen=True)
class Labelled:
    """A list by labels, read live, where acting on a stale cache could not be undone."""

    kind: Kind
    namespace: str
    selector: str


@dataclass(frozen=True)
class StatusOf:
    """What the recorder of a running pod said last, at most ten seconds ago; asking it goes on beside the workers."""

    pod_uid: str
    address: str


LiveRead = Read | Refusals | Warnings | Occupied | Labelled | StatusOf
Live = Mapping[LiveRead, Json | None]


def events_of(found: Json | None, uid: str) -> list[Json]:
    """Of events that were read live, those about one object."""
    return [each for each in items(found) if (each.get("involvedObject") or {}).get("uid") == uid]


def items(found: Json | None) -> list[Json]:
    """The items of a list that was read live."""
    return list((found or {}).get("items", []))
