"""Which images a Workspace allows its runs."""

from __future__ import annotations

import pytest

from smalt.reconcilers import training_run as reconciler
from smalt.reconcilers.images import is_allowed
from support.resources import NOW, SETTINGS, experiment, run, said, store_of, workspace


@pytest.mark.parametrize(
    ("image", "patterns", "allowed"),
    [
        ("registry.example/team/a:1", ["registry.example/*"], True),
        ("registry.example/team/a:1", ["registry.example/team/a:*"], True),
        ("registry.example/team/ab:1", ["registry.example/team/a:*"], False),
        ("registry.example.evil/a", ["registry.example/*"], False),
        ("evil/registry.example/a", ["registry.example/*"], False),
        ("python:3.12", ["docker.io/library/*"], True),
        ("team/a", ["docker.io/team/*"], True),
        ("localhost/a", ["docker.io/*"], False),
        ("localhost:5000/a", ["docker.io/*"], False),
        ("python:3.12", ["python:3.1?"], False),
        ("anything", None, True),
        ("a", ["b", "*"], True),
    ],
)
def test_a_pattern_fits_the_whole_name(image: str, patterns: list[str] | None, allowed: bool) -> None:
    assert is_allowed(image, patterns) is allowed


def test_a_run_with_an_image_that_is_not_allowed_is_told_what_is() -> None:
    lab = workspace({"policy": {"allowedImages": ["registry.example/*"]}})
    it = run(environment={"image": "python:3.12"})
    plan = reconciler.plan(it, store_of(it, lab, experiment()), {}, NOW, SETTINGS)
    assert plan.apply == () and said(plan.status, "Stalled")["reason"] == "ImageNotAllowed"
    for word in ("'python:3.12'", "'lab'", "registry.example/*", "another name"):
        assert word in said(plan.status)["message"]


@pytest.mark.parametrize("environment", [{}, {"image": "registry.example/a"}, {"pip": ["a==1"]}])
def test_the_installations_own_image_is_always_allowed(environment: dict[str, object]) -> None:
    lab = workspace({"policy": {"allowedImages": ["registry.example/*"]}})
    it = run(environment=environment)
    assert reconciler.plan(it, store_of(it, lab, experiment()), {}, NOW, SETTINGS).apply
