"""`python -m smalt_scorer fetch|serve` in a pod, by contract; without a verb on a laptop, by folder."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from smalt_scorer import azure_settings, collected, cors, joined, laptop, models, script, workers
from smalt_scorer import contract as contracts
from smalt_scorer.application import Application
from smalt_scorer.azure_contract import Dressing
from smalt_scorer.azure_settings import AzureSettings
from smalt_scorer.bringing import fetch_model, fetch_packages
from smalt_scorer.certificate import Certificate
from smalt_scorer.contract import Contract, RequestSettings
from smalt_scorer.counted_together import SharedFolder
from smalt_scorer.ending import end_early, end_stuck, ended, not_started, stuck
from smalt_scorer.failures import Failure
from smalt_scorer.fetch import verify
from smalt_scorer.keys import Keys
from smalt_scorer.listening import listen
from smalt_scorer.metrics import Metrics
from smalt_scorer.models import schema as schemas
from smalt_scorer.models.loaded import LoadedModel
from smalt_scorer.models.schema import Schema
from smalt_scorer.packages import check_clashes, check_skew
from smalt_scorer.registry_file import check
from smalt_scorer.runners import Alone, Runner
from smalt_scorer.scoring import STUCK_SECONDS, Scoring
from smalt_scorer.script_application import ScriptApplication
from smalt_scorer.server import Server
from smalt_scorer.termination import LOG
from smalt_scorer.tracing import tracer
from smalt_scorer.workers import Supervisor, Worker

RESTARTED = "SMALT_SCORER_IN_ENVIRONMENT"


def main(arguments: list[str] | None = None) -> int:
    """0 when all went well; 1 after a failure, which the termination message then names."""
    given = sys.argv[1:] if arguments is None else arguments
    if laptop.is_asked_for(given):
        return ended(lambda: serve_folder(laptop.read(given, os.environ, Path.cwd())), laptop.log_of(given))
    options = parser().parse_args(given)
    return ended(lambda: act(options), options.termination_log)


def act(options: argparse.Namespace) -> None:
    """What was asked for."""
    if options.verb == "fetch":
        fetch_model(options)
    elif options.verb == "lock":
        fetch_packages(options)
    else:
        serve_contract(options)


def as_worker(number: int, host: str, port: int) -> Worker | None:
    """This process as one of several; None when it is the only one. The process that starts several comes back only to end."""
    worker = Worker.present(os.environ)
    if worker is None and number > 1:
        sys.exit(Supervisor(number, host, port, sys.argv[1:]).run())
    return worker


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m smalt_scorer", description="Serves a model behind POST /score.")
    verbs = made.add_subparsers(dest="verb", required=True)
    fetching = verbs.add_parser("fetch", help="bring the model's files and verify them")
    fetching.add_argument("--contract", type=Path, required=True)
    fetching.add_argument("--into", type=Path, required=True)
    fetching.add_argument(
        "--signing-key",
        type=Path,
        default=Path("/smalt/signing/public.pem"),
        help="whose signature the files must have, where the contract wants them signed",
    )
    locking = verbs.add_parser("lock", help="bring the lock of the packages that a model was trained with")
    locking.add_argument("--model", required=True, help="whose, for people")
    locking.add_argument("--uri", required=True)
    locking.add_argument("--digest", required=True)
    for each in (fetching, locking):
        each.add_argument("--patience", type=float, default=60.0, help="seconds to wait for the tracking server")
        each.add_argument("--lock-into", type=Path, default=Path("/smalt/locked"), help="folder of the lock")
    serving = verbs.add_parser("serve", help="answer requests")
    serving.add_argument("--contract", type=Path, required=True, help="scoring.json")
    serving.add_argument("--model-root", type=Path, default=Path("/smalt/model"))
    serving.add_argument("--work", type=Path, default=Path("/smalt/work"))
    serving.add_argument("--keys", type=Path, default=Path("/smalt/keys"))
    serving.add_argument("--tls", type=Path, help="folder with tls.crt and tls.key, to serve https with")
    serving.add_argument("--environment", type=Path, default=Path("/smalt/environment"))
    serving.add_argument("--host", default="0.0.0.0")  # noqa: S104  whoever may reach the pod
    serving.add_argument("--port", type=int, default=8080)
    serving.add_argument(
        "--stuck-seconds",
        type=float,
        default=STUCK_SECONDS,
        help="a run() that does not end so long after its time-out ends the server",
    )
    for each in (fetching, locking, serving):
        each.add_argument("--termination-log", type=Path, default=LOG, help=argparse.SUPPRESS)
    return made


def serve_contract(options: argparse.Namespace) -> None:
    began = time.monotonic()
    contract = contracts.read(options.contract)
    in_environment(options.environment)
    check_skew(contract)
    worker = as_worker(workers.count(contract.environment_variables), options.host, options.port)
    metrics = Metrics(contract.model.name, str(contract.model.version), contract.model.digest)
    keys = Keys(options.keys) if contract.needs_key else None
    server = open_port(
        Place(
            options.host,
            options.port,
            options.stuck_seconds,
            options.termination_log,
            worker,
            Certificate.of_secret(options.tls) if options.tls else None,
        ),
        direct_application() if contract.is_direct else ScriptApplication,
        contract.requests,
        metrics,
        keys,
        lambda: end_early(not_started(contract, time.monotonic() - began), options.termination_log, worker),
    )
    with closing(server):
        serve_model(server, contract, options, worker)


def serve_model(server: Server, contract: Contract, options: argparse.Namespace, worker: Worker | None) -> None:
    """Verifies and loads behind the open port, then scores until the pod is told to go."""
    model_dir = contract.model.folder(options.model_root)
    artifact = contract.model.artifact(options.model_root)
    verify(contract.model, artifact)
    os.environ.update(contract.environment_variables)
    os.environ["AZUREML_MODEL_DIR"] = str(model_dir)
    model = contract.model
    server.application.tracer = tracer(os.environ, served_as(model.name, str(model.version)))
    if isinstance(server.application, ScriptApplication):
        work = options.work / f"worker-{worker.index}" if worker else options.work
        runner = runner_of(contract, work, options.model_root, server.application)
    else:
        loaded = models.load(artifact, model.format, registered_schema(contract, options.model_root))
        runner = served(server, loaded, model.name, str(model.version), contract.needs_key, contract.is_joining)
    server.work(runner)


def registered_schema(contract: Contract, root: Path) -> Schema | None:
    """What the registry knows of the model's columns; what lies beside the model counts where it knows nothing."""
    if contract.schema is None:
        return None
    content = (root / schemas.FILE).read_bytes()
    check(content, contract.schema, schemas.FILE, contract.model)
    return schemas.parsed(content)


