"""What a reconciler wants done. Values only: carrying them out is the engine's work."""

from __future__ import annotations

from dataclasses import dataclass

from smalt.api.kinds import Kind
from smalt.api.references import Address
from smalt.api.schema import Json


@dataclass(frozen=True)
class Child:
    """An object that is to exist as the manifest says.

    `once`: made if absent and never changed. `owned`: deleted with its owner, by owner reference; one that is not is
    recognised as ours by its labels. `random`: keys of a Secret that get random values when it is made.
    """

    manifest: Json
    once: bool = False
    owned: bool = True
    random: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return str(self.manifest["metadata"]["name"])


@dataclass(frozen=True)
class Deletion:
    """An object that is to go, if it is still the one that was looked at."""

    kind: Kind
    namespace: str
    name: str
    uid: str
    version: str


@dataclass(frozen=True)
class Plan:
    """What is to be done for one object now.

    `status` is the whole new status without conditions' times and generations; None leaves it as it is.
    `requeue_after` asks for another look after so many seconds, besides the events that wake the object anyway.
    `counts_only`: only numbers changed, so the write may wait and be joined with others.
    `words_only`: only what a running script says changed; such writes keep a distance.
    `is_final`: nothing will follow, so the write does not wait.
    `is_awaited`: another object goes by this status, so the write does not wait either.
    `delete`: what is to go. `wake`: objects that have to look again once the status is written.
    """

    status: Json | None = None
    apply: tuple[Child, ...] = ()
    requeue_after: float | None = None
    counts_only: bool = False
    words_only: bool = False
    is_final: bool = False
    is_awaited: bool = False
    delete: tuple[Deletion, ...] = ()
    wake: tuple[Address, ...] = ()


NOTHING = Plan()
