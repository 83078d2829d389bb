"""Whatever users write, none of it stands where the kubelet or a shell would expand it: golden, and looked for in words."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from smalt.api.kinds import CLAIM, DEPLOYMENT, SECRET, TRAINING_RUN, WORKSPACE, Kind
from smalt.builders import scoring, training_job
from smalt.engine.applier import wanted
from smalt.reconcilers.registry import RECONCILERS
from smalt.reconcilers.world import Read
from support.resources import (
    NAMESPACE,
    NOW,
    SETTINGS,
    deployment,
    experiment,
    model,
    resource,
    run,
    store_of,
    workspace,
)

Json = dict[str, Any]
Golden = Callable[[str, list[Json]], None]
VALUES = {
    "expansion": "$(HOME) MARK",
    "doubled": "$$(HOME) $$ MARK",
    "backticks": "`touch MARK`",
    "substitution": "$(touch MARK)",
    "quotes": "'\"; touch MARK; \"'",
    "lines": "one\nMARK\r\n\ttwo\\",
    "braces": "${HOME} {{MARK}} %s",
    "unicode": "MARK ä 😀 \u2028 \x7f",
}
ALL = " ".join(VALUES.values())


def hostile_run(value: str) -> Json:
    return run(
        command=f"echo {value}",
        code={"inline": {"train.py": value, "conda.yml": value}},
        environmentVariables={"V": value},
        parameters={"p": value},
        environment={"conda": value},
        inputs={
            "bucket": {"type": "uriFile", "path": f"s3://data/{value}", "credentialsSecret": "s3-login"},
            "web": {"type": "uriFile", "path": f"https://data.example/{value}"},
            "volume": {"type": "uriFolder", "path": f"pvc://data/{value}", "unpack": True},
        },
    )


def hostile_deployment(value: str) -> Json:
    return deployment(
        codeConfiguration={"code": {"inline": {"score.py": value}}, "scoringScript": "score.py"},
        environment={"pip": [value]},
        environmentVariables={"V": value},
    )


def children(kind: Kind, it: Json, at: Json | None = None) -> list[Json]:
    store = store_of(it, at or workspace(), experiment(), model())
    live = {Read(SECRET, NAMESPACE, "lab-tracking"): resource(SECRET, "lab-tracking")}
    live[Read(CLAIM, NAMESPACE, "data")] = resource(CLAIM, "data", {}, {"phase": "Bound"})
    return [wanted(it, child) for child in RECONCILERS[kind].plan(it, store, live, NOW, SETTINGS).apply]


def one(manifests: list[Json], kind: str) -> Json:
    (found,) = [each for each in manifests if each["kind"] == kind]
    return found


def containers(manifest: Json) -> Iterator[Json]:
    pod = manifest["spec"]["template"]["spec"]
    yield from (*pod.get("initContainers", []), *pod["containers"])


def expanded_by_the_kubelet(manifest: Json) -> Iterator[str]:
    for each in containers(manifest):
        yield from each.get("command", [])
        yield from each.get("args", [])
        yield from (variable["value"] for variable in each.get("env", []) if "value" in variable)


CASES = {
    "run": (TRAINING_RUN, hostile_run, "Job", training_job.ANNOTATION),
    "deployment": (DEPLOYMENT, hostile_deployment, "Deployment", scoring.ANNOTATION),
}
each_case = pytest.mark.parametrize("case", CASES)


@each_case
def test_hostile_values_travel_in_the_one_annotation(case: str, golden: Golden) -> None:
    kind, made, *_ = CASES[case]
    golden(f"hostile_{case}", children(kind, made(ALL)))


@each_case
@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES.keys())
def test_nothing_of_a_value_stands_anywhere_else(case: str, value: str) -> None:
    kind, made, child, annotation = CASES[case]
    manifests = children(kind, made(value))
    template = one(manifests, child)["spec"]["template"]
    read = json.loads(template["metadata"]["annotations"].pop(annotation))
    assert read["environmentVariables"] == {"V": value} and value in read["code"]["inline"].values()
    assert "MARK" not in json.dumps(manifests)


@each_case
def test_what_is_left_for_the_kubelet_has_nothing_to_expand(case: str) -> None:
    kind, made, child, _ = CASES[case]
    texts = list(expanded_by_the_kubelet(one(children(kind, made(ALL)), child)))
    assert texts and not any("$" in text or "`" in text for text in texts)


@each_case
def test_values_change_the_annotations_and_nothing_else(case: str) -> None:
    kind, made, child, annotation = CASES[case]
    pods = []
    for value in ("harmless", ALL):
        manifest = copy.deepcopy(one(children(kind, made(value)), child))
        template = manifest["spec"]["template"]
        for name in (annotation, scoring.CONTENTS_ANNOTATION):
            template["metadata"]["annotations"].pop(name, None)
        pods.append(template)
    assert pods[0] == pods[1]


INDEX = "https://user:$(TOKEN)$$x`y`@packages.example/simple"


@each_case
def test_the_administrators_index_is_a_variable_with_every_dollar_doubled(case: str) -> None:
    kind, made, child, _ = CASES[case]
    at = workspace({"packages": {"indexUrl": INDEX}})
    found = [
        each["value"]
        for container in containers(one(children(kind, made("x"), at), child))
        for each in container.get("env", [])
        if each["name"] in ("PIP_INDEX_URL", "UV_DEFAULT_INDEX")
    ]
    doubled = INDEX.replace("$", "$$")
    assert sorted(set(found)) == [doubled, f"smalt={doubled}"]


def test_a_workspaces_values_reach_no_command_argument_or_variable_of_its_server() -> None:
    spec = {
        "storage": {"size": "1Gi", "storageClassName": "MARK"},
        "packages": {"indexUrl": f"https://MARK.example/{ALL}"},
        "trustBundle": {"configMap": "MARK"},
        "instanceTypes": {"default": {"nodeSelector": {"MARK": "$(MARK)"}}},
    }
    server = one(children(WORKSPACE, workspace(spec)), "Deployment")["spec"]["template"]["spec"]["containers"][0]
    assert "MARK" not in json.dumps([server.get(part) for part in ("command", "args", "env")])
