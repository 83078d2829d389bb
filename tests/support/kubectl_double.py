"""A program that answers as kubectl does for one namespace of a cluster that is a folder, for commands that call kubectl.

It is written to a folder for PATH. What it knows lies in `cluster.json`: objects by kind and name, what is forbidden,
and the port behind each Service, to which `port-forward` really forwards; `breaks` ends a forward after so many bytes.
"""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path
from typing import Any

Json = dict[str, Any]
PROGRAM = """#!{python}
import json, pathlib, sys
sys.path.insert(0, {tests!r})
from support.kubectl_double import main
sys.exit(main(pathlib.Path({folder!r}) / "cluster.json", sys.argv[1:]))
"""


class Cluster:
    """The folder; its `bin` belongs on PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state: Json = {"context": "team-a", "objects": {}, "forbidden": [], "services": {}, "breaks": []}
        program = folder / "bin/kubectl"
        program.parent.mkdir(parents=True)
        tests = str(Path(__file__).resolve().parents[1])
        program.write_text(PROGRAM.format(python=sys.executable, tests=tests, folder=str(folder)))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        self.write()

    def write(self, **changes: Any) -> None:
        self.state.update(changes)
        (self.folder / "cluster.json").write_text(json.dumps(self.state))

    def add(self, kind: str, name: str, **fields: Any) -> None:
        self.state["objects"].setdefault(kind, {})[name] = {"metadata": {"name": name}, **fields}
        self.write()


def main(file: Path, arguments: list[str]) -> int:
    """One call of the program."""
    state = json.loads(file.read_text())
    namespace = state["context"]
    if arguments[:1] == ["-n"]:
        namespace, arguments = arguments[1], arguments[2:]
    if arguments[0] == "config":
        print(state["context"], end="")
        return 0
    if arguments[0] == "get":
        return _get(state, namespace, arguments[1:])
    if arguments[0] == "port-forward":
        return _forward(file, state, arguments[-2], arguments[-1])
    print(f"error: unknown command {arguments}", file=sys.stderr)
    return 1


def _get(state: Json, namespace: str, arguments: list[str]) -> int:
    kind, names = arguments[0], [each for each in arguments[1:] if each not in ("-o", "json")]
    if kind in state["forbidden"]:
        print(f'Error from server (Forbidden): {kind} is forbidden: User "ann" cannot get it', file=sys.stderr)
        return 1
    if kind not in state["objects"] and kind != "secret":
        print(f'error: the server doesn\'t have a resource type "{kind}"', file=sys.stderr)
        return 1
    found = state["objects"].get(kind, {})
    if namespace != "team-a":
        found = {}
    if not names:
        print(json.dumps({"items": list(found.values())}))
        return 0
    if names[0] not in found:
        print(f'Error from server (NotFound): {kind} "{names[0]}" not found', file=sys.stderr)
        return 1
    print(json.dumps(found[names[0]]))
    return 0


def _forward(file: Path, state: Json, target: str, ports: str) -> int:
    from support.breaking_proxy import BreakingProxy

    if "pods/portforward" in state["forbidden"]:
        print('error: pods "x" is forbidden: User "ann" cannot create resource "pods/portforward"', file=sys.stderr)
        return 1
    if target not in state["services"]:
        print(f'Error from server (NotFound): services "{target}" not found', file=sys.stderr)
        return 1
    cut = state["breaks"][:1]
    file.write_text(json.dumps(state | {"breaks": state["breaks"][1:]}))
    with BreakingProxy(state["services"][target], [], [*cut]) as proxy:
        print(f"Forwarding from 127.0.0.1:{proxy.port} -> {ports.lstrip(':')}", flush=True)
        # As kubectl does when the connection to the pod is lost.
        proxy.broken.wait()
        print("error: lost connection to pod", file=sys.stderr)
        return 1
