"""One MLflow run for one attempt of one run, found again when the pod starts twice, and everything stored in it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Iterable, Mapping, Optional

from smalt_trainer.contract import Contract, parameter_text
from smalt_trainer.digests import files_below, manifest_text
from smalt_trainer.outputs import Output, unreadable_text
from smalt_trainer.refusals import Refused, Unreadable
from smalt_trainer.rewriting import PARENT
from smalt_trainer.termination import Outcome, encode
from smalt_trainer.tracking import Tracking

_LONGEST_PARAMETER = 6000
_PARAMETERS_AT_ONCE = 100
_ALL = "smalt.run.attempts"


@dataclass
class Recording:
    """The run in the tracking server; uploads are remembered, so that a second try goes on where the first ended."""

    tracking: Tracking
    experiment: str
    run: str
    # Of all attempts, when there is more than one.
    parent: Optional[str] = None

    def __post_init__(self) -> None:
        self._stored: set[str] = set()
        self._tags: dict[str, str] = {}
        # What is not kept and why, by the name it would have had: the rest is stored all the same.
        self.lost: dict[str, str] = {}

    @classmethod
    def open(cls, tracking: Tracking, contract: Contract) -> Recording:
        """Find this attempt's run by its tags, or create it."""
        experiment = tracking.experiment_id(experiment_name(contract))
        identity = {"smalt.run.uid": contract.uid, "smalt.run.attempt": str(contract.attempt)}
        name = contract.name if contract.attempt <= 1 else f"{contract.name}-{contract.attempt}"
        run, is_taken_up = _found_or_created(tracking, contract, experiment, identity, name)
        parameters = [(key, parameter_text(value)[:_LONGEST_PARAMETER]) for key, value in contract.parameters.items()]
        for start in range(0, len(parameters), _PARAMETERS_AT_ONCE):
            tracking.log_batch(run, params=dict(parameters[start : start + _PARAMETERS_AT_ONCE]))
        parent = _parent(tracking, contract, experiment) if contract.attempt > 1 else None
        made = cls(tracking, experiment, run, parent)
        if is_taken_up:  # what the script of an earlier pod began below it, nobody goes on with
            made.end_children("KILLED")
        return made

    def output_uri(self, name: str) -> str:
        """The address under which an output is found later."""
        return f"mlflow-artifacts:/{self.experiment}/{self.run}/artifacts/outputs/{name}"

    def tag(self, tags: Mapping[str, str]) -> None:
        """Attach what became known later; what it has already is not sent again."""
        new = {name: value for name, value in tags.items() if self._tags.get(name) != value}
        if new:
            self.tracking.log_batch(self.run, tags=new)
            self._tags.update(new)

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
            self._store(f"{below}/{name}".lstrip("/"), path)

    def show(self, name: str, stream: BinaryIO) -> None:
        """Store a file as it is now; it is stored again when it is complete."""
        self.tracking.upload(self.experiment, self.run, name, stream)

    def has(self, names: Iterable[str]) -> None:
        """Those were shown to their end, and need not be stored again."""
        self._stored.update(names)

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

    def end_children(self, status: str) -> None:
        """Runs that a script has started below this one, and did not live to end; in MLflow's words for how they ended."""
        waiting, ended = [self.run], {self.run}
        while waiting:
            open_ones = self.tracking.find_runs(self.experiment, {PARENT: waiting[-1]}, status="RUNNING")
            children = {str(child["info"]["run_id"]) for child in open_ones} - ended
            if not children:
                waiting.pop()
            for child in children:
                self._end(child, status)
            waiting.extend(children)
            ended |= children

    def finish(self, outcome: Outcome) -> None:
        """Store the summary and end the MLflow run, and with it that of all attempts."""
        self.tracking.upload(self.experiment, self.run, "summary.json", encode(outcome.as_json()))
        for run in filter(None, [self.run, self.parent]):
            self._end(run, status_of(outcome))

    def _end(self, run: str, status: str) -> None:
        body = {"run_id": run, "status": status, "end_time": int(time.time() * 1000)}
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


def status_of(outcome: Outcome) -> str:
    """In MLflow's words."""
    return "FINISHED" if outcome.succeeded else "KILLED" if outcome.reason == "Terminated" else "FAILED"


def experiment_name(contract: Contract) -> str:
    """Namespaces share no experiments, though they may share a server."""
    return f"{contract.namespace}/{contract.experiment}"


def _parent(tracking: Tracking, contract: Contract, experiment: str) -> str:
    """The run above all attempts, found or made when there is a second one, with every attempt below it."""
    parent, _ = _found_or_created(
        tracking, contract, experiment, {"smalt.run.uid": contract.uid, _ALL: "yes"}, contract.name
    )
    for run in tracking.find_runs(experiment, {"smalt.run.uid": contract.uid}):
        tags = {each["key"]: each["value"] for each in run["data"].get("tags") or ()}
        number = tags.get("smalt.run.attempt")
        if number and tags.get(PARENT) != parent:
            tracking.log_batch(
                run["info"]["run_id"], tags={PARENT: parent, "mlflow.runName": f"{contract.name}-{number}"}
            )
    return parent


def _found_or_created(
    tracking: Tracking, contract: Contract, experiment: str, identity: Mapping[str, str], name: str
) -> tuple[str, bool]:
    """The run with these tags, at work, and whether it was there already, as it is when the pod starts twice."""
    runs = tracking.find_runs(experiment, identity)
    if not runs:
        created = _create(tracking, contract, experiment, identity, name)
        # Whoever started at the same moment created one too; both keep the older and drop the other.
        runs = tracking.find_runs(experiment, identity)
        if runs and runs[0]["info"]["run_id"] != created:
            tracking.call("POST", "runs/delete", {"run_id": created})
        return (str(runs[0]["info"]["run_id"]) if runs else created), False
    found = str(runs[0]["info"]["run_id"])
    tracking.call("POST", "runs/update", {"run_id": found, "status": "RUNNING"})
    return found, True


def _create(tracking: Tracking, contract: Contract, experiment: str, identity: Mapping[str, str], name: str) -> str:
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
