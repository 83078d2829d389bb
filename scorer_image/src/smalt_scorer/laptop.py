"""`python -m smalt_scorer --model-dir … --scoring-script score.py`: without a pod and its contract, as `azmlinfsrv` is called.

Every option has Azure's spelling too (`--entry_script`), and Azure's environment variables stand where an option is missing.
"""

from __future__ import annotations

import argparse
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from smalt_scorer import azure_settings
from smalt_scorer.azure_settings import AzureSettings
from smalt_scorer.failures import Failure
from smalt_scorer.termination import LOG

VERBS = ("fetch", "lock", "serve")
PORT = 8080


@dataclass(frozen=True)
class Laptop:
    """`model_dir` is None for a script that needs none; `serves_script` is False for a model served directly."""

    settings: AzureSettings
    model_dir: Path | None
    serves_script: bool
    host: str
    port: int
    termination_log: Path
    is_joining: bool = True
    certificate: tuple[Path, Path] | None = None
    """The server's certificate and its key, both in PEM."""


def is_asked_for(arguments: Sequence[str]) -> bool:
    """Whether the arguments name no verb."""
    return not arguments or arguments[0] not in VERBS


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m smalt_scorer",
        description="Serves a model, or a score script, behind POST /score.",
        epilog="In a pod: `serve --contract` and `fetch`, each with a --help of its own.",
    )

    def option(name: str, azures: str | None = None, **more: object) -> None:
        made.add_argument(f"--{name}", f"--{azures or name.replace('-', '_')}", **more)  # type: ignore[arg-type]

    option("model-dir", help="what scripts find as AZUREML_MODEL_DIR")
    option("scoring-script", "entry_script", help="the score script; without one the model is served directly")
    made.add_argument("--host", default="127.0.0.1", help="0.0.0.0 to be asked from elsewhere")
    made.add_argument("--port", type=_port, default=PORT)
    option("health-port", type=_port, help="one more port, for probes")
    option("worker-count", type=_count, help="processes that score")
    made.add_argument(
        "--batching", choices=("Auto", "Off"), default="Auto", help="whether requests that wait are predicted together"
    )
    option(
        "ssl-certfile",
        type=Path,
        help="serve https with this certificate (PEM, with those between it and its authority)",
    )
    option("ssl-keyfile", type=Path, help="the certificate's key (PEM)")
    option("config-file", help="settings as JSON, instead of a config.json beside the script")
    option("access-control-allow-origins", help="origins whose pages may ask, separated by commas")
    made.add_argument("--termination-log", type=Path, default=LOG, help=argparse.SUPPRESS)
    return made


def log_of(arguments: Sequence[str]) -> Path:
    """Where a failure is told, before anything else is read."""
    return Path(parser().parse_args(arguments).termination_log)


def read(arguments: Sequence[str], environment: MutableMapping[str, str], here: Path) -> Laptop:
    """What is asked for; scripts find it in the environment too. Failure for what cannot be served."""
    options = parser().parse_args(arguments)
    environment["AML_APP_ROOT"] = environment.get("AML_APP_ROOT") or str(here)
    given = {
        "AZUREML_MODEL_DIR": options.model_dir and str((here / options.model_dir).resolve()),
        "AZUREML_ENTRY_SCRIPT": options.scoring_script and str((here / options.scoring_script).resolve()),
        "AZUREML_CONFIG_FILE": options.config_file and str((here / options.config_file).resolve()),
        "AML_CORS_ORIGINS": options.access_control_allow_origins,
        "WORKER_COUNT": options.worker_count and str(options.worker_count),
    }
    if options.health_port:
        given |= {"SEPERATE_HEALTH_ENDPOINT": "true", "HEALTH_PORT": str(options.health_port)}
    environment.update({name: value for name, value in given.items() if value})
    settings = azure_settings.read(environment, here)
    has_default = (settings.root / "main.py").is_file() and bool(
        options.config_file or not environment.get("AZUREML_MODEL_DIR")
    )
    serves_script = settings.entry_script is not None or has_default
    model_dir = environment.get("AZUREML_MODEL_DIR")
    if not serves_script and not model_dir:
        raise Failure("InternalError", "name a --model-dir, a --scoring-script, or both")
    if model_dir and not Path(model_dir).exists():
        raise Failure("InternalError", f"--model-dir is '{model_dir}', which does not exist: name the model's folder")
    return Laptop(
        settings,
        Path(model_dir) if model_dir else None,
        serves_script,
        options.host,
        options.port,
        options.termination_log,
        options.batching == "Auto",
        _certificate(options.ssl_certfile, options.ssl_keyfile, here),
    )


def _certificate(certificate: Path | None, key: Path | None, here: Path) -> tuple[Path, Path] | None:
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise Failure("CertificateInvalid", "name both --ssl-certfile and --ssl-keyfile, or neither")
    return here / certificate, here / key


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"'{text}' is no port: name one of 1 to 65535")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is no number of workers: name 1 or more")
    return int(text)
