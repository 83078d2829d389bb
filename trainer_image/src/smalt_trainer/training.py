"""The wrapper in the user's container: prepares, has the script run, and says how both went.

It talks to no server: what is to be kept, the recorder beside it keeps (recorder.py).
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
import time
import traceback
from pathlib import Path
from typing import MutableMapping, Optional

from smalt_trainer.code import lay_out_folder, lay_out_inline
from smalt_trainer.contract import Contract, read_contract
from smalt_trainer.digests import canonical_digest
from smalt_trainer.environment_record import EnvironmentRecord, environment_digest
from smalt_trainer.exchange import find, hold, is_held, leave
from smalt_trainer.facts import read_facts
from smalt_trainer.failures import ANOTHER_NAME, RunFailed, failure_of
from smalt_trainer.inputs import prepare_inputs
from smalt_trainer.outputs import bring_in, prepare_outputs
from smalt_trainer.places import Places
from smalt_trainer.say import say
from smalt_trainer.script import run_script, script_variables
from smalt_trainer.stopping import Stopping
from smalt_trainer.termination import Outcome, termination_message, write_termination
from smalt_trainer.trust import extend_trust

_GLANCE = 0.005
# The recorder gives up by itself after limits.finalizing; it may have been started so much later.
_LATE = 300.0


class Training:
    """The attempt's progress, kept so that whatever happens can be reported."""

    def __init__(self, places: Places, stopping: Stopping, variables: MutableMapping[str, str]) -> None:
        self.places, self.stopping, self.variables = places, stopping, variables
        self.outcome = Outcome()

    def run(self, contract_file: Optional[Path] = None) -> int:
        """Everything; 0 when the script succeeded, else 1. Its last words are written in every case."""
        contract: Optional[Contract] = None
        try:
            self.stopping.preparing = True
            hold(self.places.training_lock)
            contract = read_contract(contract_file or self.places.contract)
            self._work(contract)
        except Exception as error:
            self.stopping.preparing = False
            self._fail(error, contract)
        write_termination(self.places.termination, termination_message(self.outcome))
        leave(self.places.outcome, self.outcome.as_json())
        say(
            "the script succeeded"
            if self.outcome.succeeded
            else f"failed: {self.outcome.reason}: {self.outcome.message}"
        )
        return 0 if self.outcome.succeeded else 1

    def _work(self, contract: Contract) -> None:
        self._report_so_far("before the script started", contract)
        extend_trust(self.variables, Path(tempfile.gettempdir()))
        self.outcome.digests["parameters"] = canonical_digest(dict(contract.parameters))
        self.outcome.digests["code"] = self._lay_out(contract)
        self._tell()
        EnvironmentRecord(self.places.environment).copy(self.places.environment_record)
        self.outcome.digests["environment"] = environment_digest(contract.environment, self.places.environment)
        inputs = self._prepare_inputs(contract)
        outputs = prepare_outputs(contract.outputs, self.places.outputs)
        self._tell()
        mlflow = self._admitted(contract)
        variables = script_variables(contract, self.places, inputs, outputs, mlflow, self.variables)
        self._report_so_far("while the script ran", contract)
        self.stopping.preparing = False
        try:
            run_script(contract, self.places, variables, self.stopping)
        finally:
            for folder in (self.places.outputs, self.places.undeclared_outputs):
                bring_in(folder, self.places.work, say)
        self.outcome.exit_code = 0

    def _prepare_inputs(self, contract: Contract) -> dict[str, Path]:
        brings = any(each.is_fetched for each in contract.inputs.values())
        inputs = prepare_inputs(contract.inputs, read_facts(self.places).inputs if brings else {})
        self.outcome.digests["data"] = {name: each.digest for name, each in inputs.items()}
        self.outcome.inputs = {name: each.size for name, each in inputs.items()}
        return {name: Path(each.path) for name, each in inputs.items()}

    def _tell(self) -> None:
        """What is known so far; from the code's digest on, the recorder keeps the code."""
        facts = {"digests": self.outcome.digests, "inputs": self.outcome.inputs, "code": self.outcome.code}
        leave(self.places.facts, facts)

    def _admitted(self, contract: Contract) -> dict[str, str]:
        """Wait until the recorder has a place for the results; the variables by which plain mlflow finds it."""
        deadline = time.monotonic() + contract.finalizing + _LATE
        logs = f"kubectl logs -n {contract.namespace} job/{contract.name}-{contract.attempt} -c recorder"
        while True:
            presence = is_held(self.places.recorder_lock)
            answer = find(self.places.admission)
            if answer is not None:
                break
            if presence is False:
                raise RunFailed(
                    "InternalError", f"the container 'recorder' ended before the script could start: {logs}"
                )
            if time.monotonic() > deadline:
                raise RunFailed("TrackingUnavailable", f"the container 'recorder' gave no answer: {logs}")
            self.stopping.wait(_GLANCE)
        if answer.get("reason"):
            raise RunFailed(str(answer["reason"]), str(answer["message"]))
        run, experiment, uri = (str(answer[key]) for key in ("runId", "experimentId", "trackingUri"))
        self.outcome.tracking = {"runId": run, "experimentId": experiment}
        return {"MLFLOW_TRACKING_URI": uri, "MLFLOW_RUN_ID": run, "MLFLOW_EXPERIMENT_ID": experiment}

    def _lay_out(self, contract: Contract) -> str:
        if contract.is_code_fetched:
            self.outcome.code = read_facts(self.places).code
            return lay_out_folder(self.places.fetched_code, self.places.code)
        if contract.inline_code is not None:
            return lay_out_inline(contract.inline_code, self.places.code)
        return lay_out_folder(Path(contract.code_folder or "/smalt/code"), self.places.code)

    def _fail(self, error: Exception, contract: Optional[Contract]) -> None:
        if not isinstance(error, RunFailed):
            traceback.print_exc()
        self.outcome.fail(failure_of(error, contract.log_hint if contract else "see the pod's log"))

    def _report_so_far(self, when: str, contract: Contract) -> None:
        """What is to be read when the container is killed at once, as for its memory: nobody is left to say more then."""
        message = (
            f"the pod was killed {when} (for its memory, by force, or with its node); {contract.log_hint}, and give "
            f"the run limits.retries if that may happen again, {ANOTHER_NAME}"
        )
        so_far = dataclasses.replace(self.outcome, reason="Interrupted", message=message)
        write_termination(self.places.termination, termination_message(so_far, provisional=True))


def run_training(places: Places, contract_file: Optional[Path] = None) -> int:
    """The command `run`."""
    stopping = Stopping()
    stopping.listen()
    return Training(places, stopping, os.environ).run(contract_file)
