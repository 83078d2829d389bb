"""Every command that README shows, run in README's order by a shell, as a reader would."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.kubectl import REPOSITORY, Kubectl
from support.readme import of_language

PORT_FORWARD = re.compile(r"^(kubectl port-forward \S+ (\d+):\d+) &$", re.MULTILINE)
# A reader needs a moment to type the next line; a script must wait for the port instead.
WAIT_FOR_PORT = r"""\1 >/dev/null 2>&1 & for _ in $(seq 100); do (exec 3<>/dev/tcp/127.0.0.1/\2) 2>/dev/null && break; sleep 0.1; done"""
# These are run by other means: the demo is what made the cluster, the tests are this run.
RUN_ELSEWHERE = {"make demo", "make test"}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """README's commands edit files: they get a copy of what git would hand out."""
    target = tmp_path / "smalt"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        source, destination = REPOSITORY / name, target / name
        if source.is_file():
            destination.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, destination)
    return target


@pytest.fixture
def demo_was_run(smalt: Kubectl, environment: dict[str, str]) -> Iterator[None]:
    """`make demo` a second time, on the cluster that is up; afterwards no quickstart is left."""
    finished = subprocess.run(["make", "demo"], cwd=REPOSITORY, capture_output=True, text=True, timeout=280)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert re.search(r"^prediction: ", finished.stdout, re.MULTILINE)
    yield
    Kubectl(environment, "quickstart")("delete", "namespace", "quickstart", "--ignore-not-found", "--wait=false")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_command_of_readme_works(demo_was_run: None, copy: Path) -> None:
    shown = of_language("sh")
    script = "set -eo pipefail\n" + "".join(
        f"echo '::: README line {block.line}'\n{PORT_FORWARD.sub(WAIT_FOR_PORT, block.text)}" for block in shown
    )
    environment = {name: value for name, value in os.environ.items() if name not in ("KUBECONFIG", "PYTHONPATH")}
    process = subprocess.Popen(
        ["bash", "-c", script],
        cwd=copy,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        printed, _ = process.communicate(timeout=800)
    finally:
        end_session(process.pid)
    assert process.returncode == 0, printed
    assert printed.count("::: README line") == len(shown)
    assert '"predictions"' in printed, "the laptop's prediction"


def end_session(leader: int) -> None:
    """Ends the shell's background port-forwards: they share its process group."""
    try:
        os.killpg(leader, signal.SIGTERM)
    except ProcessLookupError:
        return


def test_no_command_of_readme_is_shown_but_never_run() -> None:
    """Blocks without a language are shown only: each line is a command that another test or the demo runs."""
    plain = [line.split("#")[0].strip() for block in of_language("") for line in block.text.splitlines()]
    elsewhere = {
        *RUN_ELSEWHERE,
        "CLUSTER=current REGISTRY=registry.example/team make images",
        "kubectl apply -k manifests/",
    }
    assert {line for line in plain if line} == elsewhere
