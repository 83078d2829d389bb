"""A model that the script has logged with mlflow, taken for an output: its files where they lie, and a manifest beside them."""

from __future__ import annotations

import hashlib
from typing import Any, Iterator, NamedTuple, Optional

from smalt_trainer.contract import Contract
from smalt_trainer.digests import Entry, manifest_digest, manifest_text
from smalt_trainer.failures import RunFailed
from smalt_trainer.rewriting import PARENT
from smalt_trainer.tracking import Tracking

_MOST_FILES = 20_000


def find_logged_model(tracking: Tracking, experiment: str, run: str, name: str) -> Optional[str]:
    """Where the newest model of this name lies in the store; None when neither the run nor one below it has logged it.

    What the run has logged itself goes before what a script's further runs have.
    """
    own = _logged_by(tracking, experiment, run, name)
    if own is not None:
        return own.place
    below = [_logged_by(tracking, experiment, each, name) for each in _runs_below(tracking, experiment, run)]
    found = [each for each in below if each is not None]
    return max(found, key=lambda each: each.created).place if found else None


class _Logged(NamedTuple):
    """A model, and when it was logged in milliseconds; 0 where MLflow does not say."""

    place: str
    created: int


def _runs_below(tracking: Tracking, experiment: str, run: str) -> Iterator[str]:
    """Those that a script has started within the run, however deep."""
    waiting, seen = [run], {run}
    while waiting:
        for child in tracking.find_runs(experiment, {PARENT: waiting.pop()}):
            identifier = str(child["info"]["run_id"])
            if identifier not in seen:
                seen.add(identifier)
                waiting.append(identifier)
                yield identifier


def _logged_by(tracking: Tracking, experiment: str, run: str, name: str) -> Optional[_Logged]:
    """MLflow 3 keeps models beside the runs, MLflow 2 among a run's own artifacts."""
    body = {
        "experiment_ids": [experiment],
        "filter": f"source_run_id = '{run}'",
        "order_by": [{"field_name": "creation_timestamp", "ascending": False}],
    }
    for model in tracking.call("POST", "logged-models/search", body).get("models") or ():
        info = model["info"]
        if info.get("name") == name and info.get("status") == "LOGGED_MODEL_READY":
            place = f"{experiment}/models/{info['model_id']}/artifacts"
            return _Logged(place, int(info.get("creation_timestamp_ms") or 0))
    place = f"{experiment}/{run}/artifacts/{name}"
    return _Logged(place, 0) if any(path == "MLmodel" for path, _ in _files(tracking, place, "")) else None


def keep_manifest(tracking: Tracking, place: str) -> dict[str, Any]:
    """Read every file once for its digest, store the manifest, and describe the model as an output is described."""
    entries = []
    for path, _ in _files(tracking, place, ""):
        sha, size = hashlib.sha256(), 0
        for piece in tracking.download(f"{place}/{path}"):
            sha.update(piece)
            size += len(piece)
        entries.append(Entry(path, size, sha.hexdigest()))
        if len(entries) > _MOST_FILES:
            raise RunFailed("ResultsNotStored", f"the logged model has more than {_MOST_FILES} files")
    tracking.put(f"{place}.manifest.json", manifest_text(entries).encode("utf-8", "surrogateescape"))
    size = sum(entry.size for entry in entries)
    uri = f"mlflow-artifacts:/{place}"
    return {"uri": uri, "digest": manifest_digest(entries), "bytes": size, "files": len(entries)}


def missing(contract: Contract) -> RunFailed:
    """The script has logged no such model."""
    return RunFailed(
        "OutputMissing",
        f"register.from names {contract.logged_model!r}, which is neither among outputs nor a model that the script has logged; "
        f"have it call mlflow.<flavor>.log_model(model, name={contract.logged_model!r}), or declare an output; "
        f"{contract.log_hint}",
    )


def _files(tracking: Tracking, place: str, below: str) -> Iterator[tuple[str, int]]:
    for path, size in tracking.artifacts(f"{place}/{below}".rstrip("/")):
        name = f"{below}/{path}".lstrip("/")
        if size is None:
            yield from _files(tracking, place, name)
        else:
            yield name, size
