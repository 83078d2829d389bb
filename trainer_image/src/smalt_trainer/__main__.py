"""The command line: `run` a training run, `fetch` what it needs from elsewhere, `install` the tools for another image,
make an `environment`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Optional, Sequence

from smalt_trainer import __version__
from smalt_trainer.credentials import answer_git
from smalt_trainer.fetching import run_fetch
from smalt_trainer.install import install_tools
from smalt_trainer.places import Places
from smalt_trainer.scoring_environment import make_environment
from smalt_trainer.training import run_training


def _places(variables: dict[str, str]) -> Places:
    """The pod's places; a run outside a pod names a folder of its own for all of them."""
    root = variables.get("SMALT_ROOT")
    if not root:
        return Places()
    groups = Path(variables.get("SMALT_CONTROL_GROUPS", "/sys/fs/cgroup"))
    return Places(Path(root), Path(root) / "termination-log", groups)


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Parse and do; the exit code."""
    parser = argparse.ArgumentParser(prog="smalt_trainer", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run the training run described by a contract")
    run.add_argument("--contract", type=Path, help="the run's JSON; default /smalt/run/run.json")
    fetch = commands.add_parser("fetch", help="bring what a contract names from elsewhere, before its run")
    fetch.add_argument("--contract", type=Path, help="the run's JSON; default /smalt/run/run.json")
    helper = commands.add_parser("git-credential", help="git's credential helper, over the files of a mounted Secret")
    helper.add_argument("folder", type=Path)
    helper.add_argument("operation")
    install = commands.add_parser("install", help="copy this package and uv into a folder")
    install.add_argument("into", type=Path)
    environment = commands.add_parser("environment", help="make the environment a scoring contract asks for")
    environment.add_argument("--from", dest="source", type=Path, required=True, help="JSON with a key `environment`")
    environment.add_argument("--into", type=Path, required=True)
    environment.add_argument("--code", type=Path, help="the folder that holds environment.condaFile")
    options = parser.parse_args(arguments)
    places = _places(dict(os.environ))
    if options.command == "run":
        return run_training(places, options.contract)
    if options.command == "fetch":
        return run_fetch(places, options.contract)
    if options.command == "git-credential":
        return answer_git(options.folder, options.operation)
    if options.command == "install":
        install_tools(options.into)
        return 0
    return make_environment(options.source, options.into, options.code, places.termination)


if __name__ == "__main__":
    sys.exit(main())
