"""`python -m smalt_scorer fetch|serve`: in a pod by contract, on a laptop by folder."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from smalt_scorer import contract as contracts
from smalt_scorer import direct, script
from smalt_scorer.application import Application
from smalt_scorer.contract import Contract, RequestSettings
from smalt_scorer.failures import Failure, last_line
from smalt_scorer.fetch import Server as Artifacts
from smalt_scorer.fetch import fetch, verify
from smalt_scorer.keys import Keys
from smalt_scorer.metrics import Metrics
from smalt_scorer.scoring import STUCK_SECONDS, Scoring
from smalt_scorer.server import Server
from smalt_scorer.termination import LOG, leave

RESTARTED = "SMALT_SCORER_IN_ENVIRONMENT"


def main(arguments: list[str] | None = None) -> int:
    """0 when all went well; 1 after a failure, which the termination message then names."""
    options = parser().parse_args(arguments)
    try:
        act(options)
    except Failure as failure:
        end(failure, options.termination_log)
    except Exception as error:
        end(unforeseen(error), options.termination_log)
    else:
        return 0
    return 1


def unforeseen(error: Exception) -> Failure:
    """A full disk, no memory, a fault of the scorer: it too has to be told."""
    words = f"{last_line(error)}: this was not foreseen; the whole traceback is in the container's log"
    failure = Failure("InternalError", words)
    failure.__cause__ = error
    return failure


def act(options: argparse.Namespace) -> None:
    """What was asked for."""
    if options.verb == "fetch":
        fetch_model(options)
    elif options.contract:
        serve_contract(options)
    else:
        serve_folder(options)


def end(failure: Failure, log: Path) -> None:
    """Says why it ends: all of it in the log, the cause in the termination message."""
    if failure.__cause__ is not None:
        traceback.print_exception(failure.__cause__)
    print(f"{failure.reason}: {failure}", file=sys.stderr, flush=True)
    leave(failure, log)


def end_at_once(failure: Failure, log: Path) -> NoReturn:
    """From a side thread, while the main thread is in code that does not come back."""
    end(failure, log)
    os._exit(1)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m smalt_scorer", description="Serves a model behind POST /score.")
    verbs = made.add_subparsers(dest="verb", required=True)
    fetching = verbs.add_parser("fetch", help="bring the model's files and verify them")
    fetching.add_argument("--contract", type=Path, required=True)
    fetching.add_argument("--into", type=Path, required=True)
    fetching.add_argument("--patience", type=float, default=60.0, help="seconds to wait for the tracking server")
    serving = verbs.add_parser("serve", help="answer requests")
    serving.add_argument("--contract", type=Path, help="scoring.json, in a pod")
    serving.add_argument("--model-root", type=Path, default=Path("/smalt/model"))
    serving.add_argument("--work", type=Path, default=Path("/smalt/work"))
    serving.add_argument("--keys", type=Path, default=Path("/smalt/keys"))
    serving.add_argument("--environment", type=Path, default=Path("/smalt/environment"))
    serving.add_argument("--model-dir", type=Path, help="AZUREML_MODEL_DIR, on a laptop")
    serving.add_argument("--scoring-script", type=Path, help="the score script, on a laptop")
    serving.add_argument("--host", help="0.0.0.0 with a contract, else 127.0.0.1")
    serving.add_argument("--port", type=int, default=8080)
    serving.add_argument(
        "--stuck-seconds",
        type=float,
        default=STUCK_SECONDS,
        help="a run() that does not end so long after its time-out ends the server",
    )
    for each in (fetching, serving):
        each.add_argument("--termination-log", type=Path, default=LOG, help=argparse.SUPPRESS)
    return made


def fetch_model(options: argparse.Namespace) -> None:
    # As process 1 of a container it would not be ended by a signal that nobody handles.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    uri = os.environ.get("SMALT_TRACKING_URI")
    if not uri:
        raise Failure(
            "InternalError", "SMALT_TRACKING_URI is not set: operator and scorer image must be of the same release"
        )
    # An MLflow server that somebody else runs may ask for no name.
    names = ("SMALT_TRACKING_USERNAME", "SMALT_TRACKING_PASSWORD", "SMALT_TRUST_BUNDLE")
    server = Artifacts(uri, *(os.environ.get(name, "") for name in names))
    contract = contracts.read(options.contract)
    folder = fetch(contract.model, options.into, server, options.patience)
    print(f"Model '{contract.model.object_name}' is verified ({contract.model.digest}) in {folder}", flush=True)


def serve_contract(options: argparse.Namespace) -> None:
    began = time.monotonic()
    contract = contracts.read(options.contract)
    in_environment(options.environment)
    model_dir = contract.model.folder(options.model_root)
    artifact = contract.model.artifact(options.model_root)
    metrics = Metrics(contract.model.name, str(contract.model.version), contract.model.digest)
    keys = Keys(options.keys) if contract.needs_key else None
    server = open_port(
        options,
        contract.requests,
        metrics,
        keys,
        "0.0.0.0",  # noqa: S104
        lambda: end_at_once(not_started(contract, time.monotonic() - began), options.termination_log),
    )
    verify(contract.model, artifact)
    os.environ.update(contract.environment_variables)
    os.environ["AZUREML_MODEL_DIR"] = str(model_dir)
    server.work(run_of(contract, artifact, options.work))


def not_started(contract: Contract, seconds: float) -> Failure:
    """Kubernetes ends a container whose start takes too long, as it does one of a pod that is deleted."""
    ended = f"the container was ended after {seconds:.0f} s, before"
    if contract.scoring_script is None:
        return Failure(
            "ModelNotLoadable",
            f"{ended} the model was loaded: see the pod's log; register a smaller model, or raise spec.resources",
        )
    return Failure(
        "InitFailed",
        f"{ended} init() of score script '{contract.scoring_script}' came back: see in the pod's log how far it came, "
        "correct what it waits for and apply again",
    )


def stuck(settings: RequestSettings, seconds: float) -> Failure:
    return Failure(
        "RunStuck",
        f"run() did not end within requestSettings.requestTimeout ({settings.timeout_seconds:g} s), nor could it be "
        f"interrupted in the {seconds:g} s after it, so the container starts again: make run() faster, or raise requestTimeout",
    )


def in_environment(folder: Path) -> None:
    """Starts again with the Deployment's own packages, once, when there are any."""
    python = folder / "bin" / "python"
    if os.environ.get(RESTARTED) or not python.exists():
        return
    os.environ[RESTARTED] = "1"
    os.execv(python, [str(python), "-m", "smalt_scorer", *sys.argv[1:]])


