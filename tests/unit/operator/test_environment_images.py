"""When an environment's image is built, by which Job, and what its run says meanwhile and afterwards."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from smalt.api.kinds import CONFIG_MAP, JOB, POD
from smalt.reconcilers import training_run as reconciler
from smalt.reconcilers.world import Read, StatusOf
from support.resources import (
    NAMESPACE,
    NOW,
    SETTINGS,
    THEN,
    completed,
    ended,
    experiment,
    job,
    owned_by,
    pod,
    resource,
    run,
    said,
    store_of,
    workspace,
)

Json = dict[str, Any]
ENGINE = "tcp://docker.build:2376"
IMAGES = {"registry": "registry.example/team", "dockerHost": ENGINE, "tlsSecret": "client", "pushSecret": "push"}
ALLOWING = SETTINGS.model_copy(update={"docker_hosts": "other:1, docker.build:2376"})
IMAGE = "registry.example/team/smalt-environments@sha256:" + "ab" * 32


def with_images(**changes: Any) -> Json:
    return workspace({"images": {key: value for key, value in (IMAGES | changes).items() if value is not None}})


def planned(it: Json, *world: Json, at: Json | None = None, settings: Any = ALLOWING, live: Json | None = None) -> Any:
    store = store_of(it, at or with_images(), experiment(), *world)
    found = {Read(CONFIG_MAP, NAMESPACE, name): {"data": data} for name, data in (live or {}).items()}
    return reconciler.plan(it, store, found, NOW, settings)


def packaged(name: str = "first", **spec: Any) -> Json:
    made = run(name, **({"environment": {"pip": ["lightgbm"]}} | spec))
    made["metadata"]["creationTimestamp"] = THEN
    return made


def builder(plan: Any) -> Json:
    [child] = plan.apply
    assert child.once and not child.owned
    return dict(child.manifest)


def of_the_cluster(manifest: Json, **status: Any) -> Json:
    made = resource(JOB, manifest["metadata"]["name"], None, status)
    made["metadata"]["labels"] = manifest["metadata"]["labels"]
    return made


def its_pod(of: Json, **status: Any) -> Json:
    return resource(POD, "builder", None, status, **owned_by(of), creationTimestamp=THEN)


def ended_with(words: Json | None, code: int = 0) -> Json:
    state = {"exitCode": code, "message": json.dumps(words) if words else "", "reason": "Completed"}
    return {"containerStatuses": [{"name": "image", "state": {"terminated": state}}]}


def test_the_image_is_built_once_for_all_runs_that_ask_for_the_same() -> None:
    first = planned(packaged())
    made = builder(first)
    assert said(first.status)["reason"] == "BuildingEnvironment"
    assert first.status["phase"] == "Pending" and first.requeue_after
    assert (
        builder(planned(packaged("second", command="python other.py")))["metadata"]["name"] == made["metadata"]["name"]
    )
    waiting = planned(packaged("second"), of_the_cluster(made))
    assert waiting.apply == ()
    assert waiting.status["environment"] == {"job": made["metadata"]["name"]}


@pytest.mark.parametrize(
    "other",
    [
        {"environment": {"pip": ["lightgbm==4"]}},
        {"environment": {"pip": ["lightgbm"], "image": "python:3.12-slim"}},
        {"environment": {"conda": "dependencies: [lightgbm]"}},
    ],
)
def test_other_packages_or_another_image_are_another_build(other: Json) -> None:
    assert builder(planned(packaged(**other)))["metadata"]["name"] != builder(planned(packaged()))["metadata"]["name"]


def from_file(text: str, script: str = "pass", file: str = "r.txt", **more: str) -> str:
    code = {"inline": {"train.py": script, file: text, **more}}
    return str(builder(planned(packaged(code=code, environment={"requirementsFile": file})))["metadata"]["name"])


def test_of_the_code_only_what_names_packages_counts() -> None:
    assert from_file("lightgbm") == from_file("lightgbm", script="print(1)")
    assert from_file("lightgbm") != from_file("xgboost")
    assert from_file("-r more.txt", **{"more.txt": "a"}) != from_file("-r more.txt", **{"more.txt": "b"})


def test_the_file_of_a_config_map_counts_by_its_content() -> None:
    it = packaged(code={"configMap": "code"}, environment={"condaFile": "conda.yml"})
    names = {
        builder(planned(it, live={"code": {"conda.yml": text, "train.py": script}}))["metadata"]["name"]
        for text, script in (("a", "1"), ("a", "2"), ("b", "1"))
    }
    assert len(names) == 2


def test_code_that_nobody_has_seen_yet_is_a_build_of_its_run_alone() -> None:
    code = {"git": {"url": "https://git.example/a.git"}}
    names = {
        builder(planned(packaged(name, code=code, environment={"condaFile": "c.yml"})))["metadata"]["name"]
        for name in ("first", "second")
    }
    assert len(names) == 2
    pod_spec = builder(planned(packaged(code=code, environment={"condaFile": "c.yml"})))["spec"]["template"]["spec"]
    assert [each["name"] for each in pod_spec["initContainers"]] == ["tools", "fetch", "environment"]


def test_a_built_image_is_what_the_script_runs_in_and_nothing_is_installed() -> None:
    it = packaged()
    there = of_the_cluster(builder(planned(it)), **completed())
    plan = planned(it, there, its_pod(there, **ended_with({"image": IMAGE})))
    [child] = plan.apply
    pod_spec = child.manifest["spec"]["template"]["spec"]
    assert pod_spec["containers"][0]["image"] == IMAGE
    assert [each["name"] for each in pod_spec["initContainers"]] == ["tools"]
    assert "/smalt/environment" not in json.dumps(pod_spec), "the image's own folder is not hidden by a volume"
    assert plan.status["environment"] == {"job": there["metadata"]["name"], "image": IMAGE}
    assert plan.status["job"] == "first-1"


def test_a_further_attempt_runs_in_the_image_of_the_first() -> None:
    it = packaged(limits={"retries": 1}, code={"configMap": "code"}, environment={"condaFile": "c.yml"})
    it["status"] = {"attempt": 1, "environment": {"job": "environment-x-1", "image": IMAGE}}
    failed = [job(it, **completed("Failed")), pod(job(it), "pod-1", **ended("", 1))]
    settled = planned(it, *failed)
    later = reconciler.plan(
        it, store_of(it, with_images(), experiment(), *failed), {}, NOW + timedelta(minutes=5), ALLOWING
    )
    plan = later if later.apply else settled
    [child] = plan.apply
    assert child.manifest["metadata"]["name"] == "first-2"
    assert child.manifest["spec"]["template"]["spec"]["containers"][0]["image"] == IMAGE


def test_a_build_that_failed_ends_its_runs_with_its_last_words() -> None:
    it = packaged()
    there = of_the_cluster(builder(planned(it)), **completed("Failed"))
    words = {
        "reason": "PackageNotFound",
        "message": "the package index has no lightgbm, then apply the run under another name",
    }
    plan = planned(it, there, its_pod(there, **ended_with(words, 1)))
    assert (plan.status["phase"], plan.status["completionTime"]) == ("Failed", THEN)
    assert plan.is_final and plan.apply == ()
    assert said(plan.status, "Stalled")["reason"] == "PackageNotFound"
    assert said(plan.status, "Stalled")["message"] == words["message"]


def test_a_build_that_failed_before_a_run_was_applied_is_tried_again_for_it() -> None:
    it = packaged()
    made = builder(planned(it))
    there = of_the_cluster(made, **completed("Failed"))
    it["metadata"]["creationTimestamp"] = "2026-01-02T03:04:01Z"
    again = builder(
        planned(it, there, its_pod(there, **ended_with({"reason": "EnvironmentFailed", "message": "x"}, 1)))
    )
    assert again["metadata"]["name"] == made["metadata"]["name"].removesuffix("-1") + "-2"


def test_a_build_whose_pod_is_gone_is_made_again_to_find_its_image() -> None:
    it = packaged()
    made = builder(planned(it))
    there = of_the_cluster(made, **completed())
    assert planned(it, there).apply == (), "its last words may still come"
    late = reconciler.plan(
        it, store_of(it, with_images(), experiment(), there), {}, NOW + timedelta(minutes=5), ALLOWING
    )
    assert builder(late)["metadata"]["name"].endswith("-2")


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (
            {"initContainerStatuses": [{"name": "environment", "state": {"running": {}}}]},
            ("installs", "-c environment"),
        ),
        ({"containerStatuses": [{"name": "image", "state": {"running": {}}}]}, ("built and pushed", "-c image")),
        (
            {
                "initContainerStatuses": [
                    {"name": "environment", "image": "a/b", "state": {"waiting": {"reason": "ErrImagePull"}}}
                ]
            },
            ("ImagePullFailed", "a/b"),
        ),
    ],
)
def test_a_run_says_how_far_the_build_is(status: Json, words: tuple[str, ...]) -> None:
    it = packaged()
    there = of_the_cluster(builder(planned(it)))
    found = said(planned(it, there, its_pod(there, **status)).status)
    assert found["reason"] == "BuildingEnvironment"
    assert all(each in found["message"] for each in (*words, there["metadata"]["name"]))


def test_the_last_line_of_the_builders_log_stands_in_the_runs_message() -> None:
    it = packaged()
    there = of_the_cluster(builder(planned(it)))
    it["status"] = {"environment": {"job": there["metadata"]["name"]}}
    working = {"containerStatuses": [{"name": "image", "state": {"running": {}}}], "podIP": "10.0.0.7"}
    store = store_of(it, with_images(), experiment(), there, its_pod(there, **working))
    [whom] = reconciler.reads(it, store, NOW)
    assert isinstance(whom, StatusOf) and whom.address == "10.0.0.7"
    plan = reconciler.plan(it, store, {whom: {"phase": "Preparing", "message": "Step 2/3 : COPY"}}, NOW, ALLOWING)
    assert "(Step 2/3 : COPY)" in said(plan.status)["message"]


@pytest.mark.parametrize(
    ("changes", "settings", "words"),
    [
        ({}, {"docker_hosts": ""}, (ENGINE, "none", "SMALT_DOCKER_HOSTS")),
        ({}, {"docker_hosts": "docker.build:1"}, (ENGINE, "docker.build:1", "SMALT_DOCKER_HOSTS")),
        ({"tlsSecret": None}, {}, (ENGINE, "spec.images.tlsSecret", "tls.key")),
    ],
)
def test_an_engine_that_the_administrator_does_not_allow_is_not_asked(
    changes: Json, settings: Json, words: Any
) -> None:
    plan = planned(packaged(), at=with_images(**changes), settings=ALLOWING.model_copy(update=settings))
    assert plan.apply == () and plan.status["phase"] == "Pending"
    assert said(plan.status)["reason"] == "EngineNotAllowed"
    assert all(each in said(plan.status)["message"] for each in words)


@pytest.mark.parametrize(
    ("changes", "settings"),
    [
        ({}, {"docker_hosts": "*.build:*"}),
        ({}, {"docker_hosts": "docker.build"}),
        ({"tlsSecret": None}, {"docker_without_tls": True}),
        ({"tlsSecret": None, "dockerHost": "https://docker.build:2376"}, {}),
    ],
)
def test_an_engine_that_the_administrator_allows_builds(changes: Json, settings: Json) -> None:
    assert builder(planned(packaged(), at=with_images(**changes), settings=ALLOWING.model_copy(update=settings)))


def test_secrets_are_mounted_where_the_image_is_built_and_nowhere_else() -> None:
    template = builder(planned(packaged()))["spec"]["template"]
    pod_spec = template["spec"]
    secrets = {each["name"]: each["secret"]["secretName"] for each in pod_spec["volumes"] if "secret" in each}
    assert secrets == {"tracking": "lab-tracking", "registry": "push", "engine": "client"}
    for each in pod_spec["initContainers"]:
        assert not {at["name"] for at in each["volumeMounts"]} & secrets.keys()
    [made] = pod_spec["containers"]
    mounted = {at["name"]: at["mountPath"] for at in made["volumeMounts"]}
    assert mounted["engine"] == "/smalt/credentials/engine"
    assert {each["name"]: each["value"] for each in made["env"]}["DOCKER_CONFIG"] == mounted["registry"]
    assert json.loads(template["metadata"]["annotations"]["smalt.dev/run"])["build"] == {
        "registry": "registry.example/team",
        "dockerHost": ENGINE,
        "tls": True,
    }


def test_a_run_without_packages_needs_no_image_of_its_own() -> None:
    [child] = planned(packaged(environment={"image": "python:3.12-slim"})).apply
    assert child.manifest["metadata"]["name"] == "first-1"


def test_the_image_is_told_though_the_status_that_told_it_first_was_never_written() -> None:
    it = run(environment={"pip": ["tiny-thing"]})
    made = job(it)
    built = {"job": "environment-abc-1", "image": IMAGE}
    made["metadata"]["annotations"]["smalt.dev/environment"] = json.dumps(built)
    running = {"containerStatuses": [{"name": "training", "state": {"running": {}}}]}
    status = planned(it, made, pod(made, **running)).status
    assert status["environment"] == built
