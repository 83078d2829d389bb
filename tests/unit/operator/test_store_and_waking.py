"""The cache keeps the newest of each object, its indices follow, and a change wakes exactly those whom it concerns."""

from __future__ import annotations

from typing import Any

import pytest

from smalt.api.kinds import DEPLOYMENT, EXPERIMENT, JOB, MODEL, NODE, POD, TRAINING_RUN, WORKSPACE, Kind, kind_of
from smalt.api.references import FAMILY, Address, address
from smalt.engine.store import Change, trimmed
from smalt.engine.waking import woken
from support.resources import (
    NAMESPACE,
    deployment,
    experiment,
    finished_run,
    job,
    model,
    node,
    pod,
    ready,
    run,
    store_of,
    workspace,
)

Json = dict[str, Any]


def versioned(it: Json, version: str, **metadata: Any) -> Json:
    return it | {"metadata": it["metadata"] | {"resourceVersion": version} | metadata}


def test_an_older_version_is_ignored_and_another_uid_replaces() -> None:
    store = store_of(versioned(run(), "10"))
    assert store.upsert(TRAINING_RUN, versioned(run(), "9")) is None
    assert store.upsert(TRAINING_RUN, versioned(run(), "10")) is None
    assert store.upsert(TRAINING_RUN, versioned(run(), "11")) is not None
    assert store.upsert(TRAINING_RUN, versioned(run(), "3", uid="new")) is not None


def test_a_deletion_of_an_earlier_life_is_ignored() -> None:
    store = store_of(versioned(run(), "10", uid="new"))
    assert store.remove(TRAINING_RUN, run()) is None
    assert store.get(TRAINING_RUN, NAMESPACE, "first") is not None


def test_indices_follow_what_an_object_says_now() -> None:
    store = store_of(versioned(run(), "1"), job(run()))
    here, there = address(EXPERIMENT, experiment()), Address(EXPERIMENT, NAMESPACE, "elsewhere")
    assert len(store.referrers(TRAINING_RUN, here)) == 1
    store.upsert(TRAINING_RUN, versioned(run(experiment="elsewhere"), "2"))
    assert (store.referrers(TRAINING_RUN, here), len(store.referrers(TRAINING_RUN, there))) == ([], 1)
    assert len(store.owned(JOB, run()["metadata"]["uid"])) == 1
    assert len(store.labelled(JOB, address(TRAINING_RUN, run()))) == 1
    store.remove(JOB, job(run()))
    assert store.owned(JOB, run()["metadata"]["uid"]) == store.labelled(JOB, address(TRAINING_RUN, run())) == []
    assert store._owned == store._labelled == {}


def test_a_finished_run_is_kept_small() -> None:
    heavy = finished_run()
    heavy["spec"] |= {"code": {"inline": {"train.py": "x" * 100000}}, "parameters": {"C": 1}}
    heavy["spec"]["environment"] = {"image": "team/image:1", "conda": "y" * 30000}
    heavy["metadata"]["managedFields"] = [{"x": "y"}]
    small = trimmed(TRAINING_RUN, heavy)
    assert len(repr(small)) < 2000
    asked = {"image": "team/image:1", "conda": True}
    assert small["spec"] == {"experiment": "trials", "parameters": {"C": 1}, "environment": asked}


def names(kind: Kind, before: Json | None, after: Json | None, *world: Json) -> set[tuple[str, str]]:
    store = store_of(*world, *([after] if after else []))
    return {(wake.target.kind.kind, wake.target.name) for wake in woken(kind, Change(before, after), store)}


NOT_READY: Json = {
    "observedGeneration": 1,
    "conditions": [{"type": "Ready", "status": "False", "reason": "x", "message": "y"}],
}
ALL = (workspace(), experiment(), run(), finished_run("old"), model(), deployment())


@pytest.mark.parametrize(
    ("sentence", "kind", "before", "after", "expected"),
    [
        (
            "a workspace that becomes ready wakes all who wait for it, history left out",
            WORKSPACE,
            workspace(status=NOT_READY),
            workspace(),
            {("Experiment", "trials"), ("TrainingRun", "first"), ("Model", "churn-1"), ("Deployment", "prod")},
        ),
        (
            "a workspace whose counts change wakes nobody",
            WORKSPACE,
            workspace(),
            workspace(status=ready() | {"runs": {"running": 3}}),
            set(),
        ),
        (
            "an experiment that becomes ready wakes its unfinished runs and its workspace",
            EXPERIMENT,
            experiment(status=NOT_READY),
            experiment(),
            {("TrainingRun", "first")},
        ),
        (
            "a run that ends wakes its model and is counted",
            TRAINING_RUN,
            run("old"),
            finished_run("old"),
            {("Experiment", "trials")},
        ),
        (
            "a model that is promoted wakes those who follow it, and its family, whose users may change",
            MODEL,
            model(),
            model(stage="Production"),
            {("Deployment", "prod"), ("Model", "churn-1")},
        ),
        (
            "a deployment that serves wakes its model and its workspace",
            DEPLOYMENT,
            deployment(),
            deployment(status={"effectiveModel": "churn-1"}),
            {("Model", "churn-1"), ("Workspace", "lab")},
        ),
        ("a job wakes its run", JOB, None, job(run()), {("TrainingRun", "first")}),
    ],
)
def test_who_is_woken(
    sentence: str, kind: Kind, before: Json | None, after: Json, expected: set[tuple[str, str]]
) -> None:
    world = [
        each for each in ALL if each["metadata"]["name"] != after["metadata"]["name"] or each["kind"] != after["kind"]
    ]
    assert names(kind, before, after, *world) == expected, sentence


