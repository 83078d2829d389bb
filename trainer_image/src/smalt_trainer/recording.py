"""One MLflow run for one attempt of one run, found again when the pod starts twice, and everything stored in it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Mapping

from smalt_trainer.contract import Contract, parameter_text
from smalt_trainer.digests import files_below, manifest_text
from smalt_trainer.outputs import Output, unreadable_text
from smalt_trainer.termination import Outcome, encode
from smalt_trainer.tracking import Refused, Tracking, Unreadable

_LONGEST_PARAMETER = 6000
_PARAMETERS_AT_ONCE = 100


@dataclass
class Recording:
    """The run in the tracking server; uploads are remembered, so that a second try goes on where the first ended."""

    tracking: Tracking
    experiment: str
    run: str

    def __post_init__(self) -> None:
        self._stored: set[str] = set()
        # What is not kept and why, by the name it would have had: the rest is stored all the same.
        self.lost: dict[str, str] = {}

    @classmethod
    def open(cls, tracking: Tracking, contract: Contract) -> Recording:
        """Find this attempt's run by its tags, or create it."""
        experiment = tracking.experiment_id(f"{contract.namespace}/{contract.experiment}")
        identity = {"smalt.run.uid": contract.uid, "smalt.run.attempt": str(contract.attempt)}
        runs = tracking.find_runs(experiment, identity)
        if not runs:
            created = _create(tracking, contract, experiment, identity)
            # Whoever started at the same moment created one too; both keep the older and drop the other.
            runs = tracking.find_runs(experiment, identity)
            if runs and runs[0]["info"]["run_id"] != created:
                tracking.call("POST", "runs/delete", {"run_id": created})
        run = str(runs[0]["info"]["run_id"]) if runs else created
        tracking.call("POST", "runs/update", {"run_id": run, "status": "RUNNING"})
        parameters = [(key, parameter_text(value)[:_LONGEST_PARAMETER]) for key, value in contract.parameters.items()]
        for start in range(0, len(parameters), _PARAMETERS_AT_ONCE):
            tracking.log_batch(run, params=dict(parameters[start : start + _PARAMETERS_AT_ONCE]))
        return cls(tracking, experiment, run)

    def output_uri(self, name: str) -> str:
        """The address under which an output is found later."""
        return f"mlflow-artifacts:/{self.experiment}/{self.run}/artifacts/outputs/{name}"

    def tag(self, tags: Mapping[str, str]) -> None:
        """Attach what became known later."""
        if tags:
            self.tracking.log_batch(self.run, tags=dict(tags))

    def store_folder(self, folder: Path, below: str, root: Path) -> None:
        """Store every file of a folder; which of them cannot be, as what lies outside of `root`, is in `lost`."""
        if not folder.exists():
            return
        problems: list[OSError] = []
        try:
            files = files_below(folder, root, problems)
        except OSError as error:
            files = []
            problems.append(error)
        for problem in problems:
            words = unreadable_text(problem, folder, below)
            self.lost[words] = words
        for name, path in files:
            self._store(f"{below}/{name}", path)

    def show(self, name: str, stream: BinaryIO) -> None:
        """Store a file as it is now; it is stored again when it is complete."""
        self.tracking.upload(self.experiment, self.run, name, stream)

    def store_output(self, output: Output) -> bool:
        """Store an output's files and, only when they are all there, its manifest; true when they are."""
        names = [f"outputs/{output.name}/{entry.path}" for entry in output.entries]
        for name, entry in zip(names, output.entries):
            self._store(name, output.file(entry))
        if any(name in self.lost for name in names):
            return False
        manifest = f"outputs/{output.name}.manifest.json"
        self._store(manifest, manifest_text(output.entries).encode("utf-8", "surrogateescape"))
        return manifest not in self.lost

    def finish(self, outcome: Outcome) -> None:
        """Store the summary and end the MLflow run."""
        self.tracking.upload(self.experiment, self.run, "summary.json", encode(outcome.as_json()))
        status = "FINISHED" if outcome.succeeded else "KILLED" if outcome.reason == "Terminated" else "FAILED"
        body = {"run_id": self.run, "status": status, "end_time": int(time.time() * 1000)}
        self.tracking.call("POST", "runs/update", body)

    def _store(self, name: str, content: bytes | Path) -> None:
        if name in self._stored or name in self.lost:
            return
        try:
            self.tracking.upload(self.experiment, self.run, name, content)
            self._stored.add(name)
        except Refused as error:
            hint = "make it smaller" if error.code == "413" else "rename it"
            self.lost[name] = f"{name!r} is refused ({error}): {hint}"
        except Unreadable as error:
            self.lost[name] = f"{name!r} cannot be read ({error}): have the script leave it readable"


def _create(tracking: Tracking, contract: Contract, experiment: str, identity: Mapping[str, str]) -> str:
    name = contract.name if contract.attempt <= 1 else f"{contract.name}-{contract.attempt}"
    tags = {
        **identity,
        "smalt.run.name": contract.name,
        "smalt.run.namespace": contract.namespace,
        "mlflow.runName": name,
    }
    body = {
        "experiment_id": experiment,
        "run_name": name,
        "start_time": int(time.time() * 1000),
        "tags": [{"key": key, "value": value} for key, value in tags.items()],
    }
    return str(tracking.call("POST", "runs/create", body)["run"]["info"]["run_id"])
