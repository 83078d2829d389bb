"""Every field with every hostile value: refused with the field's name, or harmless in all that is made of it."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator
from typing import Any

import pytest

from smalt.api.kinds import TRAINING_RUN, WORKSPACE, Kind
from smalt.builders import training_job
from smalt.engine.applier import wanted
from smalt.reconcilers.registry import RECONCILERS
from smalt.reconcilers.world import Live, LiveRead, Read
from smalt_trainer.contract import parse_contract
from support.controlplane import ControlPlane
from support.hostile import MARK, Field, fields, with_value
from support.resources import NAMESPACE, NOW, SETTINGS, experiment, ready, resource, store_of, workspace
from support.rest import RequestRefused, Rest

Json = dict[str, Any]
INLINE: Json = {"inline": {"train.py": "pass"}}
RUN: Json = {"experiment": "trials", "code": INLINE, "command": "python train.py"}
# A field that stands beside others of which only one may be there, or that is of no use alone.
RUNS = {
    "code.git": RUN | {"code": {"git": {"url": "https://git.example/churn", "revision": "main"}}},
    "code.url": RUN | {"code": {"url": "https://data.example/code.zip"}},
    "code.digest": RUN | {"code": {"url": "https://data.example/code.zip"}},
    "code.path": RUN | {"code": {"url": "https://data.example/code.zip"}},
    "code.credentialsSecret": RUN | {"code": {"url": "https://data.example/code.zip"}},
    "code.configMap": RUN | {"code": {}},
    "environment.pip.[]": RUN | {"environment": {"pip": ["pandas"]}},
    "inputs.*": RUN | {"inputs": {"k": {"type": "uriFile", "path": "https://data.example/rows.csv"}}},
    "inputs.*.path": RUN | {"inputs": {"k": {"type": "uriFile", "path": "pvc://data/rows.csv"}}},
    "outputs.*": RUN | {"outputs": {"k": {"type": "customModel"}}},
    "register": RUN | {"outputs": {"model": {"type": "customModel"}}, "register": {"model": "churn", "from": "model"}},
}
STAGED: Json = {"metric": "auc", "atLeast": {"model": "churn", "stage": "Staging"}}
GATES: dict[str, Json] = {
    "metric": {"metric": "auc", "min": 0.8},
    "min": {"metric": "auc", "min": 0.8},
    "max": {"metric": "auc", "max": 0.8},
    "atLeast": STAGED,
    "atMost": {"metric": "auc", "atMost": {"model": "churn", "stage": "Staging"}},
    "atLeast.version": {"metric": "auc", "atLeast": {"model": "churn", "version": 1}},
    "atMost.version": {"metric": "auc", "atMost": {"model": "churn", "version": 1}},
    "tolerance": STAGED,
    "data": STAGED | {"data": "test"},
}
RUNS |= {
    f"register.gates.[].{name}": RUNS["register"] | {"register": {"model": "churn", "from": "model", "gates": [gate]}}
    for name, gate in GATES.items()
}
S3 = {"url": "s3://data/lab", "credentialsSecret": "s3"}
WORKSPACES: dict[str, Json] = {
    "storage.url": {"storage": S3},
    "storage.credentialsSecret": {"storage": S3},
    "tracking.external": {"tracking": {"external": {"uri": "https://mlflow.example", "credentialsSecret": "mlflow"}}},
    "packages": {"packages": {"indexUrl": "https://packages.example/simple"}},
    "images": {
        "images": {"registry": "registry.example/team", "dockerHost": "tcp://docker.build:2376", "tlsSecret": "tls"}
    },
    "instanceTypes.*.tolerations.[].value": {
        "instanceTypes": {"k": {"tolerations": [{"key": "gpu", "operator": "Equal"}]}}
    },
    "instanceTypes.*.tolerations": {"instanceTypes": {"k": {"tolerations": [{"key": "gpu", "operator": "Exists"}]}}},
    "instanceTypes.*": {"instanceTypes": {"k": {"resources": {"limits": {"memory": "1Gi"}}}}},
}
BASES: dict[str, dict[str, Json]] = {"trainingruns": RUNS, "workspaces": WORKSPACES}
PLAIN: dict[str, Json] = {"trainingruns": RUN, "workspaces": {}}
KINDS = {"trainingruns": TRAINING_RUN, "workspaces": WORKSPACE}
CASES = [pytest.param(plural, field, id=f"{plural}: {field.name}") for plural in KINDS for field in fields(plural)]


@pytest.fixture(scope="module")
def rest(plane: ControlPlane) -> Rest:
    plane.kubectl("create", "namespace", "hostile")
    return Rest(plane.kubeconfig, "hostile")


@pytest.mark.parametrize(("plural", "field"), CASES)
def test_every_hostile_value_is_refused_by_name_or_harmless(rest: Rest, plural: str, field: Field) -> None:
    base = _base(plural, field)
    values = list(field.values(base))
    assert values
    for word, value in values:
        spec = with_value(base, field.path, value)
        where = f"{field.name} is {word}"
        try:
            stored = rest.apply(plural, _named(KINDS[plural], "first", spec), dry_run=True)
        except RequestRefused as refusal:
            assert _names(str(refusal), field), f"{where}: the refusal does not name it: {str(refusal)[:600]}"
            continue
        it = resource(KINDS[plural], "first" if plural == "trainingruns" else "lab", stored["spec"])
        status = _is_harmless(KINDS[plural], it, where)
        _recovers(KINDS[plural], PLAIN[plural], status, where)


def _names(refusal: str, field: Field) -> bool:
    """As the last part of a path, or as the subject of a rule's sentence; words such as `type` and `value` stand in every one."""
    message = refusal.partition('"message":"')[2].partition('","reason"')[0]
    return bool(re.search(rf"(\.|Invalid value: |\ba ){re.escape(field.named)}\b", message))


