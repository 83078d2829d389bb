"""Which packages a Deployment's pods have, where they come from, and what is said while an image is built for them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from unit.operator.test_environment_images import (
    ALLOWING,
    IMAGE,
    ended_with,
    its_pod,
    of_the_cluster,
    with_images,
)

from smalt.api.kinds import APPS_DEPLOYMENT, DEPLOYMENT, POD
from smalt.builders import scoring
from smalt.reconcilers import deployment as reconciler
from smalt.reconcilers import registration
from support.resources import (
    DIGEST,
    NOW,
    SETTINGS,
    completed,
    deployment,
    model,
    pod,
    resource,
    said,
    store_of,
    workspace,
)

Json = dict[str, Any]
LOCK = {"uri": "mlflow-artifacts:/9/abc/artifacts/environment/requirements.lock", "digest": DIGEST}
VERSIONS = {"numpy": "1.26.4", "scikit-learn": "1.5.2"}
PIP: Json = {"environment": {"pip": ["lightgbm"]}}


def trained(**environment: Any) -> Json:
    made = model()
    made["status"]["environment"] = environment
    return made


def planned(it: Json, *world: Json, settings: Any = SETTINGS) -> Any:
    return reconciler.plan(it, store_of(it, *world), {}, NOW, settings)


def template_of(plan: Any) -> Json:
    made = next(child.manifest for child in plan.apply if child.manifest["kind"] == "Deployment")
    return dict(made["spec"]["template"])


def pod_of(it: Json, *world: Json) -> Json:
    return dict(template_of(planned(it, workspace(), *world))["spec"])


def contract_of(it: Json, *world: Json) -> Json:
    found = template_of(planned(it, workspace(), *world))["metadata"]["annotations"][scoring.ANNOTATION]
    return dict(json.loads(found))


def inits(of: Json) -> list[str]:
    return [each["name"] for each in of["initContainers"]]


def test_without_packages_of_its_own_it_has_those_of_the_training() -> None:
    told, made = contract_of(deployment(), trained(**LOCK)), pod_of(deployment(), trained(**LOCK))
    assert told["environment"] == {"lockFile": "/smalt/locked/requirements.lock"} and told["lock"] == LOCK
    assert inits(made) == ["model", "tools", "environment"]
    where = {
        each["name"]: [at for at in each["volumeMounts"] if at["name"] == "locked"]
        for each in (*made["initContainers"], *made["containers"])
    }
    writes = {"name": "locked", "mountPath": "/smalt/locked"}
    assert where == {"model": [writes], "tools": [], "environment": [writes | {"readOnly": True}], "scoring": []}


@pytest.mark.parametrize("found", [{}, {"versions": VERSIONS}, {"uri": LOCK["uri"]}])
def test_a_model_whose_run_asked_for_none_is_served_with_the_images(found: Json) -> None:
    assert inits(pod_of(deployment(), trained(**found))) == ["model"]
    assert "lock" not in contract_of(deployment(), trained(**found))


def test_packages_of_its_own_go_before_those_of_the_training() -> None:
    told = contract_of(deployment(**PIP), trained(**LOCK))
    assert told["environment"] == {"pip": ["lightgbm"]} and "lock" not in told
    allowing = contract_of(deployment(environment={"allowSkew": True}), trained(**LOCK))
    assert allowing["lock"] == LOCK and allowing["allowSkew"] is True


def test_what_a_model_was_written_with_is_told_where_it_matters() -> None:
    it = trained(versions=VERSIONS)
    assert contract_of(deployment(), it)["writtenWith"] == VERSIONS
    it["status"]["format"] = "onnx"
    assert "writtenWith" not in contract_of(deployment(), it)


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        ({**LOCK, "versions": VERSIONS}, {**LOCK, "versions": VERSIONS}),
        ({"versions": {"numpy": "1", "bad": 3, "long": "x" * 3000}}, {"versions": {"numpy": "1"}}),
        ({**LOCK, "digest": "sha256:short"}, None),
        ("words", None),
        ({"versions": ["numpy"]}, None),
    ],
)
def test_of_what_the_registry_says_only_what_has_the_form_is_kept(told: object, kept: Json | None) -> None:
    artifact = {"uri": "mlflow-artifacts:/9/abc/artifacts/model", "digest": DIGEST, "bytes": 1, "files": 1}
    found = registration.registered({"artifact": artifact, "environment": told}, DIGEST)
    assert found is not None and found.get("environment") == kept


# --- where images are built -------------------------------------------------------------------------------------------


def serving(it: Json) -> list[Json]:
    """What the Deployment has made before its Workspace had images, with a pod that answers."""
    plan = planned(it, workspace(), model())
    manifest = next(child.manifest for child in plan.apply if child.manifest["kind"] == "Deployment")
    counts = {"observedGeneration": 1, "replicas": 1, "readyReplicas": 1, "updatedReplicas": 1, "availableReplicas": 1}
    return [resource(APPS_DEPLOYMENT, "prod", manifest["spec"], counts, labels={DEPLOYMENT.label: "prod"})]


@pytest.mark.parametrize(("it", "of"), [(deployment(**PIP), model()), (deployment(), trained(**LOCK))])
def test_an_image_is_built_once_and_then_served_from(it: Json, of: Json) -> None:
    first = planned(it, with_images(), of, settings=ALLOWING)
    [made] = [child.manifest for child in first.apply if child.manifest["kind"] == "Job"]
    name = made["metadata"]["name"]
    assert said(first.status)["reason"] == "BuildingEnvironment" and first.status["environment"] == {"job": name}
    assert not [child for child in first.apply if child.manifest["kind"] == "Deployment"]
    job = of_the_cluster(made)
    job["status"] = completed()
    its = its_pod(job, **ended_with({"version": 1, "image": IMAGE}))
    done = planned(it, with_images(), of, job, its, settings=ALLOWING)
    assert done.status["environment"] == {"job": name, "image": IMAGE}
    pod_spec = template_of(done)["spec"]
    assert inits(pod_spec) == ["model"] and pod_spec["containers"][0]["image"] == IMAGE
    later = planned({**it, "status": done.status}, with_images(), of, settings=ALLOWING)
    assert template_of(later)["spec"]["containers"][0]["image"] == IMAGE, "its Job goes after a day"


def test_the_lock_of_a_training_is_brought_to_where_the_image_is_made() -> None:
    plan = planned(deployment(), with_images(), trained(**LOCK), settings=ALLOWING)
    [made] = [child.manifest for child in plan.apply if child.manifest["kind"] == "Job"]
    spec = made["spec"]["template"]["spec"]
    assert inits(spec) == ["tools", "lock", "environment"]
    lock = spec["initContainers"][1]
    assert lock["image"] == SETTINGS.scorer_image and LOCK["uri"] in lock["args"] and LOCK["digest"] in lock["args"]
    told = json.loads(made["spec"]["template"]["metadata"]["annotations"]["smalt.dev/run"])
    assert told["environment"] == {"lockFile": "/smalt/locked/requirements.lock"}
    assert told["image"] == SETTINGS.scorer_image and told["deployment"] == {"name": "prod"}


def test_what_serves_goes_on_while_the_image_of_new_packages_is_built() -> None:
    before = deployment()
    world = serving(before)
    it = deployment(status={"effectiveModel": "churn-1"}, **PIP)
    plan = planned(it, with_images(), model(), *world, settings=ALLOWING)
    assert said(plan.status)["reason"] == "ServingPrevious" and "BuildingEnvironment" in str(plan.status["conditions"])
    assert not [child for child in plan.apply if child.manifest["kind"] == "Deployment"]
    assert [child.manifest["kind"] for child in plan.apply].count("Job") == 1


def test_a_build_that_failed_is_told_with_the_next_step() -> None:
    it = deployment(**PIP)
    first = planned(it, with_images(), model(), settings=ALLOWING)
    [made] = [child.manifest for child in first.apply if child.manifest["kind"] == "Job"]
    job = of_the_cluster(made)
    job["status"] = completed("Failed")
    words = {"version": 1, "reason": "PackageNotFound", "message": "lightgbm is not in the index"}
    plan = planned(it, with_images(), model(), job, its_pod(job, **ended_with(words, 1)), settings=ALLOWING)
    assert said(plan.status)["reason"] == "PackageNotFound"
    assert said(plan.status)["message"].endswith("or delete the Job to have it tried again")
    assert any(each["type"] == "Stalled" and each["status"] == "True" for each in plan.status["conditions"])


@pytest.mark.parametrize(
    ("container", "words"),
    [("model", "the model is fetched"), ("environment", "their packages are installed"), ("scoring", "is loaded")],
)
def test_what_starting_pods_are_at_is_said(container: str, words: str) -> None:
    template = template_of(planned(deployment(**PIP), workspace(), model()))
    kind = "containerStatuses" if container == "scoring" else "initContainerStatuses"
    at_work = pod(
        resource(APPS_DEPLOYMENT, "rs"),
        "pod",
        {DEPLOYMENT.label: "prod"},
        template["metadata"]["annotations"],
        **{kind: [{"name": container, "state": {"running": {}}}]},
    )
    assert at_work["kind"] == POD.kind
    status = planned(deployment(**PIP), workspace(), model(), at_work).status
    assert said(status)["reason"] == "RollingOut" and words in said(status)["message"]
