"""Every command that README shows, run in README's order by a shell, as a reader would."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from demo.__main__ import install
from demo.kubectl import REPOSITORY, Kubectl
from support.readme import Block, inline_commands, of_language

Json = dict[str, Any]
PORT_FORWARD = re.compile(r"^(kubectl port-forward \S+ (\d+):\d+) &$", re.MULTILINE)
# A reader needs a moment to type the next line; a script must wait for the port instead.
WAIT_FOR_PORT = r"""\1 >/dev/null 2>&1 & for _ in $(seq 100); do (exec 3<>/dev/tcp/127.0.0.1/\2) 2>/dev/null && break; sleep 0.1; done"""
# What no reader's shell can run in the middle of README, and the test or fixture that runs it instead.
RUN_ELSEWHERE = {
    "make demo": "tests/e2e/test_readme.py::demo_was_run",
    "make test": "tests/unit/cluster/test_for_tests.py::test_make_test_is_refused_before_anything_is_touched",
    "make down": "tests/e2e/test_zz_cluster_life.py::test_down_leaves_nothing_and_up_works_again",
    "make images": "tests/unit/cluster/test_elsewhere.py::test_images_are_pushed_and_what_is_installed_names_them_there",
    "CLUSTER=current REGISTRY=registry.example/team make images": (
        "tests/unit/cluster/test_elsewhere.py::test_images_are_pushed_and_what_is_installed_names_them_there"
    ),
    "kubectl apply -k build/install": "tests/integration/test_samples.py::test_what_make_images_writes_is_taken",
    "kubectl apply -n <namespace> -k manifests/overlays/single-namespace": (
        "tests/integration/test_installation.py::test_the_installation_is_taken_by_the_api_server"
    ),
}


class Look(NamedTuple):
    """Something to look at between README's blocks: before the one that begins so, by this command."""

    before: str
    command: str


LOOKS = {
    "served": Look(
        "kubectl delete modeldeployment breast-cancer\n", "kubectl get models,serviceaccounts,modeldeployments -o json"
    ),
    "uninstalled": Look(
        "kubectl wait --for=condition=InUse=False models", "kubectl get smalt,persistentvolumeclaims -o name"
    ),
    "emptied": Look("kubectl delete -k manifests/", "kubectl get smalt,persistentvolumeclaims -o name"),
}


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
    # README ends with taking Smalt away, which other tests need.
    install(smalt)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_command_of_readme_works(demo_was_run: None, copy: Path, tmp_path: Path) -> None:
    shown = what_a_reader_types()
    looks = tmp_path / "looks"
    looks.mkdir()
    environment = {name: value for name, value in os.environ.items() if name not in ("KUBECONFIG", "PYTHONPATH")}
    process = subprocess.Popen(
        ["bash", "-c", script_of(shown)],
        cwd=copy,
        env=environment | {"LOOKS": str(looks)},
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
    what_was_changed_has_made_a_difference(json.loads((looks / "served").read_text())["items"])
    kept = ["model.smalt.dev/breast-cancer-1", "model.smalt.dev/breast-cancer-2", "model.smalt.dev/breast-cancer-3"]
    assert (looks / "uninstalled").read_text().split() == [*kept, "persistentvolumeclaim/quickstart-tracking"]
    assert (looks / "emptied").read_text() == ""


def what_was_changed_has_made_a_difference(objects: list[Json]) -> None:
    """Another script makes another model, another file is other data, and a pull secret that was added stays."""
    first, second, third = (one(objects, "Model", f"breast-cancer-{number}")["status"] for number in (1, 2, 3))
    assert second["artifact"]["digest"] != first["artifact"]["digest"]
    assert second["lineage"]["data"] == first["lineage"]["data"]
    assert third["lineage"]["data"]["train"] != second["lineage"]["data"]["train"]
    assert one(objects, "Deployment", "breast-cancer")["status"]["effectiveModel"] in (
        "breast-cancer-2",
        "breast-cancer-3",
    )
    for account in ("quickstart-run", "default"):
        assert {"name": "my-registry"} in one(objects, "ServiceAccount", account)["imagePullSecrets"]


def one(objects: list[Json], kind: str, name: str) -> Json:
    [found] = [each for each in objects if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


def what_a_reader_types() -> list[Block]:
    """README's blocks and the commands within its sentences, from top to bottom."""
    inline = [command for command in inline_commands() if command.text.strip() not in RUN_ELSEWHERE]
    return sorted([*of_language("sh"), *inline], key=lambda block: block.line)


def script_of(shown: list[Block]) -> str:
    """One shell for all, so that variables and port-forwards last, with the looks where they belong."""
    script = "set -eo pipefail\n"
    for block in shown:
        for name, look in LOOKS.items():
            if block.text.startswith(look.before):
                script += f'{look.command} > "$LOOKS/{name}"\n'
        script += f"echo '::: README line {block.line}'\n{PORT_FORWARD.sub(WAIT_FOR_PORT, block.text)}"
    return script


def end_session(leader: int) -> None:
    """Ends the shell's background port-forwards: they share its process group."""
    try:
        os.killpg(leader, signal.SIGTERM)
    except ProcessLookupError:
        return


def test_no_command_of_readme_is_shown_but_never_run() -> None:
    """Blocks without a language are shown only: each line is a command that another test or the demo runs."""
    plain = [line.split("#")[0].strip() for block in of_language("") for line in block.text.splitlines()]
    assert {line for line in plain if line} <= set(RUN_ELSEWHERE)


def test_what_is_run_elsewhere_is_shown_somewhere() -> None:
    plain = {line.split("#")[0].strip() for block in of_language("") for line in block.text.splitlines()}
    inline = {command.text.strip() for command in inline_commands()}
    assert set(RUN_ELSEWHERE) - plain - inline == set()


def test_commands_within_sentences_can_be_typed_as_they_are() -> None:
    assert [block.text for block in what_a_reader_types() if re.search(r"<\w|…", block.text)] == []


@pytest.mark.parametrize("place", sorted(set(RUN_ELSEWHERE.values())))
def test_what_runs_a_command_elsewhere_exists(place: str) -> None:
    path, _, name = place.partition("::")
    tree = ast.parse((REPOSITORY / path).read_text())
    assert name in {each.name for each in tree.body if isinstance(each, ast.FunctionDef)}


@pytest.mark.parametrize("name", LOOKS)
def test_each_look_has_its_place(name: str) -> None:
    assert script_of(what_a_reader_types()).count(f'"$LOOKS/{name}"') == 1
