"""What is asked of runs by the thousand: who waits, who has ended and when, what all of them used.

Kept up to date with every change, so that no question walks over the runs that have finished.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterator, MutableMapping, Sized
from contextlib import contextmanager
from typing import TypeVar

from smalt.api.hours import Hours
from smalt.api.kinds import EXPERIMENT, WORKSPACE
from smalt.api.references import Address
from smalt.api.schema import Json
from smalt.reconcilers.queueing import arrival, is_asking

Moment = tuple[str, str]
Key = TypeVar("Key")
Lines = TypeVar("Lines", bound=Sized)


class RunIndex:
    """The runs of the store, in order. See smalt.reconcilers.world.Runs for what is asked of it."""

    def __init__(self) -> None:
        self._unfinished: dict[Address, set[str]] = defaultdict(set)
        self._asking: dict[Address, list[Moment]] = defaultdict(list)
        self._finished: dict[Address, list[Moment]] = defaultdict(list)
        self._requests: dict[tuple[str, str], list[Moment]] = defaultdict(list)
        self._usage: dict[Address, Hours] = defaultdict(Hours)
        self._departed: dict[Address, dict[str, Hours]] = defaultdict(dict)
        self._busy: set[Address] = set()
        # Only who leads writes down what deleted runs used; a standby would remember them for ever.
        self.is_recording = False

    # --- what reconcilers ask ---

    def unfinished(self, experiment: Address) -> list[str]:
        return sorted(self._unfinished.get(experiment, ()))

    def asking(self, experiment: Address) -> list[str]:
        return [name for _, name in self._asking.get(experiment, ())]

    def count_asking(self, experiment: Address) -> int:
        return len(self._asking.get(experiment, ()))

    def asking_before(self, experiment: Address, moment: Moment) -> int:
        return bisect_left(self._asking.get(experiment, []), moment)

    def finished(self, workspace: Address) -> Iterator[Moment]:
        yield from self._finished.get(workspace, ())

    def usage(self, workspace: Address) -> Hours:
        return self._usage.get(workspace, Hours())

    def departed(self, workspace: Address) -> dict[str, Hours]:
        return self._departed.get(workspace, {})

    def answering(self, namespace: str, request: str) -> list[str]:
        return [name for _, name in self._requests.get((namespace, request), ())]

    def is_busy(self, run: Address) -> bool:
        return run in self._busy

    # --- what the store and the loop tell ---

    @contextmanager
    def busy(self, key: Address) -> Iterator[None]:
        """The object is being reconciled: a child that was decided on may be on its way."""
        self._busy.add(key)
        try:
            yield
        finally:
            self._busy.discard(key)

    def put(self, run: Json) -> None:
        for line, moment in self._places(run):
            insort(line, moment)
        experiment, workspace, status = _experiment(run), _workspace(run), run.get("status") or {}
        if experiment and not status.get("completionTime"):
            self._unfinished[experiment].add(run["metadata"]["name"])
        if workspace:
            self._usage[workspace] += Hours.read(status.get("usage"))

    def drop(self, run: Json) -> None:
        for line, moment in self._places(run):
            at = bisect_left(line, moment)
            if at < len(line) and line[at] == moment:
                del line[at]
        experiment, workspace, status = _experiment(run), _workspace(run), run.get("status") or {}
        if experiment:
            self._unfinished[experiment].discard(run["metadata"]["name"])
        if workspace:
            self._usage[workspace] -= Hours.read(status.get("usage"))
        _tidy(self._unfinished, experiment)
        _tidy(self._asking, experiment)
        _tidy(self._finished, workspace)
        _tidy(self._requests, _request(run))

    def leave(self, run: Json, unsettled: Hours) -> None:
        """The run is deleted: what it used stays used."""
        workspace = _workspace(run)
        used = Hours.read((run.get("status") or {}).get("usage")) + unsettled
        if workspace and self.is_recording and used != Hours():
            self._departed[workspace][run["metadata"]["uid"]] = used

    def settle(self, workspace: Address, uids: list[str]) -> None:
        """The Workspace has written down what these deleted runs used."""
        left = {uid: used for uid, used in self._departed.pop(workspace, {}).items() if uid not in uids}
        if left:
            self._departed[workspace] = left

    def forget(self, workspace: Address) -> None:
        self._departed.pop(workspace, None)

    def _places(self, run: Json) -> Iterator[tuple[list[Moment], Moment]]:
        status, name = run.get("status") or {}, run["metadata"]["name"]
        experiment, workspace, request = _experiment(run), _workspace(run), _request(run)
        if experiment and is_asking(run):
            yield self._asking[experiment], arrival(run)
        ended = status.get("completionTime")
        if workspace and ended:
            yield self._finished[workspace], (ended, name)
        if request and ended and status.get("phase") == "Succeeded":
            yield self._requests[request], (ended, name)


def _tidy(entries: MutableMapping[Key, Lines], key: Key | None) -> None:
    """An entry for every name that ever was would grow for ever."""
    if key is not None and key in entries and not entries[key]:
        del entries[key]


def _experiment(run: Json) -> Address | None:
    name = (run.get("spec") or {}).get("experiment")
    return Address(EXPERIMENT, run["metadata"]["namespace"], name) if isinstance(name, str) and name else None


def _workspace(run: Json) -> Address | None:
    name = (run.get("status") or {}).get("workspace")
    return Address(WORKSPACE, run["metadata"]["namespace"], name) if name else None


def _request(run: Json) -> tuple[str, str] | None:
    digest = ((run.get("status") or {}).get("digests") or {}).get("request")
    return (run["metadata"]["namespace"], digest) if digest else None
