"""An earlier result is offered for the same again, and for nothing else."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from smalt.api.kinds import CONFIG_MAP
from smalt.api.training_run import TrainingRunSpec
from smalt.builders.training_job import REQUEST_ANNOTATION
from smalt.reconcilers import reuse
from smalt.reconcilers import training_run as reconciler
from smalt.reconcilers.world import Read
from support.resources import (
    DIGEST,
    NAMESPACE,
    NOW,
    REGISTERING,
    SETTINGS,
    completed,
    ended,
    experiment,
    finished_run,
    job,
    model,
    pod,
    resource,
    run,
    said,
    store_of,
    workspace,
)

Json = dict[str, Any]
PINNED: Json = {
    "inputs": {"train": {"type": "uriFile", "path": "https://data.example/a.csv", "digest": DIGEST}},
    "parameters": {"C": 1, "flag": True},
    "environmentVariables": {"MODE": "x"},
    "environment": {"pip": ["lightgbm==4.5.0"], "image": f"registry.example/train@{DIGEST}"},
    "outputs": {"model": {"type": "customModel"}},
}


def asked(
    spec: Json, contents: Json | None = None, artifacts: Json | None = None, lab: Json | None = None
) -> reuse.Asked:
    it = run(**spec)
    return reuse.asked(
        TrainingRunSpec.model_validate(it["spec"]),
        lab or workspace(),
        "smalt/trainer:1",
        contents or {},
        artifacts or {},
    )


def test_the_same_is_asked_for_with_the_same_digest_on_any_day() -> None:
    assert asked(PINNED).digest == asked(copy.deepcopy(PINNED)).digest != ""
    assert asked(PINNED | {"parameters": {"flag": True, "C": 1.0}}).digest == asked(PINNED).digest
    assert asked(PINNED | {"limits": {"retries": 3}, "priorityClassName": "low", "suspend": False}) == asked(PINNED)


@pytest.mark.parametrize(
    "change",
    [
        {"code": {"inline": {"train.py": "pass "}}},
        {"command": "python train.py -v"},
        {"parameters": {"C": 2, "flag": True}},
        {"environmentVariables": {"MODE": "y"}},
        {"environment": {"pip": ["lightgbm==4.5.1"], "image": f"registry.example/train@{DIGEST}"}},
        {"environment": {"pip": ["lightgbm==4.5.0"], "image": "registry.example/train@sha256:" + "0" * 64}},
        {"environment": {"pip": ["lightgbm==4.5.0"]}},
        {"inputs": {"train": PINNED["inputs"]["train"] | {"digest": "sha256:" + "0" * 64}}},
        {"inputs": {"other": PINNED["inputs"]["train"]}},
        {"outputs": {"model": {"type": "uriFolder"}}},
        {"register": {"model": "churn", "from": "model"}},
    ],
)
def test_any_change_asks_for_something_else(change: Json) -> None:
    assert asked(PINNED | change).digest not in ("", asked(PINNED).digest)


def test_another_workspace_of_the_same_name_has_none_of_the_results() -> None:
    other = workspace()
    other["metadata"] = other["metadata"] | {"uid": "another"}
    assert asked(PINNED, lab=other).digest != asked(PINNED).digest


def test_a_config_map_counts_by_what_is_in_it() -> None:
    spec: Json = {
        "code": {"configMap": "code"},
        "inputs": {"rows": {"type": "uriFile", "path": "configmap://rows/a.csv"}},
    }
    contents = {"code": {"data": {"train.py": "pass"}}, "rows": {"data": {"a.csv": "1", "b.csv": "2"}}}
    first = asked(spec, contents).digest
    assert first == asked(spec, contents | {"rows": {"data": {"a.csv": "1"}}}).digest, "only the key that is read"
    assert first != asked(spec, contents | {"rows": {"data": {"a.csv": "2"}}}).digest
    assert first != asked(spec, contents | {"code": {"binaryData": {"train.py": "pass"}, "data": {"x": ""}}}).digest


def test_what_others_make_counts_by_its_digest_and_what_was_pushed_by_its_place() -> None:
    made = {"inputs": {"a": {"type": "uriFolder", "path": "run://prepare/clean"}}}
    assert asked(made).loose.startswith("inputs.a has no digest")
    first = asked(made, artifacts={"a": {"digest": DIGEST, "uri": "x"}}).digest
    assert first == asked(made, artifacts={"a": {"digest": DIGEST, "uri": "y"}}).digest != ""
    assert first != asked(made, artifacts={"a": {"digest": "sha256:" + "0" * 64}}).digest
    pushed = f"workspace://uploads/{'0' * 64}/a.csv"
    assert asked({"inputs": {"a": {"type": "uriFile", "path": pushed}}}).digest


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"inputs": {"train": {"type": "uriFile", "path": "https://data.example/a.csv"}}}, "inputs.train"),
        ({"inputs": {"train": {"type": "uriFile", "path": "pvc://data/a.csv"}}}, "inputs.train"),
        ({"environment": {"image": "python:3.12"}}, "environment.image 'python:3.12'"),
        ({"environment": {"pip": ["lightgbm"]}}, "'lightgbm'"),
        ({"environment": {"pip": ["lightgbm>=4"]}}, "'lightgbm>=4'"),
        ({"environment": {"pip": ["lightgbm==4.*"]}}, "'lightgbm==4.*'"),
        ({"environment": {"conda": "dependencies:\n- python=3.11\n- numpy\n"}}, "'numpy'"),
        ({"environment": {"conda": "dependencies:\n- pip:\n  - numpy>1\n"}}, "'numpy>1'"),
        ({"code": {"inline": {"c.yml": "dependencies: [numpy]"}}, "environment": {"condaFile": "c.yml"}}, "condaFile"),
    ],
)
def test_what_is_not_pinned_is_named(change: Json, words: str) -> None:
    found = asked(PINNED | change)
    assert found.digest == "" and words in found.loose


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"pip": ["lightgbm==4.5.0", "scikit-learn[all] == 1.5", 'numpy===1; python_version > "3"', "# why"]},
        {
            "conda": "name: x\nchannels:\n- conda-forge\ndependencies:\n- python=3.11\n- numpy=1.26.4\n- pip:\n  - a==1\n"
        },
    ],
)
def test_exact_versions_are_pinned(environment: Json) -> None:
    assert asked(PINNED | {"environment": environment}).digest


def test_code_from_elsewhere_is_pinned_by_a_commit_or_a_digest() -> None:
    commit = {"git": {"url": "https://git.example/a", "revision": "a" * 40, "path": "churn"}}
    assert reuse.code(commit, {})["git"]["revision"] == "a" * 40
    assert reuse.code({"url": "https://a.example/a.tar", "digest": DIGEST}, {}) == {"digest": DIGEST}
    for loose in ({"git": {"url": "https://git.example/a", "revision": "main"}}, {"url": "https://a.example/a.tar"}):
        with pytest.raises(reuse.Loose, match=r"code\."):
            reuse.code(loose, {})


# --- the offer --------------------------------------------------------------------------------------------------------


def wanting(name: str = "again", how: str = "annotations", **spec: Any) -> Json:
    made = run(name, **spec)
    made["metadata"][how] = {"smalt.dev/reuse": "true"}
    return made


def planned(it: Json, *world: Json, live: Json | None = None) -> Any:
    return reconciler.plan(it, store_of(it, workspace(), experiment(), *world), live or {}, NOW, SETTINGS)


def earlier(spec: Json, name: str = "first", **status: Any) -> Json:
    """A run that ended well, by way of what its Job carries."""
    begun = planned(run(name, **spec)).apply[0].manifest
    made = finished_run(name, workspace="lab", **status)
    made["status"]["digests"] |= {"request": begun["metadata"]["annotations"][REQUEST_ANNOTATION]}
    return made


@pytest.mark.parametrize("how", ["annotations", "labels"])
def test_a_run_that_succeeded_before_is_not_run_again_and_says_so(how: str) -> None:
    before = earlier(PINNED, tracking={"runId": "a"})
    plan = planned(wanting(how=how, **PINNED), before)
    status = plan.status
    assert plan.apply == () and plan.is_final
    assert (status["phase"], said(status)["status"], said(status)["reason"]) == ("Succeeded", "True", "Reused")
    assert "'first'" in said(status)["message"] and "nothing was run" in said(status)["message"]
    assert status["reusedFrom"] == "first" and status["completionTime"] == "2026-01-02T03:04:05Z"
    for name in ("metrics", "outputs", "tracking", "digests"):
        assert status[name] == before["status"][name]
    assert "job" not in status and "attempt" not in status


def test_without_the_wish_or_without_an_earlier_result_it_runs() -> None:
    assert planned(run("again", **PINNED), earlier(PINNED)).apply
    plan = planned(wanting(**PINNED), earlier(PINNED | {"command": "other"}))
    assert plan.apply and said(plan.status, "Reused")["reason"] == "NoEarlierRun"
    assert planned(wanting(**PINNED), earlier(PINNED, phase="Failed")).apply


def test_what_is_not_pinned_is_said_and_it_runs() -> None:
    plan = planned(wanting(environment={"pip": ["numpy"]}))
    told = said(plan.status, "Reused")
    assert plan.apply and (told["status"], told["reason"]) == ("False", "NotPinned") and "'numpy'" in told["message"]
    assert REQUEST_ANNOTATION not in plan.apply[0].manifest["metadata"]["annotations"]
    begun = wanting(environment={"pip": ["numpy"]}) | {"status": plan.status}
    later = planned(begun, job(begun)).status
    assert said(later, "Reused") == told, "it is still said while it runs"


def test_a_result_that_was_reused_itself_is_told_by_its_origin() -> None:
    chain = earlier(PINNED, "second", reusedFrom="first")
    assert planned(wanting(**PINNED), chain).status["reusedFrom"] == "first"


def test_a_run_that_registers_a_model_has_the_earlier_one_while_it_is_there() -> None:
    spec = PINNED | REGISTERING
    before = earlier(spec, model="churn-1")
    assert planned(wanting(**spec), before, model(1)).status["model"] == "churn-1"
    assert planned(wanting(**spec), before).apply, "its Model was deleted: it is made anew"


def test_config_maps_are_read_before_the_offer() -> None:
    it = wanting(code={"configMap": "code"})
    read = Read(CONFIG_MAP, NAMESPACE, "code")
    found = resource(CONFIG_MAP, "code") | {"data": {"train.py": "pass"}}
    assert reconciler.reads(it, store_of(it), NOW) == (read,)
    plan = planned(it, live={read: found})
    assert plan.apply[0].manifest["metadata"]["annotations"][REQUEST_ANNOTATION].startswith("sha256:")


def test_the_digest_of_what_was_asked_for_goes_from_job_to_job_into_the_status() -> None:
    it = run(**PINNED, limits={"retries": 1})
    first = planned(it).apply[0].manifest
    request = first["metadata"]["annotations"][REQUEST_ANNOTATION]
    failed = job(it, **completed("Failed"))
    failed["metadata"]["annotations"] |= {REQUEST_ANNOTATION: request}
    second = planned(it, failed, pod(failed, **ended("", 1, reason="Error"))).apply[0].manifest
    assert second["metadata"]["annotations"][REQUEST_ANNOTATION] == request
    done = job(it, **completed())
    done["metadata"]["annotations"] |= {REQUEST_ANNOTATION: request}
    report = {"outcome": "succeeded", "digests": {"code": DIGEST}, "metrics": {"auc": 1}}
    status = planned(it, done, pod(done, **ended(json.dumps(report)))).status
    assert status["digests"]["request"] == request
