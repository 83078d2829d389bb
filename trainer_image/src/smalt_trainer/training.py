"""One run from its contract to its termination message: prepare, run the script, store, report."""

from __future__ import annotations

import os
import sys
import time
import traceback
from pathlib import Path
from typing import Callable, Mapping, Optional

from smalt_trainer.code import lay_out_folder, lay_out_inline
from smalt_trainer.contract import Contract, read_contract
from smalt_trainer.digests import canonical_digest
from smalt_trainer.environment import ensure, read_environment
from smalt_trainer.failures import RunFailed
from smalt_trainer.inputs import prepare_inputs
from smalt_trainer.outputs import Output, collect_outputs, prepare_outputs, require_outputs
from smalt_trainer.places import Places
from smalt_trainer.recording import Recording
from smalt_trainer.script import run_script, script_variables
from smalt_trainer.shipping import Shipper
from smalt_trainer.spool import Spool
from smalt_trainer.stopping import Stopping, terminated, until_answered
from smalt_trainer.termination import Outcome, termination_message, write_termination
from smalt_trainer.tracking import Refused, Tracking, Unreachable

# How long a run that has produced nothing yet waits for the server: the results' patience is limits.finalizing.
_PATIENCE_AT_START = 900.0


def say(text: str) -> None:
    """A line of the wrapper's own in the pod's log."""
    print(f"[smalt] {text}", file=sys.stderr, flush=True)


