"""One run from its contract to its termination message: prepare, run the script, store, report."""

from __future__ import annotations

import dataclasses
import os
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Callable, Iterable, MutableMapping, Optional

from smalt_trainer.code import lay_out_folder, lay_out_inline
from smalt_trainer.contract import Contract, read_contract
from smalt_trainer.digests import canonical_digest
from smalt_trainer.environment import ensure, read_environment
from smalt_trainer.facts import code_tags, read_facts
from smalt_trainer.failures import ANOTHER_NAME, RunFailed
from smalt_trainer.inputs import prepare_inputs
from smalt_trainer.outputs import Output, collect_outputs, prepare_outputs, require_outputs
from smalt_trainer.places import Places
from smalt_trainer.recording import Recording
from smalt_trainer.script import run_script, script_variables
from smalt_trainer.shipping import Shipper
from smalt_trainer.spool import Spool
from smalt_trainer.stopping import GRACE_TO_CLOSE, GRACE_TO_STORE, Stopping, terminated, until_answered
from smalt_trainer.termination import Outcome, termination_message, write_termination
from smalt_trainer.tracking import Refused, Tracking, Unreachable
from smalt_trainer.trust import extend_trust

# A message has room for so many files by name.
_NAMED = 3


def say(text: str) -> None:
    """A line of the wrapper's own in the pod's log."""
    print(f"[smalt] {text}", file=sys.stderr, flush=True)


