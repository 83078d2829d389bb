"""The recorder beside the user's container: all that is kept of an attempt goes through it to the tracking server.

It keeps the code, ships metrics while the script runs, and stores the rest when the wrapper has ended, also when that
was killed: then what lies in the volumes is stored all the same, and the run counts as failed.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
import time
import traceback
from functools import partial
from pathlib import Path
from typing import Callable, Iterable, Mapping, MutableMapping, Optional

from smalt_trainer.board import FINALIZING, RUNNING, SYSTEM, Board
from smalt_trainer.contract import Contract, read_contract
from smalt_trainer.exchange import find, hold, is_held, leave, note
from smalt_trainer.facts import code_tags, read_facts
from smalt_trainer.failures import ANOTHER_NAME, RunFailed, failure_of
from smalt_trainer.log_shipping import LogShipper
from smalt_trainer.logged_model import find_logged_model, keep_manifest, missing
from smalt_trainer.outputs import Output, collect_outputs, require_outputs
from smalt_trainer.page import PORT, Page
from smalt_trainer.places import Places
from smalt_trainer.profiles import KEEP_ROWS, Profiler, input_tables, output_tables
from smalt_trainer.proxy import Proxy
from smalt_trainer.recording import Recording, experiment_name, status_of
from smalt_trainer.refusals import Refused, Unreachable
from smalt_trainer.rewriting import Rewriting
from smalt_trainer.say import say
from smalt_trainer.shipping import Shipper
from smalt_trainer.spool import Spool, append
from smalt_trainer.stopping import GRACE_TO_CLOSE, GRACE_TO_STORE, GRACE_TO_WAIT, Stopping, terminated, until_answered
from smalt_trainer.termination import (
    Outcome,
    known_digests,
    known_sizes,
    known_texts,
    outcome_of,
    termination_message,
    write_termination,
)
from smalt_trainer.tracking import Tracking
from smalt_trainer.trust import BUNDLE, extend_trust

_GLANCE = 0.02
# Where the script waits too.
_SHORT_GLANCE = 0.005
# A message has room for so many files by name.
_NAMED = 3


class Recorder:
    """What is recorded of one attempt, kept so that whatever happens can be reported."""

    def __init__(self, places: Places, stopping: Stopping, variables: MutableMapping[str, str]) -> None:
        self.places, self.stopping, self.variables = places, stopping, variables
        self.tracking = Tracking.from_environment(variables, places.password)
        self.outcome = Outcome()
        self.board = Board()
        self.port = int(variables.get("SMALT_PAGE_PORT") or PORT)
        self.logs: Optional[LogShipper] = None
        self.recording: Optional[Recording] = None
        self.shipper: Optional[Shipper] = None
        self.is_admitted = False
        # The wrapper left no word: what the node knows of its end counts before what is written here.
        self.is_guess = False
        self.output_paths: dict[str, Path] = {}
        self.outputs: dict[str, Output] = {}
        self.unreadable: dict[str, str] = {}
        self.unanswered: list[str] = []
        self.told: set[str] = set()
        self.warnings: dict[str, str] = {}
        self.rewriting: Optional[Rewriting] = None
        self.profiler = Profiler(Path(tempfile.gettempdir(), f"profiles-{os.getpid()}"), say)

    def run(self, contract_file: Optional[Path] = None) -> int:
        """Everything; 0 when the run succeeded, else 1. The full outcome is written in every case."""
        contract: Optional[Contract] = None
        refusal: Optional[RunFailed] = None
        try:
            hold(self.places.recorder_lock)
            contract = read_contract(contract_file or self.places.contract)
            self._admit(contract)
        except Exception as error:
            if not isinstance(error, RunFailed):
                traceback.print_exc()
            refusal = failure_of(error, _hint(contract))
            leave(self.places.admission, {"reason": refusal.reason, "message": refusal.message})
        self._wait_for_the_end()
        self._take_words(contract, refusal)
        if contract and self.recording:
            try:
                self._finalize(contract, self.recording)
            except Exception as error:
                traceback.print_exc()
                if self.outcome.succeeded:
                    self.outcome.fail(failure_of(error, _hint(contract)))
        shutil.rmtree(self.profiler.folder, ignore_errors=True)
        write_termination(self.places.termination, termination_message(self.outcome, provisional=self.is_guess))
        say("all is stored" if self.outcome.succeeded else f"failed: {self.outcome.reason}: {self.outcome.message}")
        return 0 if self.outcome.succeeded else 1

    # --- before the script ---

    def _admit(self, contract: Contract) -> None:
        """A place for the results and the code in it; then the script may start."""
        if self.variables.get(BUNDLE):
            extend_trust(self.variables, Path(tempfile.gettempdir()))
            self.tracking = Tracking.from_environment(self.variables, self.places.password)
        self._report_so_far("before the script started", "Interrupted", contract)
        self.output_paths = {name: self.places.outputs / name for name in contract.outputs}
        Page(self.board, _labels(contract), say).start(self.port)
        deadline = time.monotonic() + contract.finalizing
        self._before_the_script(contract, deadline, lambda: self._open(contract))
        assert self.recording
        recording = self.recording
        self.outcome.tracking = {"runId": recording.run, "experimentId": recording.experiment}
        self._report_so_far("before the script started", "Interrupted", contract)
        if not self._code_lies_there():
            return
        self._before_the_script(contract, deadline, lambda: self._keep_code(contract, recording))
        if recording.lost:
            raise RunFailed(
                "CodeInvalid", f"the code cannot be kept: {_listed(recording.lost.values())}; {ANOTHER_NAME}"
            )
        self._report_so_far("while the script ran", "ResultsNotStored", contract)
        self.shipper = Shipper(self.tracking, recording.run, Spool(self.places.spool), say, self.board)
        self.shipper.start()
        more = partial(self._keep_what_is_known, recording)
        self.logs = LogShipper(self.places.logs, self.places.artifacts, recording.show, more)
        self.logs.start()
        self.board.enter(RUNNING, "the script runs")
        brings = any(each.is_fetched for each in contract.inputs.values())
        self.profiler.keeps_rows = contract.variables.get(KEEP_ROWS) != "0"
        self.profiler.start(input_tables(contract.inputs, read_facts(self.places).inputs if brings else {}))
        leave(self.places.admission, {**self.outcome.tracking, "trackingUri": self._proxy(contract, recording).start()})
        self.is_admitted = True

    def _proxy(self, contract: Contract, recording: Recording) -> Proxy:
        name = experiment_name(contract)
        self.rewriting = Rewriting(recording.run, recording.experiment, name, self._warn)
        return Proxy(
            self.tracking,
            say,
            self.rewriting,
            keep=lambda points: append(self.places.spool, points),
            see=lambda points: self.board.see([(point.name, point.value) for point in points]),
        )

    def _warn(self, kind: str, text: str) -> None:
        """Said in the script's log now, and kept with the run at the end."""
        self.warnings[f"smalt.warning.{kind}"] = text
        note(self.places.notes, text)

    def _open(self, contract: Contract) -> None:
        self.recording = Recording.open(self.tracking, contract)

    def _code_lies_there(self) -> bool:
        """Wait for it; false when the wrapper ended before, or the pod is to end and there is none."""
        while not self._digests().get("code"):
            if is_held(self.places.training_lock) is False or self.stopping.wait(_SHORT_GLANCE):
                return bool(self._digests().get("code"))
        return True

    def _keep_code(self, contract: Contract, recording: Recording) -> None:
        """Before the script may write where its code lies: what is kept is what was digested."""
        recording.store_folder(self.places.code, "code", self.places.work)
        recording.tag(code_tags(contract, self._code()))

    def _before_the_script(self, contract: Contract, deadline: float, action: Callable[[], None]) -> None:
        """What the server must have taken before the script may start; a run cannot be applied again, so it waits."""
        try:
            until_answered(action, deadline, self.stopping, say)
        except (Unreachable, Refused) as error:
            if self.stopping.requested:
                raise terminated("before the script started") from error
            raise RunFailed(
                "TrackingUnavailable",
                f"{error}; the script was not started. Look at the tracking server of the workspace: kubectl logs -n "
                f"{contract.namespace} deployment/{contract.workspace}-tracking, then apply the run under another name",
            ) from error

    # --- while it runs ---

    def _keep_what_is_known(self, recording: Recording) -> None:
        """What need not wait for the script's end, so that the run's end need not wait for it; called now and then."""
        digests = self._digests()
        if "environment" not in digests:
            return  # its record may be half written yet
        self._keep_environment(recording)
        recording.tag(_digest_tags(digests))

    def _keep_environment(self, recording: Recording) -> None:
        recording.store_folder(self.places.environment_record, "environment", self.places.exchange)

    def _wait_for_the_end(self) -> None:
        """Until the wrapper has ended; once the pod is to end, for as long as the script has to say goodbye."""
        while is_held(self.places.training_lock) is not False:
            if self.stopping.wait(_GLANCE):
                self._wait_a_little(is_held(self.places.training_lock) is True)
                return

    def _wait_a_little(self, is_there: bool) -> None:
        since = self.stopping.requested_at or time.monotonic()
        while is_there and time.monotonic() < since + GRACE_TO_WAIT:
            time.sleep(_GLANCE)
            is_there = is_held(self.places.training_lock) is True

    def _take_words(self, contract: Optional[Contract], refusal: Optional[RunFailed]) -> None:
        """The wrapper's own, or what follows from its having left none."""
        words = find(self.places.outcome)
        tracking = self.outcome.tracking
        if words is not None:
            self.outcome = outcome_of(words)
        elif refusal:
            self.outcome.fail(refusal)
        elif self.stopping.requested:
            self.outcome.fail(terminated("while the script ran" if self.is_admitted else "before the script started"))
        else:
            self.is_guess = True
            when = "while the script ran" if self.is_admitted else "before the script started"
            told = f"the container 'training' was killed {when} (for its memory, or by force); {_hint(contract)}, {ANOTHER_NAME}"
            self.outcome.fail(RunFailed("Interrupted", told))
        self.outcome.tracking = tracking
        self.outcome.digests = {**self._digests(), **self.outcome.digests}
        self.outcome.inputs = known_sizes((find(self.places.facts) or {}).get("inputs"))
        self.outcome.code = self._code()

    def _digests(self) -> dict[str, object]:
        return known_digests((find(self.places.facts) or {}).get("digests"))

    def _code(self) -> dict[str, str]:
        return known_texts((find(self.places.facts) or {}).get("code"))

    # --- after it ---

    def _finalize(self, contract: Contract, recording: Recording) -> None:
        """Store everything, however the script ended; only a run that was fine so far can fail for it.

        Each part is tried for itself: a file that is refused, or a part that is not answered, costs no other part.
        """
        self._report_so_far("while its results were being stored", "ResultsNotStored", contract)
        self.board.enter(FINALIZING, "the script has ended; its results are being stored")
        if self.logs:
            self.logs.stop()
            recording.has(self.logs.whole())
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
        try_to(lambda: recording.store_folder(self.places.logs, "logs", self.places.exchange))
        try_to(lambda: self._keep_environment(recording))
        try_to(lambda: recording.store_folder(self.places.artifacts, "", self.places.exchange))
        if not self.is_admitted and self._digests().get("code"):
            try_to(lambda: self._keep_code(contract, recording))
        try_to(lambda: recording.tag({**_digest_tags(self.outcome.digests), **self.warnings}))
        if self.rewriting and self.rewriting.has_children:
            try_to(lambda: recording.end_children(status_of(self.outcome)))
        try_to(lambda: self._store_outputs(recording))
        if contract.logged_model:
            try_to(lambda: self._keep_logged_model(contract, recording))
        try_to(lambda: recording.store_folder(self.places.undeclared_outputs, "undeclared_outputs", self.places.work))
        self._judge(contract, recording)
        self._profile(contract)
        try_to(lambda: recording.store_folder(self.profiler.folder, "profiles", self.profiler.folder))
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
            if contract.logged_model and contract.logged_model not in self.outcome.outputs:
                raise missing(contract)
            if lost:
                raise RunFailed(
                    "ResultsNotStored",
                    f"the script succeeded, but not all it left is stored: {_listed(lost)}; {ANOTHER_NAME}",
                )
        except RunFailed as failure:
            self.outcome.fail(failure)

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
        finite = {name: value for name, value in finite.items() if not name.startswith(SYSTEM)}
        names = sorted(finite, key=lambda name: (order.get(name, len(order)), name))
        self.outcome.metrics = {name: finite[name] for name in names}
        self.outcome.non_finite = other

    def _store_outputs(self, recording: Recording) -> None:
        self.outputs, self.unreadable = collect_outputs(self.output_paths, self.places.work)
        for output in self.outputs.values():
            if recording.store_output(output):
                self.outcome.outputs[output.name] = output.status(recording.output_uri(output.name))

    def _profile(self, contract: Contract) -> None:
        """Last of all: it can wait, and a pod that is to end at once has no time for it."""
        tables = output_tables(self.outputs, contract.outputs) if self.outcome.succeeded else ()
        self.profiler.finish(tables, lambda: self.stopping.requested)
        self.outcome.profiles = self.profiler.found

    def _keep_logged_model(self, contract: Contract, recording: Recording) -> None:
        name = contract.logged_model or ""
        place = find_logged_model(self.tracking, recording.experiment, recording.run, name)
        if place:
            self.outcome.outputs[name] = keep_manifest(self.tracking, place)

    def _report_so_far(self, when: str, reason: str, contract: Contract) -> None:
        """What is to be read when the recorder is killed at once: nobody is left to say more then."""
        outcome = self.outcome
        if outcome.succeeded:
            message = (
                f"the container 'recorder' was killed {when} (for its memory, by force, or with its node): "
                f"{recorder_logs(contract)}, and give the run limits.retries if that may happen again, {ANOTHER_NAME}"
            )
            outcome = dataclasses.replace(outcome, reason=reason, message=message)
        provisional = self.is_guess or outcome is not self.outcome
        write_termination(self.places.termination, termination_message(outcome, provisional=provisional))


def recorder_logs(contract: Contract) -> str:
    """How to read what the recorder has said."""
    return f"kubectl logs -n {contract.namespace} job/{contract.name}-{contract.attempt} -c recorder"


def _digest_tags(digests: Mapping[str, object]) -> dict[str, str]:
    return {f"smalt.digest.{name}": str(digest) for name, digest in digests.items() if name != "data"}


def _labels(contract: Contract) -> dict[str, str]:
    """What Prometheus tells runs apart by."""
    return {
        "namespace": contract.namespace,
        "run": contract.name,
        "attempt": str(contract.attempt),
        "experiment": contract.experiment,
    }


def _hint(contract: Optional[Contract]) -> str:
    return contract.log_hint if contract else "see the pod's log"


def _listed(problems: Iterable[str]) -> str:
    told = list(dict.fromkeys(problems))
    more = f" and {len(told) - _NAMED} more, which the recorder's log names" if len(told) > _NAMED else ""
    return "; ".join(told[:_NAMED]) + more


def run_recorder(places: Places, contract_file: Optional[Path] = None) -> int:
    """The command `record`."""
    stopping = Stopping()
    stopping.listen()
    return Recorder(places, stopping, os.environ).run(contract_file)
