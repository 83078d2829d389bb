"""Runs that go wrong on the real node: the condition names the cause and the next step, and nothing is lost."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from e2e.cluster_namespace import Json, Namespace, condition, shows, tracking

SMALL = {"resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}}}
ANOTHER_NAME = "under another name"


def workspace(name: str = "lab", **spec: Any) -> Json:
    types = {"instanceTypes": {"default": SMALL}}
    return {"apiVersion": "smalt.dev/v1alpha1", "kind": "Workspace", "metadata": {"name": name}, "spec": types | spec}


def experiment(name: str = "trials", of: str = "lab") -> Json:
    spec = {"workspace": of, "objective": {"primaryMetric": "auc", "goal": "maximize"}}
    return {"apiVersion": "smalt.dev/v1alpha1", "kind": "Experiment", "metadata": {"name": name}, "spec": spec}


def run(name: str, script: str, **spec: Any) -> Json:
    whole = {"experiment": "trials", "code": {"inline": {"train.py": script}}, "command": "python train.py"} | spec
    return {"apiVersion": "smalt.dev/v1alpha1", "kind": "TrainingRun", "metadata": {"name": name}, "spec": whole}


class Bad(NamedTuple):
    """A run that cannot succeed, the reason it must show, and the words a person needs."""

    sentence: str
    spec: dict[str, Any]
    script: str
    reason: str
    words: tuple[str, ...]


BAD = (
    Bad(
        "a script that raises",
        {},
        "x = {}\nprint('begin', flush=True)\nprint('{\"metric\": \"auc\", \"value\": 0.5}')\nx['churned']\n",
        "ScriptFailed",
        ("KeyError", "churned", ANOTHER_NAME),
    ),
    Bad("a script that exits 3", {}, "raise SystemExit(3)\n", "ScriptFailed", ("exit code 3", ANOTHER_NAME)),
    Bad(
        "a script that takes more memory than its limit",
        {},
        "hold = []\nwhile True:\n    hold.append(b'x' * (16 << 20))\n",
        "OutOfMemory",
        ("256Mi", "memory", "instance", ANOTHER_NAME),
    ),
    Bad(
        "a script that takes longer than its time-out",
        {"limits": {"timeout": "3s"}},
        "import time\nprint('working', flush=True)\ntime.sleep(600)\n",
        "TimedOut",
        ("3s", "limits.timeout", ANOTHER_NAME),
    ),
    Bad(
        "an input whose digest is another",
        {"inputs": {"train": {"type": "uriFile", "path": "configmap://rows/rows.csv", "digest": "sha256:" + "0" * 64}}},
        "print('must not start')\n",
        "DigestMismatch",
        ("train", "sha256:0000", ANOTHER_NAME),
    ),
    Bad(
        "an image that does not exist",
        {"environment": {"image": "smalt.invalid/nothing:1"}},
        "pass\n",
        "ImagePullFailed",
        ("smalt.invalid/nothing:1", "environment.image"),
    ),
    Bad(
        "a package that does not exist",
        {"environment": {"pip": ["smalt-no-such-package-anywhere==9.9"]}},
        "pass\n",
        "PackageNotFound",
        ("smalt-no-such-package-anywhere", ANOTHER_NAME),
    ),
    Bad(
        "an environment for another Python",
        {"environment": {"conda": "dependencies:\n- python=3.6\n"}},
        "pass\n",
        "PythonMismatch",
        ("3.6", "environment.image"),
    ),
    Bad(
        "an output that was never written",
        {"outputs": {"model": {"type": "customModel"}}},
        "print('forgot to save')\n",
        "OutputMissing",
        ("model", "${{outputs.model}}", ANOTHER_NAME),
    ),
    Bad(
        "an instance type that nobody defined",
        {"instanceType": "gpu"},
        "pass\n",
        "UnknownInstanceType",
        ("gpu", "default", "lab"),
    ),
    Bad(
        "a placeholder that names nothing",
        {"command": "python train.py --data ${{inputs.trian}}"},
        "pass\n",
        "InvalidCommand",
        ("inputs.trian", ANOTHER_NAME),
    ),
)


def name_of(bad: Bad) -> str:
    return re.sub(r"[^a-z0-9]+", "-", bad.sentence)[:40].strip("-")


@pytest.fixture(scope="module")
def lab(shared: Namespace) -> Iterator[Namespace]:
    """One workspace, with all bad runs applied at once: they wait beside each other instead of in a row."""
    rows = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "rows"}, "data": {"rows.csv": "a,b\n1,2\n"}}
    shared.apply(workspace(), experiment(), rows)
    shared.ready("experiment", "trials", 180)
    shared.apply(*(run(name_of(bad), bad.script, **bad.spec) for bad in BAD), run("not-a-number", NAN))
    yield shared


NAN = "import mlflow\nmlflow.log_metric('auc', float('nan'))\nmlflow.log_metric('accuracy', 0.5)\n"


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.sentence)
def test_says_what_is_wrong_and_what_to_do(lab: Namespace, bad: Bad) -> None:
    found = lab.until(
        "trainingrun", name_of(bad), lambda it: condition(it, "Ready").get("reason") == bad.reason, seconds=180
    )
    ready = condition(found, "Ready")
    assert ready["status"] == "False"
    for word in bad.words:
        assert word in ready["message"], ready["message"]
    shows(lab, "trainingrun", name_of(bad), ready["message"])
    assert lab("get", "trainingrun", name_of(bad), "-o", "jsonpath={.spec.command}"), "the spec is as the user wrote it"


def test_a_metric_that_is_not_a_number_is_named_and_the_run_stands(lab: Namespace) -> None:
    found = lab.ready("trainingrun", "not-a-number", 180)
    assert found["status"]["metrics"] == {"accuracy": 0.5}
    message = condition(found, "Ready")["message"]
    assert "auc" in message and "NaN" in message and "MLflow" in message
    shows(lab, "trainingrun", "not-a-number", message)


def test_what_a_failed_run_logged_printed_and_ran_is_kept(lab: Namespace) -> None:
    status = lab.stalled("trainingrun", name_of(BAD[0]), 180)["status"]
    assert status["metrics"] == {"auc": 0.5}
    assert status["digests"]["code"].startswith("sha256:")
    run_id = status["tracking"]["runId"]
    experiment_id = status["tracking"]["url"].split("/")[3]
    kept = f"api/2.0/mlflow-artifacts/artifacts/{experiment_id}/{run_id}/artifacts"
    with tracking(lab, "lab") as ask:
        found = json.loads(ask(f"api/2.0/mlflow/runs/get?run_id={run_id}"))["run"]
        assert found["info"]["status"] == "FAILED"
        logged = {each["key"]: each["value"] for each in found["data"]["metrics"]}
        assert {key: value for key, value in logged.items() if not key.startswith("system/")} == {"auc": 0.5}
        assert "begin" in ask(f"{kept}/logs/stdout.txt")
        assert "KeyError: 'churned'" in ask(f"{kept}/logs/stderr.txt")
        assert "x['churned']" in ask(f"{kept}/code/train.py")


def test_a_run_waits_for_its_workspace_and_then_runs(namespace: Namespace) -> None:
    namespace.apply(experiment(), run("early", "print('hello')\n"))
    waiting = namespace.until("trainingrun", "early", lambda it: bool(condition(it, "Ready")))
    assert "lab" in condition(waiting, "Ready")["message"] or "trials" in condition(waiting, "Ready")["message"]
    assert "lab" in condition(namespace.get("experiment", "trials"), "Ready")["message"]
    namespace.apply(workspace())
    namespace.ready("trainingrun", "early", 180)


def test_a_full_quota_is_named_and_mending_it_lets_the_run_go_on(lab: Namespace) -> None:
    used = len(lab.get("pods")["items"])
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}, "spec": {"hard": {"pods": "0"}}}
    assert used > 0
    lab.apply(quota)
    lab.until("resourcequota", "few", lambda it: "hard" in it.get("status", {}))
    lab.apply(run("quota", "print('at last')\n"))
    found = lab.until("trainingrun", "quota", lambda it: condition(it, "Ready").get("reason") == "QuotaExceeded", 60)
    message = condition(found, "Ready")["message"]
    assert "few" in message and "goes on" in message
    shows(lab, "trainingrun", "quota", message)
    lab("delete", "resourcequota", "few")
    lab.ready("trainingrun", "quota", 180)


def test_without_a_default_storage_class_the_workspace_says_so_and_recovers(namespace: Namespace) -> None:
    classes = namespace.get("storageclasses")["items"]
    default = "storageclass.kubernetes.io/is-default-class"
    marked = [
        each["metadata"]["name"] for each in classes if each["metadata"].get("annotations", {}).get(default) == "true"
    ]
    assert marked
    for each in marked:
        namespace("annotate", "storageclass", each, f"{default}=false", "--overwrite")
    try:
        namespace.apply(workspace())
        found = namespace.stalled("workspace", "lab")
        ready = condition(found, "Ready")
        assert ready["reason"] == "NoStorageClass"
        assert "storageClassName" in ready["message"] and "default" in ready["message"]
        shows(namespace, "workspace", "lab", ready["message"])
    finally:
        for each in marked:
            namespace("annotate", "storageclass", each, f"{default}=true", "--overwrite")
    namespace.ready("workspace", "lab", 180)


def test_a_missing_config_map_is_waited_for(lab: Namespace) -> None:
    spec = run("config-map", "", code={"configMap": "later"})
    lab.apply(spec)
    found = lab.until(
        "trainingrun", "config-map", lambda it: condition(it, "Ready").get("reason") == "WaitingForConfigMap"
    )
    assert "later" in condition(found, "Ready")["message"]
    later = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "later"}, "data": {"train.py": "print(1)\n"}}
    lab.apply(later)
    lab.ready("trainingrun", "config-map", 180)