class Training:
    """The run's progress, kept so that whatever happens can be reported."""

    def __init__(self, places: Places, stopping: Stopping, variables: Mapping[str, str]) -> None:
        self.places, self.stopping, self.variables = places, stopping, variables
        self.outcome = Outcome()
        self.recording: Optional[Recording] = None
        self.shipper: Optional[Shipper] = None
        self.output_paths: dict[str, Path] = {}
        self.outputs: dict[str, Output] = {}

    def run(self, contract_file: Optional[Path] = None) -> int:
        """Everything; 0 when the run succeeded, else 1. The termination message is written in every case."""
        contract: Optional[Contract] = None
        try:
            self.stopping.preparing = True
            contract = read_contract(contract_file or self.places.contract)
            self._work(contract)
        except Exception as error:
            self._fail(error, contract)
        finally:
            self.stopping.preparing = False
        if contract and self.recording:
            self._report()
            self._finalize(contract, self.recording)
        self._report()
        say("succeeded" if self.outcome.succeeded else f"failed: {self.outcome.reason}: {self.outcome.message}")
        return 0 if self.outcome.succeeded else 1

    def _work(self, contract: Contract) -> None:
        self.recording = self._open(contract)
        self.outcome.tracking = {"runId": self.recording.run, "experimentId": self.recording.experiment}
        self.outcome.digests["parameters"] = canonical_digest(dict(contract.parameters))
        self.outcome.digests["code"] = self._lay_out(contract)
        # Now, because the script may write where its code lies: what is kept is what was digested.
        recording = self.recording
        self._before_the_script(contract, lambda: recording.store_folder(self.places.code, "code"))
        wanted = read_environment(contract.environment, self.places.code, contract.image)
        self.outcome.digests["environment"] = wanted.digest
        ensure(wanted, self.places.environment, contract.image)
        inputs, self.outcome.digests["data"] = prepare_inputs(contract.inputs, self.places.inputs, say)
        self.output_paths = prepare_outputs(contract.outputs, self.places.outputs)
        mlflow = self.recording.script_variables
        variables = script_variables(contract, self.places, inputs, self.output_paths, mlflow, self.variables)
        self.shipper = Shipper(self.recording.tracking, self.recording.run, Spool(self.places.spool), say)
        self.shipper.start()
        self.stopping.preparing = False
        run_script(contract, self.places, variables, self.stopping)
        self.outcome.exit_code = 0
        self.outputs = collect_outputs(self.output_paths)
        require_outputs(contract, self.outputs, self.output_paths)

    def _open(self, contract: Contract) -> Recording:
        opened: list[Recording] = []
        tracking = Tracking.from_environment(self.variables)
        self._before_the_script(contract, lambda: opened.append(Recording.open(tracking, contract)))
        return opened[0]

    def _before_the_script(self, contract: Contract, action: Callable[[], None]) -> None:
        """What the server must have taken before the script may start."""
        deadline = time.monotonic() + min(contract.finalizing, _PATIENCE_AT_START)
        try:
            until_answered(action, deadline, self.stopping, say)
        except (Unreachable, Refused) as error:
            raise RunFailed(
                "TrackingUnavailable",
                f"{error}; the script was not started. Look at the tracking server of the workspace: kubectl logs -n "
                f"{contract.namespace} deployment/{contract.workspace}-tracking, then apply the run under another name",
            ) from error

    def _lay_out(self, contract: Contract) -> str:
        if contract.inline_code is not None:
            return lay_out_inline(contract.inline_code, self.places.code)
        return lay_out_folder(Path(contract.code_folder or "/smalt/code"), self.places.code)

    def _fail(self, error: Exception, contract: Optional[Contract]) -> None:
        if not isinstance(error, RunFailed):
            traceback.print_exc()
            hint = contract.log_hint if contract else "see the pod's log"
            error = RunFailed("InternalError", f"{type(error).__name__}: {error}; {hint}")
        self.outcome.reason, self.outcome.message = error.reason, error.message
        self.outcome.exit_code = error.exit_code if error.exit_code is not None else self.outcome.exit_code

    def _finalize(self, contract: Contract, recording: Recording) -> None:
        """Store everything, however the script ended; only a run that was fine so far can fail for it."""
        if self.shipper:
            self.shipper.stop()
        deadline = time.monotonic() + contract.finalizing
        try:
            if not self.outputs:
                self.outputs = collect_outputs(self.output_paths)
            for step in (
                self._store_metrics,
                lambda: recording.store_folder(self.places.logs, "logs"),
                lambda: self._store_outputs(recording),
                lambda: recording.tag({f"smalt.digest.{name}": str(digest) for name, digest in self._plain_digests()}),
                lambda: recording.finish(self.outcome),
            ):
                until_answered(step, deadline, self.stopping, say)
        except (Unreachable, Refused, OSError) as error:
            say(f"results are not stored: {error}")
            self._not_stored(contract, error)

    def _not_stored(self, contract: Contract, error: Exception) -> None:
        self.outcome.outputs = {}
        if not self.outcome.succeeded:
            return
        if self.stopping.requested:
            self._fail(terminated("while its results were being stored"), contract)
            return
        failure = RunFailed(
            "ResultsNotStored",
            f"the script succeeded, but its results could not be stored within limits.finalizing, "
            f"{contract.finalizing:g} s: {error}; look at the tracking server: kubectl logs -n {contract.namespace} "
            f"deployment/{contract.workspace}-tracking, then apply the run under another name",
        )
        self._fail(failure, contract)

    def _plain_digests(self) -> list[tuple[str, object]]:
        return [(name, value) for name, value in self.outcome.digests.items() if name != "data"]

    def _store_metrics(self) -> None:
        """Ship the rest, then read back the latest values: plain mlflow may have logged some of its own."""
        assert self.recording
        first: list[str] = []
        if self.shipper:
            self.shipper.drain()
            first = list(self.shipper.names)
        finite, other = self.recording.tracking.metrics(self.recording.run)
        order = {name: position for position, name in enumerate(first)}
        names = sorted(finite, key=lambda name: (order.get(name, len(order)), name))
        self.outcome.metrics = {name: finite[name] for name in names}
        self.outcome.non_finite = other

    def _store_outputs(self, recording: Recording) -> None:
        for output in self.outputs.values():
            recording.store_output(output)
            self.outcome.outputs[output.name] = output.status(recording.output_uri(output.name))

    def _report(self) -> None:
        write_termination(self.places.termination, termination_message(self.outcome))


def run_training(places: Places, contract_file: Optional[Path] = None) -> int:
    """The command `run`."""
    stopping = Stopping()
    stopping.listen()
    return Training(places, stopping, os.environ).run(contract_file)