class Training:
    """The run's progress, kept so that whatever happens can be reported."""

    def __init__(self, places: Places, stopping: Stopping, variables: MutableMapping[str, str]) -> None:
        self.places, self.stopping, self.variables = places, stopping, variables
        self.outcome = Outcome()
        self.recording: Optional[Recording] = None
        self.shipper: Optional[Shipper] = None
        self.output_paths: dict[str, Path] = {}
        self.outputs: dict[str, Output] = {}
        self.unreadable: dict[str, str] = {}
        self.unanswered: list[str] = []
        self.told: set[str] = set()

    def run(self, contract_file: Optional[Path] = None) -> int:
        """Everything; 0 when the run succeeded, else 1. The termination message is written in every case."""
        contract: Optional[Contract] = None
        try:
            self.stopping.preparing = True
            contract = read_contract(contract_file or self.places.contract)
            self._work(contract)
        except Exception as error:
            self.stopping.preparing = False
            self._fail(error, contract)
        if contract and self.recording:
            self._report_so_far("while its results were being stored", "ResultsNotStored", contract)
            try:
                self._finalize(contract, self.recording)
            except Exception as error:
                self._fail_unless_failed(error, contract)
        self._report()
        say("succeeded" if self.outcome.succeeded else f"failed: {self.outcome.reason}: {self.outcome.message}")
        return 0 if self.outcome.succeeded else 1

    def _work(self, contract: Contract) -> None:
        self.recording = self._open(contract)
        self.outcome.tracking = {"runId": self.recording.run, "experimentId": self.recording.experiment}
        self._report_so_far("before the script started", "Interrupted", contract)
        extend_trust(self.variables, Path(tempfile.gettempdir()))
        self.outcome.digests["parameters"] = canonical_digest(dict(contract.parameters))
        self.outcome.digests["code"] = self._lay_out(contract)
        self._keep_code(contract, self.recording)
        wanted = read_environment(contract.environment, self.places.code, contract.image)
        self.outcome.digests["environment"] = wanted.digest
        ensure(wanted, self.places.environment, contract.image)
        inputs, self.outcome.digests["data"] = prepare_inputs(contract.inputs, self.places.inputs, say)
        self.output_paths = prepare_outputs(contract.outputs, self.places.outputs)
        mlflow = self.recording.script_variables
        variables = script_variables(contract, self.places, inputs, self.output_paths, mlflow, self.variables)
        self.shipper = Shipper(self.recording.tracking, self.recording.run, Spool(self.places.spool), say)
        self.shipper.start()
        self._report_so_far("while the script ran", "Interrupted", contract)
        self.stopping.preparing = False
        run_script(contract, self.places, variables, self.stopping)
        self.outcome.exit_code = 0

    def _keep_code(self, contract: Contract, recording: Recording) -> None:
        """Now, because the script may write where its code lies: what is kept is what was digested."""

        def keep() -> None:
            recording.store_folder(self.places.code, "code")
            recording.tag(code_tags(contract, self.outcome.code))

        self._before_the_script(contract, keep)
        if recording.lost:
            raise RunFailed(
                "CodeInvalid", f"the code cannot be kept: {_listed(recording.lost.values())}; {ANOTHER_NAME}"
            )

    def _open(self, contract: Contract) -> Recording:
        opened: list[Recording] = []
        tracking = Tracking.from_environment(self.variables, self.places.password)
        self._before_the_script(contract, lambda: opened.append(Recording.open(tracking, contract)))
        return opened[0]

    def _before_the_script(self, contract: Contract, action: Callable[[], None]) -> None:
        """What the server must have taken before the script may start; a run cannot be applied again, so it waits."""
        deadline = time.monotonic() + contract.finalizing
        try:
            until_answered(action, deadline, self.stopping, say)
        except (Unreachable, Refused) as error:
            raise RunFailed(
                "TrackingUnavailable",
                f"{error}; the script was not started. Look at the tracking server of the workspace: kubectl logs -n "
                f"{contract.namespace} deployment/{contract.workspace}-tracking, then apply the run under another name",
            ) from error

    def _lay_out(self, contract: Contract) -> str:
        if contract.code_git is not None:
            self.outcome.code = read_facts(self.places).code
            return lay_out_folder(self.places.fetched_code, self.places.code)
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
        """Store everything, however the script ended; only a run that was fine so far can fail for it.

        Each part is tried for itself: a file that is refused, or a part that is not answered, costs no other part.
        """
        deadline = time.monotonic() + contract.finalizing

        def try_to(step: Callable[[], None], grace: float = GRACE_TO_STORE) -> None:
            try:
                until_answered(step, deadline, self.stopping, say, grace=grace)
            except (Unreachable, Refused) as error:
                self.unanswered.append(str(error))
            except Exception as error:
                traceback.print_exc()
                self.unanswered.append(f"{type(error).__name__}: {error}")

        try_to(self._store_metrics)
        try_to(lambda: recording.store_folder(self.places.logs, "logs"))
        try_to(lambda: recording.tag({f"smalt.digest.{name}": str(digest) for name, digest in self._plain_digests()}))
        try_to(lambda: self._store_outputs(recording))
        try_to(lambda: recording.store_folder(self.places.undeclared_outputs, "undeclared_outputs"))
        self._judge(contract, recording)
        try_to(lambda: recording.finish(self.outcome), GRACE_TO_CLOSE)
        self._judge(contract, recording)

    def _judge(self, contract: Contract, recording: Recording) -> None:
        """Whether the results are what was asked for, and all stored; the first thing that is wrong counts."""
        lost = [*self.unreadable.values(), *recording.lost.values()]
        for problem in dict.fromkeys([*lost, *self.unanswered]):
            if problem not in self.told:
                say(f"not stored: {problem}")
                self.told.add(problem)
        if not self.outcome.succeeded:
            return
        try:
            if self.unanswered and self.stopping.requested:
                raise terminated("while its results were being stored")
            if self.unanswered:
                raise RunFailed(
                    "ResultsNotStored",
                    f"the script succeeded, but its results could not be stored within limits.finalizing, "
                    f"{contract.finalizing:g} s: {_listed(self.unanswered)}; look at the tracking server: kubectl logs "
                    f"-n {contract.namespace} deployment/{contract.workspace}-tracking, {ANOTHER_NAME}",
                )
            require_outputs(contract, self.outputs, self.output_paths, self.unreadable)
            if lost:
                raise RunFailed(
                    "ResultsNotStored",
                    f"the script succeeded, but not all it left is stored: {_listed(lost)}; {ANOTHER_NAME}",
                )
        except RunFailed as failure:
            self._fail(failure, contract)

    def _fail_unless_failed(self, error: Exception, contract: Contract) -> None:
        if self.outcome.succeeded:
            self._fail(error, contract)
        else:
            traceback.print_exc()

    def _plain_digests(self) -> list[tuple[str, object]]:
        return [(name, value) for name, value in self.outcome.digests.items() if name != "data"]

    def _store_metrics(self) -> None:
        """Ship the rest, then read back the latest values: plain mlflow may have logged some of its own."""
        assert self.recording
        first: list[str] = []
        if self.shipper:
            self.shipper.stop()
            self.shipper.drain()
            first = list(self.shipper.names)
        finite, other = self.recording.tracking.metrics(self.recording.run)
        order = {name: position for position, name in enumerate(first)}
        names = sorted(finite, key=lambda name: (order.get(name, len(order)), name))
        self.outcome.metrics = {name: finite[name] for name in names}
        self.outcome.non_finite = other

    def _store_outputs(self, recording: Recording) -> None:
        self.outputs, self.unreadable = collect_outputs(self.output_paths)
        for output in self.outputs.values():
            if recording.store_output(output):
                self.outcome.outputs[output.name] = output.status(recording.output_uri(output.name))

    def _report(self) -> None:
        write_termination(self.places.termination, termination_message(self.outcome))

    def _report_so_far(self, when: str, reason: str, contract: Contract) -> None:
        """What is to be read when the pod is killed at once, as for its memory: nobody is left to say more then."""
        outcome = self.outcome
        if outcome.succeeded:
            message = (
                f"the pod was killed {when} (for its memory, by force, or with its node); {contract.log_hint}, and give "
                f"the run limits.retries if that may happen again, {ANOTHER_NAME}"
            )
            outcome = dataclasses.replace(outcome, reason=reason, message=message)
        write_termination(
            self.places.termination, termination_message(outcome, provisional=outcome is not self.outcome)
        )


def _listed(problems: Iterable[str]) -> str:
    told = list(dict.fromkeys(problems))
    more = f" and {len(told) - _NAMED} more, which the log names" if len(told) > _NAMED else ""
    return "; ".join(told[:_NAMED]) + more


def run_training(places: Places, contract_file: Optional[Path] = None) -> int:
    """The command `run`."""
    stopping = Stopping()
    stopping.listen()
    return Training(places, stopping, os.environ).run(contract_file)
