"""kubectl as the demo uses it: the program and kubeconfig of the cluster chosen by CLUSTER."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]


class CommandFailed(RuntimeError):
    """A command ended with an error; the text is what it said."""


def cluster(*arguments: str, show: bool = False) -> str:
    """`python3 -m cluster …`; what it printed, unless that is to be shown as it comes."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "tests")}
    command = [sys.executable, "-m", "cluster", *arguments]
    pipe = None if show else subprocess.PIPE
    finished = subprocess.run(command, cwd=REPOSITORY, check=True, env=environment, stdout=pipe, text=True)
    return finished.stdout or ""


def cluster_environment() -> dict[str, str]:
    """The process environment with PATH and KUBECONFIG of the cluster, as `python3 -m cluster env` prints them."""
    printed = cluster("env")
    environment = dict(os.environ)
    for line in printed.splitlines():
        words = shlex.split(line, comments=True)
        if len(words) == 2 and words[0] == "export":
            name, _, value = words[1].partition("=")
            environment[name] = value.replace("$PATH", os.environ["PATH"])
    return environment


class Kubectl:
    """Runs kubectl in one namespace and gives back what it printed."""

    def __init__(self, environment: dict[str, str], namespace: str) -> None:
        self.environment = environment
        self.namespace = namespace

    def __call__(self, *arguments: str, stdin: str | None = None) -> str:
        finished = subprocess.run(
            ["kubectl", "-n", self.namespace, *arguments],
            env=self.environment,
            cwd=REPOSITORY,
            input=stdin,
            capture_output=True,
            text=True,
        )
        if finished.returncode != 0:
            raise CommandFailed(
                f"kubectl {shlex.join(arguments)}\n{finished.stderr.strip() or finished.stdout.strip()}"
            )
        return finished.stdout

    def get(self, *arguments: str) -> Any:
        """The object or list as JSON."""
        return json.loads(self("get", *arguments, "-o", "json"))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """A kubectl that stays, such as port-forward; the caller ends it."""
        return subprocess.Popen(
            ["kubectl", "-n", self.namespace, *arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