def served_as(model: str, version: str) -> dict[str, str]:
    """What every span says of the model."""
    found = {"smalt.model.name": model, "smalt.model.version": version}
    return {name: value for name, value in found.items() if value}


def direct_application() -> type[Application]:
    """Not imported before it is needed: the environment of a script need not have what tables are read with."""
    from smalt_scorer.direct import DirectApplication

    return DirectApplication


def served(server: Server, model: LoadedModel, name: str, version: str, needs_key: bool, is_joining: bool) -> Runner:
    """Opens the routes of a model without a script; what its predictions are made by."""
    from smalt_scorer.direct import DirectApplication, Predicting
    from smalt_scorer.protocols.routes import Routes

    assert isinstance(server.application, DirectApplication)
    server.application.routes = Routes(model, name, version, needs_key)
    return Predicting(model, is_joining)


def in_environment(folder: Path) -> None:
    """Starts again with the Deployment's own packages, once, when there are any."""
    python = folder / "bin" / "python"
    if os.environ.get(RESTARTED) or not python.exists():
        return
    check_clashes(folder)
    os.environ[RESTARTED] = "1"
    os.execv(python, [str(python), "-m", "smalt_scorer", *sys.argv[1:]])


def runner_of(contract: Contract, work: Path, model_root: Path, application: ScriptApplication) -> Runner:
    """What the script's run() is called by."""
    assert contract.code is not None and contract.scoring_script is not None
    code = work / "code"  # the script starts there and may write there, which a mounted folder does not allow
    if contract.code.folder:
        script.lay_out_folder(contract.code.folder, code)
    else:
        script.lay_out(contract.code.inline, code)
    script.enter(code, model_root / "azureml-models")
    os.environ["AZUREML_ENTRY_SCRIPT"] = contract.scoring_script
    os.environ.setdefault(collected.FOLDER, str(work / "collected"))
    settings = azure_settings.read(os.environ, code)
    if settings.timeout_ms is not None:
        limit = f"requestSettings.requestTimeout ({contract.requests.timeout_seconds:g} s)"
        print(f"SCORING_TIMEOUT_MS is not heeded: {limit} is what holds in a Deployment", flush=True)
    return begin(settings, application, contract.is_joining)