def run_of(contract: Contract, artifact: Path, work: Path) -> script.Run:
    """The script's run(), or the model's own."""
    if contract.scoring_script is None or contract.code is None:
        made: script.Run = direct.run_of(direct.load(artifact))
        return made
    code = work / "code"  # the script starts there and may write there, which a mounted folder does not allow
    if contract.code.folder:
        script.lay_out_folder(contract.code.folder, code)
    else:
        script.lay_out(contract.code.inline, code)
    return script.load(code, contract.scoring_script)


def serve_folder(options: argparse.Namespace) -> None:
    """On a laptop: no contract, no key, and nobody else can ask."""
    if options.model_dir is None:
        raise Failure("InternalError", "name a --contract, or a --model-dir with or without --scoring-script")
    model_dir = options.model_dir.resolve()
    metrics = Metrics(model_dir.name, "", "")
    server = open_port(options, RequestSettings(), metrics, None, "127.0.0.1", lambda: os._exit(0))
    os.environ["AZUREML_MODEL_DIR"] = str(model_dir)
    run: Any
    if options.scoring_script:
        path = options.scoring_script.resolve()
        run = script.load(path.parent, path.name)
    else:
        run = direct.run_of(direct.load(model_dir))
    print(f"http://{options.host or '127.0.0.1'}:{options.port}/score", flush=True)
    server.work(run)


def open_port(
    options: argparse.Namespace,
    settings: RequestSettings,
    metrics: Metrics,
    keys: Keys | None,
    host: str,
    on_early_end: Callable[[], object],
) -> Server:
    """Listens before anything is loaded, so that probes are answered from the beginning."""
    scoring = Scoring(
        settings.timeout_seconds,
        settings.max_concurrent,
        settings.max_queue_wait_seconds,
        partial(end_at_once, stuck(settings, options.stuck_seconds), options.termination_log),
        options.stuck_seconds,
    )
    server = Server(Application(scoring, settings, metrics, keys), options.host or host, options.port, on_early_end)
    try:
        server.start()
    except OSError as error:
        raise Failure("InternalError", str(error)) from error
    return server


if __name__ == "__main__":
    sys.exit(main())
