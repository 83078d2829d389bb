"""The command line: `run` a training run and `record` it, `fetch` what it needs from elsewhere, `install` the tools for
another image, make an `environment`, do a step of a model's `registration`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Callable, Optional, Sequence

from smalt_trainer import __version__
from smalt_trainer.places import Places


def _places(variables: dict[str, str], command: str) -> Places:
    """The pod's places; a run outside a pod names a folder of its own for all of them."""
    root = variables.get("SMALT_ROOT")
    if not root:
        return Places()
    groups = Path(variables.get("SMALT_CONTROL_GROUPS", "/sys/fs/cgroup"))
    words = "recorder-termination-log" if command == "record" else "termination-log"
    return Places(Path(root), Path(root) / words, groups)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="smalt_trainer", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run the training run described by a contract")
    run.add_argument("--contract", type=Path, help="the run's JSON; default /smalt/run/run.json")
    record = commands.add_parser("record", help="store what the training run beside it logs, prints and leaves")
    record.add_argument("--contract", type=Path, help="the run's JSON; default /smalt/run/run.json")
    fetch = commands.add_parser("fetch", help="bring what a contract names from elsewhere, before its run")
    fetch.add_argument("--contract", type=Path, help="the run's JSON; default /smalt/run/run.json")
    fetch.add_argument("--announce", type=int, help="the port at which to tell how it goes")
    helper = commands.add_parser("git-credential", help="git's credential helper, over the files of a mounted Secret")
    helper.add_argument("folder", type=Path)
    helper.add_argument("operation")
    install = commands.add_parser("install", help="copy this package and uv into a folder")
    install.add_argument("into", type=Path)
    environment = commands.add_parser("environment", help="make the environment that a contract asks for")
    environment.add_argument("--from", dest="source", type=Path, required=True, help="JSON with a key `environment`")
    environment.add_argument("--into", type=Path, required=True)
    environment.add_argument("--cache", type=Path, help="a folder that keeps packages for others")
    environment.add_argument("--announce", type=int, help="the port at which to tell how it goes")
    image = commands.add_parser("build-image", help="build the image of an environment that lies there already")
    image.add_argument("--contract", type=Path, help="the run's JSON; default /smalt/run/run.json")
    image.add_argument("--announce", type=int, help="the port at which to tell how it goes")
    registration = commands.add_parser("registration", help="one step of a model's registration")
    registration.add_argument("step", choices=("source", "environment", "convert", "register"))
    registration.add_argument("--contract", type=Path, default=Path("/smalt/registration/registration.json"))
    registration.add_argument("--source", type=Path, default=Path("/smalt/source"), help="what `source` has left")
    registration.add_argument(
        "--converted", type=Path, default=Path("/smalt/converted"), help="what `convert` has left"
    )
    registration.add_argument(
        "--environment", type=Path, default=Path("/smalt/environment"), help="what `environment` has left"
    )
    registration.add_argument("--cache", type=Path, help="a folder that keeps packages for others")
    registration.add_argument("--into", type=Path, help="where this step leaves its files")
    return parser


# What each command imports, it imports when it is wanted: each container needs its own part, and a run begins the sooner.


def _run(options: argparse.Namespace, places: Places) -> int:
    from smalt_trainer.training import run_training

    return run_training(places, options.contract)


def _record(options: argparse.Namespace, places: Places) -> int:
    from smalt_trainer.recorder import run_recorder

    return run_recorder(places, options.contract)


def _fetch(options: argparse.Namespace, places: Places) -> int:
    from smalt_trainer.fetching import run_fetch

    return run_fetch(places, options.contract, options.announce)


def _build_image(options: argparse.Namespace, places: Places) -> int:
    from smalt_trainer.image_building import run_image_building

    return run_image_building(places, options.contract, options.announce)


def _git_credential(options: argparse.Namespace, _places: Places) -> int:
    from smalt_trainer.credentials import answer_git

    return answer_git(options.folder, options.operation)


def _registration(options: argparse.Namespace, places: Places) -> int:
    from smalt_trainer.registration.command import Folders, run_step

    folders = Folders(options.source, options.converted, options.into, options.environment, options.cache)
    return run_step(options.step, options.contract, folders, places.termination)


def _install(options: argparse.Namespace, _places: Places) -> int:
    from smalt_trainer.install import install_tools

    install_tools(options.into)
    return 0


def _environment(options: argparse.Namespace, places: Places) -> int:
    from smalt_trainer.preparing import Preparing, make_environment

    code = places.root / "fetched/code"
    told = Preparing(options.source, options.into, places.termination, code, options.cache, options.announce)
    return make_environment(told)


_COMMANDS: dict[str, Callable[[argparse.Namespace, Places], int]] = {
    "run": _run,
    "record": _record,
    "fetch": _fetch,
    "git-credential": _git_credential,
    "install": _install,
    "environment": _environment,
    "build-image": _build_image,
    "registration": _registration,
}


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Parse and do; the exit code."""
    options = _parser().parse_args(arguments)
    return _COMMANDS[options.command](options, _places(dict(os.environ), options.command))


if __name__ == "__main__":
    sys.exit(main())