def test_a_new_run_is_urgent_and_counting_waits() -> None:
    store = store_of(*ALL)
    wakes = list(woken(TRAINING_RUN, Change(None, run()), store))
    assert [wake.urgent for wake in wakes if wake.target.kind is TRAINING_RUN] == [True]
    assert all(wake.seconds > 0 for wake in wakes if wake.target.kind is EXPERIMENT)


def test_an_objects_own_status_write_does_not_wake_it() -> None:
    before, after = run(), run(status={"phase": "Pending"})
    assert ("TrainingRun", "first") not in names(TRAINING_RUN, before, after)


def test_a_deleted_model_wakes_its_family_and_its_workspace() -> None:
    store = store_of(workspace(), model(2))
    targets = {wake.target for wake in woken(MODEL, Change(model(1), None), store)}
    assert address(WORKSPACE, workspace()) in targets
    assert address(MODEL, model(2)) in targets
    assert len(store.referrers(MODEL, Address(FAMILY, NAMESPACE, "churn"))) == 1


def test_every_kind_is_found_by_its_type() -> None:
    assert kind_of("apps/v1", "Deployment") is not kind_of("smalt.dev/v1alpha1", "Deployment")


def test_jobs_and_pods_of_a_finished_run_are_let_go() -> None:
    at_work, done = job(run()), finished_run()
    witness = pod(at_work, labels={TRAINING_RUN.label: "first"})
    store = store_of(run(), at_work, witness)
    assert len(store.all(JOB)) == len(store.all(POD)) == 1
    store.upsert(TRAINING_RUN, versioned(done, "2"))
    assert store.all(JOB) == store.all(POD) == []
    assert store.upsert(JOB, versioned(at_work, "3")) is None and store.all(JOB) == []


def wakes_of_node(before: Json | None, after: Json | None) -> set[tuple[str, str]]:
    placed = pod(job(run()), labels={TRAINING_RUN.label: "first"}) | {"spec": {"nodeName": "here"}}
    store = store_of(workspace(), experiment(), run(), job(run()), placed)
    trim = [trimmed(NODE, each) if each else None for each in (before, after)]
    return {(wake.target.kind.kind, wake.target.name) for wake in woken(NODE, Change(*trim), store)}


ALL_OF_NODE = {("Workspace", "lab"), ("TrainingRun", "first")}


@pytest.mark.parametrize(
    ("sentence", "after", "expected"),
    [
        ("a heartbeat", {"status": {"conditions": [{"lastHeartbeatTime": "2030-01-01T00:00:00Z"}]}}, set()),
        ("an image that was pulled", {"status": {"images": [{"names": ["x"], "sizeBytes": 1}]}}, set()),
        (
            "another disk's pressure",
            {"status": {"conditions": [{}, {"type": "DiskPressure", "status": "True"}]}},
            set(),
        ),
        ("an annotation", {"metadata": {"annotations": {"x": "y"}}}, set()),
        ("a label", {"metadata": {"labels": {"gpu": "a100"}}}, ALL_OF_NODE),
        ("a taint", {"spec": {"taints": [{"key": "gpu", "effect": "NoSchedule"}]}}, ALL_OF_NODE),
        ("a cordon", {"spec": {"unschedulable": True}}, ALL_OF_NODE),
        ("a device plugin", {"status": {"allocatable": {"nvidia.com/gpu": "1"}}}, ALL_OF_NODE),
        ("the end of its readiness", {"status": {"conditions": [{"status": "Unknown"}]}}, ALL_OF_NODE),
    ],
)
def test_a_node_wakes_whom_it_concerns_and_its_heartbeats_nobody(
    sentence: str, after: Json, expected: set[tuple[str, str]]
) -> None:
    assert wakes_of_node(node("here"), overlaid(node("here"), after)) == expected, sentence


def overlaid(it: Json, other: Json) -> Json:
    """The object with some fields changed; lists are changed item by item."""
    made = dict(it)
    for key, value in other.items():
        old = made.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            made[key] = overlaid(old, value)
        elif isinstance(value, list) and isinstance(old, list):
            made[key] = [{**before, **each} for before, each in zip(old, value, strict=False)] + value[len(old) :]
        else:
            made[key] = value
    return made


def test_a_node_that_comes_or_goes_concerns_every_workspace() -> None:
    assert wakes_of_node(None, node("there")) == wakes_of_node(node("there"), None) == {("Workspace", "lab")}


def test_of_a_pod_its_place_is_kept_and_before_it_runs_what_it_waits_for() -> None:
    volumes = [{"name": "tmp", "emptyDir": {}}, {"name": "login", "secret": {"secretName": "x"}}]
    wants = {"name": "training", "image": "x", "env": [{"name": "A"}], "resources": {"limits": {"cpu": "1"}}}
    spec = {
        "nodeName": "here",
        "nodeSelector": {"a": "b"},
        "volumes": volumes,
        "containers": [wants],
        "restartPolicy": "x",
    }
    waiting = trimmed(POD, pod(job(run()), phase="Pending") | {"spec": spec})
    assert waiting["spec"] == {
        "nodeName": "here",
        "nodeSelector": {"a": "b"},
        "volumes": volumes[1:],
        "containers": [{"resources": {"limits": {"cpu": "1"}}}],
    }
    assert trimmed(POD, pod(job(run()), phase="Running") | {"spec": spec})["spec"] == {"nodeName": "here"}
