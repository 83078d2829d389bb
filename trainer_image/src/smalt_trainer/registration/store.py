"""The registry's own copy of a model: one MLflow run that only the registry's user writes, found again by the Model's UID.

Everything is stored under a name that says what it is, so that a second try stores the same again. The manifest comes
last, and only when the server has given back every byte that was sent.
"""

from __future__ import annotations

import hashlib
import re
import time
from functools import partial
from pathlib import Path
from typing import Any, Callable, Mapping, Sequence, Tuple, TypeVar

from smalt_trainer.digests import Entry, inside, manifest_text
from smalt_trainer.refusals import Forbidden, Refused, Unreachable, Unreadable
from smalt_trainer.registration.contract import Contract
from smalt_trainer.registration.refused import NotRegistered, shown
from smalt_trainer.tracking import Tracking

T = TypeVar("T")
EXPERIMENT = "smalt-models"
UID = "smalt.model.uid"
PATIENCE = 300.0
_LONGEST_PAUSE = 15.0
_LARGEST_COPY = 64 << 20
_MOST_COPIED = 64
_DEEPEST = 8
# What MLflow takes as the name of a metric.
_METRIC = re.compile(r"[\w\-./: ]{1,250}")


def patiently(ask: Callable[[], T], seconds: float = PATIENCE, pause: float = 0.5) -> T:
    """What the server answers in the end. NotRegistered when it refuses, or does not answer for so long."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return ask()
        except Refused as error:
            raise NotRegistered(
                "RegistryRefused",
                f"{error}: see the tracking server's log; the registration is tried again with a new Job",
            ) from error
        except Unreadable as error:
            raise NotRegistered("InternalError", f"a file to be stored cannot be read: {error}") from error
        except Unreachable as error:
            if time.monotonic() + pause > deadline:
                raise _gave_up(error) from error
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)


def _gave_up(error: Unreachable) -> NotRegistered:
    if isinstance(error, Forbidden):
        return NotRegistered(
            "RegistryRefused",
            f"{error}: the user of the registry may not write there; see the owner of the MLflow experiment {EXPERIMENT}",
        )
    return NotRegistered(
        "TrackingUnavailable", f"{error}: the registration is tried again when the Workspace's tracking server answers"
    )


class RegistryRun:
    """The run, and what is stored in it."""

    def __init__(self, tracking: Tracking, experiment: str, run: str, patience: float) -> None:
        self.tracking, self.experiment, self.run, self.patience = tracking, experiment, run, patience

    @classmethod
    def open(cls, tracking: Tracking, contract: Contract, patience: float = PATIENCE) -> RegistryRun:
        """The run of this Model, created when there is none."""
        experiment = patiently(lambda: tracking.experiment_id(EXPERIMENT), patience)
        run = patiently(lambda: _found_or_created(tracking, experiment, contract), patience)
        return cls(tracking, experiment, run, patience)

    def uri(self, name: str) -> str:
        """The address of an artifact."""
        return f"mlflow-artifacts:/{self.place(name)}"

    def place(self, name: str) -> str:
        """Where it lies in the server's store."""
        return f"{self.experiment}/{self.run}/artifacts/{name}"

    def store(self, name: str, content: bytes | Path) -> None:
        """One file."""
        patiently(lambda: self.tracking.upload(self.experiment, self.run, name, content), self.patience)

    def store_folder(self, name: str, folder: Path, entries: Sequence[Entry]) -> None:
        """Files, then what the server has of them, compared, then their manifest."""
        for entry in entries:
            self.store(f"{name}/{entry.path}", folder / entry.path)
        for entry in entries:
            found = patiently(partial(self._hash, f"{name}/{entry.path}"), self.patience)
            if found != (entry.size, entry.sha256):
                raise NotRegistered(
                    "RegistryRefused",
                    f"'{shown(entry.path)}' is not in the store as it was sent: see the tracking server's log and its volume; the "
                    "registration is tried again with a new Job",
                )
        self.store(f"{name}.manifest.json", manifest_text(entries).encode("utf-8", "surrogateescape"))

    def _hash(self, name: str) -> Tuple[int, str]:
        sha, size = hashlib.sha256(), 0
        for piece in self.tracking.download(self.place(name)):
            sha.update(piece)
            size += len(piece)
        return size, sha.hexdigest()

    def copy(self, place: str, into: Path, name: str) -> list[Path]:
        """What lies below a place of somebody else's, stored here too; the copies on the disk. Bounded in number and size."""
        made = []
        for path in patiently(lambda: _below(self.tracking, place, "", 0), self.patience):
            target = into / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if not patiently(partial(_fetched, self.tracking, f"{place}/{path}", target), self.patience):
                continue
            self.store(f"{name}/{path}", target)
            made.append(target)
        return made

    def finish(self, tags: Mapping[str, str], metrics: Mapping[str, float]) -> None:
        """The run has ended: it is in nobody's way."""
        now = int(time.time() * 1000)
        points = [
            {"key": key, "value": value, "timestamp": now, "step": 0}
            for key, value in metrics.items()
            if _METRIC.fullmatch(key)
        ]
        patiently(lambda: self.tracking.log_batch(self.run, metrics=points, tags=tags), self.patience)
        body = {"run_id": self.run, "status": "FINISHED", "end_time": now}
        patiently(lambda: self.tracking.call("POST", "runs/update", body), self.patience)


def _found_or_created(tracking: Tracking, experiment: str, contract: Contract) -> str:
    """Whoever is killed in between finds what it made: the tag is set with the run itself."""
    identity = {UID: contract.model.uid}
    runs = tracking.find_runs(experiment, identity)
    if not runs:
        tracking.call("POST", "runs/create", _new_run(experiment, contract))
        runs = tracking.find_runs(experiment, identity)
    # An answer that was lost may have left another; all take the oldest.
    for another in runs[1:]:
        tracking.call("POST", "runs/delete", {"run_id": another["info"]["run_id"]})
    return str(runs[0]["info"]["run_id"])


def _new_run(experiment: str, contract: Contract) -> dict[str, Any]:
    model = contract.model
    tags = {
        UID: model.uid,
        "smalt.model": model.object,
        "smalt.version": str(model.version),
        "smalt.namespace": model.namespace,
        "mlflow.runName": f"{model.name}-{model.version}",
    }
    return {
        "experiment_id": experiment,
        "run_name": f"{model.name}-{model.version}",
        "start_time": int(time.time() * 1000),
        "tags": [{"key": key, "value": value} for key, value in tags.items()],
    }


def _below(tracking: Tracking, place: str, name: str, depth: int) -> list[str]:
    """The paths of files below a place, which its owner may have filled with anything."""
    found: list[str] = []
    for each, size in tracking.artifacts(f"{place}/{name}".rstrip("/")):
        path = inside(f"{name}/{each}".lstrip("/"))
        if size is not None:
            found += [path] if size <= _LARGEST_COPY else []
        elif depth < _DEEPEST:
            found += _below(tracking, place, path, depth + 1)
        if len(found) >= _MOST_COPIED:
            break
    return found[:_MOST_COPIED]


def _fetched(tracking: Tracking, place: str, target: Path) -> bool:
    """False for one that is larger than it was said to be."""
    size = 0
    with target.open("wb") as stream:
        for piece in tracking.download(place):
            size += len(piece)
            if size > _LARGEST_COPY:
                break
            stream.write(piece)
    if size > _LARGEST_COPY:
        target.unlink()
    return size <= _LARGEST_COPY
