"""Who refers to whom, read from stored objects whether they are valid or not, and what of an object others look at."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from smalt.api.kinds import DEPLOYMENT, EXPERIMENT, JOB, MODEL, OURS, TRAINING_RUN, WORKSPACE, Kind
from smalt.api.references import COMPARED, FAMILY, Address, known_as, refers_to, seen_by_referred, seen_by_referrers
from support.resources import NAMESPACE, deployment, experiment, finished_run, job, model, ready, run, workspace

Json = dict[str, Any]


def named(*pairs: tuple[Kind, str]) -> tuple[Address, ...]:
    return tuple(Address(kind, NAMESPACE, name) for kind, name in pairs)


@pytest.mark.parametrize(
    ("kind", "it", "targets"),
    [
        (WORKSPACE, workspace(), named()),
        (EXPERIMENT, experiment(), named((WORKSPACE, "lab"))),
        (TRAINING_RUN, run(), named((EXPERIMENT, "trials"))),
        (MODEL, model(), named((WORKSPACE, "lab"), (TRAINING_RUN, "first"), (FAMILY, "churn"))),
        (DEPLOYMENT, deployment(), named((WORKSPACE, "lab"), (FAMILY, "churn"))),
        (JOB, job(run()), named()),
    ],
    ids=lambda value: value.kind if isinstance(value, Kind) else "",
)
def test_an_object_refers_to_what_its_spec_names(kind: Kind, it: Json, targets: tuple[Address, ...]) -> None:
    assert refers_to(kind, it) == targets


@pytest.mark.parametrize("spec", [None, {}, {"workspace": 3, "experiment": ["a"], "model": "churn", "source": None}])
@pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.plural)
def test_what_is_no_text_counts_as_absent(kind: Kind, spec: Json | None) -> None:
    assert refers_to(kind, {"metadata": {"namespace": NAMESPACE, "name": "x"}, "spec": spec}) == ()


def test_a_model_is_known_by_its_own_name_and_its_familys() -> None:
    assert known_as(MODEL, model(3)) == named((MODEL, "churn-3"), (FAMILY, "churn"), (COMPARED, "churn"))
    assert known_as(EXPERIMENT, experiment()) == named((EXPERIMENT, "trials"))


def test_names_are_those_of_the_objects_own_namespace() -> None:
    elsewhere = model()
    elsewhere["metadata"]["namespace"] = "team-b"
    assert {each.namespace for each in (*refers_to(MODEL, elsewhere), *known_as(MODEL, elsewhere))} == {"team-b"}


def changed(it: Json, *path: str, to: object) -> Json:
    made = copy.deepcopy(it)
    inner = made
    for key in path[:-1]:
        inner = inner.setdefault(key, {})
    inner[path[-1]] = to
    return made


FAILED = [{"type": "Ready", "status": "False", "reason": "x", "message": "y"}]
ALL = {
    WORKSPACE: workspace(),
    EXPERIMENT: experiment(),
    TRAINING_RUN: finished_run(),
    MODEL: model(),
    DEPLOYMENT: deployment(status=ready("Serving")),
}
MATTERS_TO_REFERRERS = [
    (WORKSPACE, ("metadata", "generation"), 2),
    (WORKSPACE, ("status", "conditions"), FAILED),
    (WORKSPACE, ("metadata", "uid"), "another"),
    (EXPERIMENT, ("status", "conditions"), FAILED),
    (TRAINING_RUN, ("status", "completionTime"), "2026-02-02T00:00:00Z"),
    (MODEL, ("spec", "stage"), "Production"),
    (MODEL, ("status", "conditions"), FAILED),
]
MATTERS_TO_THE_REFERRED = [
    (EXPERIMENT, ("status", "runs"), {"total": 1}),
    (TRAINING_RUN, ("status", "phase"), "Failed"),
    (TRAINING_RUN, ("status", "completionTime"), "2026-02-02T00:00:00Z"),
    (MODEL, ("metadata", "uid"), "another"),
    (DEPLOYMENT, ("spec", "model"), {"name": "churn", "version": 2}),
    (DEPLOYMENT, ("status", "effectiveModel"), "churn-2"),
    (DEPLOYMENT, ("metadata", "uid"), "another"),
]


@pytest.mark.parametrize(("kind", "path", "to"), MATTERS_TO_REFERRERS, ids=str)
def test_a_change_that_referrers_depend_on_is_seen_by_them(kind: Kind, path: tuple[str, ...], to: object) -> None:
    assert seen_by_referrers(kind, ALL[kind]) != seen_by_referrers(kind, changed(ALL[kind], *path, to=to))


@pytest.mark.parametrize(("kind", "path", "to"), MATTERS_TO_THE_REFERRED, ids=str)
def test_a_change_that_is_counted_is_seen_by_the_referred(kind: Kind, path: tuple[str, ...], to: object) -> None:
    assert seen_by_referred(kind, ALL[kind]) != seen_by_referred(kind, changed(ALL[kind], *path, to=to))


@pytest.mark.parametrize("path", [("metadata", "resourceVersion"), ("metadata", "managedFields"), ("status", "other")])
@pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.plural)
def test_what_nobody_depends_on_is_seen_by_nobody(kind: Kind, path: tuple[str, ...]) -> None:
    other = changed(ALL[kind], *path, to="new")
    assert seen_by_referrers(kind, ALL[kind]) == seen_by_referrers(kind, other)
    assert seen_by_referred(kind, ALL[kind]) == seen_by_referred(kind, other)