def begin(settings: AzureSettings, application: ScriptApplication, is_joining: bool) -> Runner:
    """Loads the script and has the application serve it; what its run() is called by."""
    application.dressing = Dressing(cors.read(settings.cors_origins))
    loaded = script.load(settings)
    application.begin(loaded)
    seconds = application.settings.timeout_seconds
    return joined.runner(application.run, loaded.modules, seconds) if is_joining else Alone(application.run, seconds)


def serve_folder(asked: laptop.Laptop) -> None:
    """On a laptop: no contract and no key."""
    settings = asked.settings
    metrics = Metrics(asked.model_dir.name if asked.model_dir else "", "", "")
    limits = RequestSettings() if settings.timeout_ms is None else RequestSettings(settings.timeout_ms / 1000)
    worker = as_worker(workers.count(os.environ), asked.host, asked.port)
    certificate = Certificate(*asked.certificate) if asked.certificate else None
    is_first = worker is None or worker.index == 0
    # Azure's SEPERATE_HEALTH_ENDPOINT: all routes on one more port.
    further = settings.health_port if is_first else None
    place = Place(asked.host, asked.port, STUCK_SECONDS, asked.termination_log, worker, certificate, further)
    kind = ScriptApplication if asked.serves_script else direct_application()
    server = open_port(place, kind, limits, metrics, None, lambda: os._exit(0))
    server.application.tracer = tracer(os.environ, served_as(asked.model_dir.name if asked.model_dir else "", ""))
    with closing(server):
        serve_files(server, asked, is_first)


def serve_files(server: Server, asked: laptop.Laptop, is_first: bool) -> None:
    runner: Runner
    if isinstance(server.application, ScriptApplication):
        runner = begin(asked.settings, server.application, asked.is_joining)
    else:
        assert asked.model_dir is not None
        runner = served(server, models.load(asked.model_dir), asked.model_dir.name, "", False, asked.is_joining)
    if is_first:
        print(f"{'https' if asked.certificate else 'http'}://{asked.host}:{asked.port}/score", flush=True)
    server.work(runner)


@dataclass(frozen=True)
class Place:
    """Where it listens, and how it ends."""

    host: str
    port: int
    stuck_seconds: float
    log: Path
    worker: Worker | None = None
    certificate: Certificate | None = None
    further_port: int | None = None


def open_port(
    place: Place,
    kind: type[Application],
    settings: RequestSettings,
    metrics: Metrics,
    keys: Keys | None,
    on_early_end: Callable[[], object],
) -> Server:
    """Listens before anything is loaded, so that probes are answered from the beginning."""
    scoring = Scoring(
        settings.timeout_seconds,
        settings.max_concurrent,
        settings.max_queue_wait_seconds,
        lambda: server.retire(partial(end_stuck, stuck(settings, place.stuck_seconds), place.log, place.worker)),
        place.stuck_seconds,
        metrics,
    )
    if place.worker is not None:
        metrics.join(SharedFolder(place.worker.shared, place.worker.index))
    try:
        server = Server(
            kind(scoring, settings, metrics, keys),
            place.host,
            place.port,
            on_early_end,
            place.worker,
            place.certificate,
            listen(place.host, place.further_port) if place.further_port else None,
        )
        server.start()
    except OSError as error:
        raise Failure("InternalError", str(error)) from error
    return server


if __name__ == "__main__":
    sys.exit(main())
