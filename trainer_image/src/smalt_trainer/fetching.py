"""Brings what a run needs from elsewhere, in a container of its own before the script's: the only one with credentials.

The script's container reads what lies here, and the facts beside it. The last words have the form of every run's.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType
from typing import Callable, MutableMapping, Optional

from smalt_trainer.announcing import FETCHING, Announcing
from smalt_trainer.artifacts import ArtifactStore
from smalt_trainer.code_archive import fetch_archive
from smalt_trainer.code_pushed import fetch_pushed
from smalt_trainer.contract import Contract, read_contract
from smalt_trainer.facts import Facts, write_facts
from smalt_trainer.failures import RunFailed
from smalt_trainer.fetched_inputs import Fetcher
from smalt_trainer.git import fetch_git
from smalt_trainer.places import Places
from smalt_trainer.stopping import terminated
from smalt_trainer.termination import Outcome, termination_message, write_termination
from smalt_trainer.tracking import Tracking
from smalt_trainer.trust import extend_trust

# Below `places.credentials`: the Secret that the code's source names.
CODE = "code"


def say(text: str) -> None:
    """A line of the container's own log."""
    print(f"[smalt] {text}", file=sys.stderr, flush=True)


def run_fetch(places: Places, contract_file: Optional[Path] = None, port: Optional[int] = None) -> int:
    """The command `fetch`: 0 when everything is there, else 1 with the cause as the container's last words.

    How far it has come can be asked at the port meanwhile.
    """
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _end)
    outcome = Outcome()
    try:
        contract = read_contract(contract_file or places.contract)
        with Announcing.on(port, FETCHING) as announcing:
            outcome.code = fetch(contract, places, os.environ, announcing.say).code
    except Exception as error:
        failure = error
        if not isinstance(failure, RunFailed):
            traceback.print_exc()
            failure = RunFailed("InternalError", f"{type(error).__name__}: {error}; see the log of container fetch")
        outcome.reason, outcome.message = failure.reason, failure.message
        say(f"failed: {outcome.reason}: {outcome.message}")
    write_termination(places.termination, termination_message(outcome))
    return 0 if outcome.succeeded else 1


def fetch(
    contract: Contract,
    places: Places,
    variables: MutableMapping[str, str],
    announce: Optional[Callable[[str], None]] = None,
) -> Facts:
    """Everything the contract names, from the beginning: what a fetch that was broken off has left is not looked at."""

    def told(line: str) -> None:
        say(line)
        if announce is not None:
            announce(line)

    scratch = _emptied(places)
    # The way to the network that the run's author names holds here too.
    variables.update({name: value for name, value in contract.variables.items() if name.upper().endswith("_PROXY")})
    extend_trust(variables, scratch)
    facts = Facts()
    store = ArtifactStore.of(Tracking.from_environment(variables, places.password))
    if contract.code_git is not None:
        folder = places.credentials / CODE
        commit = fetch_git(contract.code_git, places.fetched_code, scratch, folder, variables, told)
        facts.code["commit"] = commit
    elif contract.code_archive is not None and contract.code_archive.artifact is not None:
        facts.code["archiveDigest"] = fetch_pushed(contract.code_archive, store, places.fetched_code, scratch, told)
    elif contract.code_archive is not None:
        folder = places.credentials / CODE
        digest = fetch_archive(contract.code_archive, places.fetched_code, scratch, folder, told)
        facts.code["archiveDigest"] = digest
    if any(each.is_fetched for each in contract.inputs.values()):
        fetcher = Fetcher(places.fetched_inputs, scratch, places.credentials, store, told)
        facts.inputs.update({name: each.as_json() for name, each in fetcher.fetch(contract.inputs).items()})
    shutil.rmtree(scratch)
    write_facts(places, facts)
    return facts


def _emptied(places: Places) -> Path:
    """The folder with nothing in it but one to work in, which is gone when everything is there."""
    places.fetched.mkdir(parents=True, exist_ok=True)
    for each in places.fetched.iterdir():
        shutil.rmtree(each) if each.is_dir() and not each.is_symlink() else each.unlink()
    scratch = places.fetched / "unfinished"
    scratch.mkdir()
    return scratch


def _end(_number: int, _frame: Optional[FrameType]) -> None:
    raise terminated("before the script started")
