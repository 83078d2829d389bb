"""What a reconciler wants done. Values only: carrying them out is the engine's work."""

from __future__ import annotations

from dataclasses import dataclass

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
class Plan:
    """What is to be done for one object now.

    `status` is the whole new status without conditions' times and generations; None leaves it as it is.
    `requeue_after` asks for another look after so many seconds, besides the events that wake the object anyway.
    `counts_only`: only numbers changed, so the write may wait and be joined with others.
    `words_only`: only what a running script says changed; such writes keep a distance.
    `is_final`: nothing will follow, so the write does not wait.
    """

    status: Json | None = None
    apply: tuple[Child, ...] = ()
    requeue_after: float | None = None
    counts_only: bool = False
    words_only: bool = False
    is_final: bool = False


NOTHING = Plan()