def _base(plural: str, field: Field) -> Json:
    """The good spec with the longest path that the field lies below."""
    fitting = [path for path in BASES[plural] if f"{field.name}.".startswith(f"{path}.")]
    return BASES[plural][max(fitting, key=len)] if fitting else PLAIN[plural]


def _named(kind: Kind, name: str, spec: Json) -> Json:
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": name}, "spec": spec}


def _is_harmless(kind: Kind, it: Json, where: str) -> Json | None:
    """Nothing that is made of it is dangerous; what is not made is explained. The status that is written."""
    at = it if kind is WORKSPACE else workspace()
    store = store_of(*([] if kind is WORKSPACE else [it]), at | {"status": at.get("status") or ready()}, experiment())
    reads = RECONCILERS[kind].reads(it, store, NOW)
    plan = RECONCILERS[kind].plan(it, store, _everything(reads), NOW, SETTINGS)
    made = [wanted(it, child) for child in plan.apply]
    for manifest in made:
        _is_safe(manifest, where)
    if not made and plan.status is not None:
        (said,) = [each for each in plan.status["conditions"] if each["type"] == "Ready"]
        assert said["status"] == "True" or said["message"], f"{where}: nothing is made, and nothing said"
    return plan.status


def _everything(reads: tuple[LiveRead, ...]) -> Live:
    """A cluster in which all that is named is there."""
    return {
        each: resource(each.kind, each.name, {}, {"phase": "Bound"}) | {"data": {}}
        if isinstance(each, Read)
        else {"items": []}
        for each in reads
    }


def _is_safe(manifest: Json, where: str) -> None:
    assert manifest["metadata"]["namespace"] == NAMESPACE, where
    pod = manifest.get("spec", {}).get("template", {}).get("spec")
    if pod is None:
        return
    for each in (*pod.get("initContainers", []), *pod["containers"]):
        for text in (*each.get("command", []), *each.get("args", [])):
            assert MARK not in text and "$" not in text, f"{where}: {each['name']} runs {text!r}"
        for variable in each.get("env", []):
            left = variable.get("value", "").replace("$$", "")
            assert "$(" not in left, f"{where}: the kubelet would expand {variable}"
        for mounted in each.get("volumeMounts", []):
            assert ".." not in mounted["mountPath"].split("/") and "subPath" not in mounted, f"{where}: {mounted}"
    assert not any("hostPath" in volume for volume in pod["volumes"]), where
    contract = manifest["spec"]["template"]["metadata"].get("annotations", {}).get(training_job.ANNOTATION)
    if contract is not None:
        for path in _read_by_the_pod(json.loads(contract)):
            assert posixpath.normpath(path).startswith("/smalt/mounts/"), f"{where}: the pod would read {path}"


def _read_by_the_pod(contract: Json) -> Iterator[str]:
    """The wrapper takes the contract, and what it finds there of paths stays in the run's own folders."""
    read = parse_contract(contract)
    yield from (each.mount for each in read.inputs.values() if each.mount)
    for name in read.inline_code or {}:
        assert not name.startswith("/") and ".." not in name.split("/"), name
    for name in (*read.outputs, *read.inputs):
        assert name.replace("_", "a").isalnum(), name


def _recovers(kind: Kind, good: Json, status: Json | None, where: str) -> None:
    """A good spec after it: what was said of the bad one is not said any more."""
    it = resource(kind, "lab" if kind is WORKSPACE else "first", good, status, generation=2)
    store = store_of(*([it] if kind is WORKSPACE else [it, workspace()]), experiment())
    if kind is TRAINING_RUN and (status or {}).get("completionTime"):
        return  # a run is a record: the good spec goes under another name
    reads = RECONCILERS[kind].reads(it, store, NOW)
    plan = RECONCILERS[kind].plan(it, store, _everything(reads), NOW, SETTINGS)
    assert plan.apply, f"{where}: with a good spec again nothing is made"
    assert plan.status is not None and not any(
        each["type"] == "Stalled" and each["status"] == "True" for each in plan.status["conditions"]
    ), f"{where}: with a good spec again it is still stalled: {plan.status}"
