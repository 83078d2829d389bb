"""Converting a registered model: where, with what in reach, and that a registration never fails because of it."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from smalt.api.conditions import instant
from smalt.api.kinds import JOB, POD
from smalt.builders.registration_job import CONVERSION_ANNOTATION, STOPPED, registration_job_name
from smalt.reconcilers import model as models
from smalt.reconcilers.conversion import MOST_UNEXPLAINED, PATIENCE_SECONDS
from smalt.reconcilers.plan import Plan
from smalt_trainer.registration.contract import contract_of
from support.resources import (
    DIGEST,
    NOW,
    SETTINGS,
    finished_run,
    model,
    owned_by,
    resource,
    run,
    said,
    store_of,
    workspace,
)

Json = dict[str, Any]
NEW: Json = {"observedGeneration": -1}
COPY = "mlflow-artifacts:/7/b/artifacts"
IMAGE = "team/lightgbm:1"
PRIVATE = {"packages": {"indexUrl": "https://packages.example/simple", "credentialsSecret": "index", "cache": {}}}
REPORT: Json = {
    "artifact": {"uri": f"{COPY}/model", "digest": DIGEST, "bytes": 3, "files": 1},
    "format": "joblib",
    "card": f"{COPY}/card.html",
}
MADE = {
    "uri": f"{COPY}/onnx",
    "digest": DIGEST,
    "bytes": 900,
    "rows": 200,
    "tolerance": 1e-05,
    "maxDifference": 1.2e-07,
}
CAUSE = "container 'convert' of image 'team/lightgbm:1' failed (OOMKilled, exit code 137)"


def trained(asked_for: Json | None = None, **status: Any) -> Json:
    """A run with an environment of its own."""
    it = finished_run(**status)
    return it | {"spec": it["spec"] | ({"environment": asked_for} if asked_for else {})}


def planned(it: Json, of: Json, *world: Json, now: Any = NOW, spec: Json | None = None) -> Plan:
    return models.plan(it, store_of(it, workspace(spec), of, *world), {}, now, SETTINGS)


def job_of(plan: Plan) -> Json:
    [child] = plan.apply
    return child.manifest


def pod_of(plan: Plan) -> Json:
    return dict(job_of(plan)["spec"]["template"]["spec"])


def asked(plan: Plan) -> Json:
    found: Json = json.loads(job_of(plan)["spec"]["template"]["metadata"]["annotations"]["smalt.dev/registration"])
    return found


def steps(plan: Plan) -> dict[str, str]:
    """The images of the containers, in the order in which they run."""
    made = pod_of(plan)
    return {each["name"]: each["image"] for each in (*made["initContainers"], *made["containers"])}


def step(plan: Plan, name: str) -> Json:
    [found] = [each for each in pod_of(plan)["initContainers"] if each["name"] == name]
    return dict(found)


def test_a_run_in_the_trainer_image_is_converted_in_it_and_nothing_is_installed() -> None:
    plan = planned(model(status=NEW), trained())
    assert list(steps(plan)) == ["source", "convert", "register"]
    assert set(steps(plan).values()) == {SETTINGS.trainer_image}
    assert asked(plan)["convert"] and not asked(plan)["hasLock"]


def test_what_the_run_had_on_top_of_an_image_is_installed_in_that_image() -> None:
    plan = planned(model(status=NEW), trained({"image": IMAGE, "pip": ["lightgbm==4.5.0"]}))
    trainer = SETTINGS.trainer_image
    assert list(steps(plan).items()) == [
        ("source", trainer),
        ("tools", trainer),
        ("environment", IMAGE),
        ("convert", IMAGE),
        ("register", trainer),
    ]
    assert asked(plan)["hasLock"] and asked(plan)["image"] == IMAGE
    assert step(plan, "convert")["command"][:3] == ["python3", "-s", "-u"]


def test_an_image_that_was_built_with_the_packages_has_them() -> None:
    built = f"registry.example/environments@{DIGEST}"
    plan = planned(model(status=NEW), trained({"pip": ["lightgbm==4.5.0"]}, environment={"image": built, "job": "e-1"}))
    assert steps(plan)["convert"] == built and not asked(plan)["hasLock"]
    assert steps(plan)["environment"] == built, "the converter may still be lacking"


def test_the_container_that_loads_the_model_has_no_credentials_and_can_write_to_no_other_ones_files() -> None:
    plan = planned(model(status=NEW), trained({"image": IMAGE, "pip": ["a==1"]}), spec=PRIVATE)
    convert, environment = step(plan, "convert"), step(plan, "environment")
    assert {each["name"] for each in convert["env"]} == {"PYTHONDONTWRITEBYTECODE", "USER", "LOGNAME", "HOME", "TMPDIR"}
    assert not any("valueFrom" in each for each in convert["env"])
    mounts = {at["name"]: at for at in convert["volumeMounts"]}
    writable = {name for name, at in mounts.items() if not at.get("readOnly")}
    assert writable == {"converted", "convert-tmp"} and "packages" not in mounts
    assert convert["securityContext"]["readOnlyRootFilesystem"] and convert["resources"]["limits"]["memory"]
    others = [
        each for each in (*pod_of(plan)["initContainers"], *pod_of(plan)["containers"]) if each["name"] != "convert"
    ]
    shared = {
        at["name"]
        for each in others
        for at in each["volumeMounts"]
        if at["name"] in writable and not at.get("readOnly")
    }
    assert shared == {"convert-tmp"}
    assert [each["name"] for each in others if any(at["name"] == "convert-tmp" for at in each["volumeMounts"])] == [
        "environment"
    ]
    users = {each["valueFrom"]["secretKeyRef"]["name"] for each in environment["env"] if "valueFrom" in each}
    assert users == {"index"} and not pod_of(plan)["automountServiceAccountToken"]


@pytest.mark.parametrize("format_", ["onnx", "safetensors", "mlflow", "other"])
def test_a_format_that_cannot_be_converted_is_not_tried(format_: str) -> None:
    it = model(status=NEW)
    it["spec"]["format"] = format_
    plan = planned(it, trained({"image": IMAGE}))
    assert list(steps(plan)) == ["source", "register"]
    assert asked(plan)["convert"] is False and "notConverted" not in asked(plan)


def test_the_contract_arrives_in_the_registration() -> None:
    read = contract_of(asked(planned(model(status=NEW), trained({"image": IMAGE, "pip": ["a==1"]}))))
    assert (read.convert, read.image, read.has_lock, read.not_converted) == (True, IMAGE, True, None)
    refused = {"version": 1, **asked(planned(model(status=NEW), trained())), "convert": False}
    read = contract_of(refused | {"notConverted": {"reason": "NotConverted", "message": "its image is gone"}})
    assert not read.convert and read.not_converted == ("NotConverted", "its image is gone")


def attempt(number: int, of: Plan, end: str = "Failed", reason: str = "BackoffLimitExceeded") -> Json:
    """The Job that a plan has made, after its end."""
    made = job_of(of)
    seconds = instant(NOW - timedelta(seconds=10_000))
    conditions = [{"type": end, "status": "True", "reason": reason, "lastTransitionTime": seconds}] if end else []
    annotations = dict(made["metadata"].get("annotations") or {})
    it = resource(
        JOB, registration_job_name("churn-1", number), {}, {"conditions": conditions}, annotations=annotations
    )
    it["metadata"] |= owned_by(model(status=NEW))
    return it


def pod(of: Json, *statuses: Json, **status: Any) -> Json:
    made = resource(POD, f"{of['metadata']['name']}-x", {}, {"initContainerStatuses": list(statuses)} | status)
    made["metadata"] |= owned_by(of)
    return made


def failed(name: str, image: str, code: int = 137, reason: str = "OOMKilled") -> Json:
    return {"name": name, "image": image, "state": {"terminated": {"exitCode": code, "reason": reason}}}


@pytest.mark.parametrize("container", ["tools", "environment", "convert"])
def test_a_conversion_that_takes_its_pod_along_is_tried_in_the_trainer_image_and_then_left(container: str) -> None:
    it, of = model(status=NEW), trained({"image": IMAGE, "pip": ["a==1"]})
    first = planned(it, of)
    ended = attempt(1, first)
    second = planned(it, of, ended, pod(ended, failed(container, IMAGE)))
    assert job_of(second)["metadata"]["name"] == "churn-1-r2"
    assert steps(second)["convert"] == SETTINGS.trainer_image and asked(second)["hasLock"]
    again = attempt(2, second)
    third = planned(it, of, ended, again, pod(again, failed(container, SETTINGS.trainer_image)))
    assert list(steps(third)) == ["source", "register"]
    why = asked(third)["notConverted"]
    assert why["reason"] == "ConverterUnavailable" and "OOMKilled, exit code 137" in why["message"]
    passing = attempt(3, third)
    words = json.dumps({"reason": "TrackingUnavailable", "message": "nobody answers"})
    last = {"name": "register", "state": {"terminated": {"exitCode": 1, "message": words}}}
    fourth = planned(it, of, ended, again, passing, pod(passing, containerStatuses=[last]))
    assert asked(fourth)["notConverted"] == why, "what was found out before stays known"


def test_an_attempt_that_failed_for_another_reason_is_made_again_in_the_same_way() -> None:
    it, of = model(status=NEW), trained({"image": IMAGE})
    ended = attempt(1, planned(it, of))
    words = json.dumps({"reason": "TrackingUnavailable", "message": "nobody answers"})
    last = {"name": "register", "state": {"terminated": {"exitCode": 1, "message": words}}}
    assert steps(planned(it, of, ended, pod(ended, containerStatuses=[last])))["convert"] == IMAGE
    assert steps(planned(it, of, ended))["convert"] == IMAGE, "its node may have been drained"


def test_attempts_of_which_nobody_knows_why_they_failed_do_not_go_on_for_ever() -> None:
    it, of = model(status=NEW), trained({"image": IMAGE})
    first = planned(it, of)
    lost = [attempt(number, first) for number in range(1, MOST_UNEXPLAINED + 1)]
    assert steps(planned(it, of, *lost))["convert"] == SETTINGS.trainer_image


def test_an_attempt_that_took_all_of_its_time_is_not_made_again_in_the_same_way() -> None:
    it, of = model(status=NEW), trained()
    late = attempt(1, planned(it, of), reason="DeadlineExceeded")
    plan = planned(it, of, late)
    assert list(steps(plan)) == ["source", "register"] and "DeadlineExceeded" in asked(plan)["notConverted"]["message"]


def waiting(name: str, reason: str) -> Json:
    words = f'Back-off pulling image "{IMAGE}"'
    return {"name": name, "image": IMAGE, "state": {"waiting": {"reason": reason, "message": words}}}


def checked(seconds_ago: float) -> Json:
    at = instant(NOW - timedelta(seconds=seconds_ago))
    return {"name": "source", "state": {"terminated": {"exitCode": 0, "finishedAt": at}}}


def test_an_image_that_is_gone_is_waited_for_and_then_done_without() -> None:
    it, of = model(status=NEW), trained({"image": IMAGE})
    at_work = attempt(1, planned(it, of), end="")
    early = planned(it, of, at_work, pod(at_work, checked(5), waiting("environment", "ImagePullBackOff")))
    assert not early.apply and "ImagePullFailed" in said(early.status)["message"]
    late = planned(it, of, at_work, pod(at_work, checked(PATIENCE_SECONDS), waiting("environment", "ImagePullBackOff")))
    stop = job_of(late)
    assert stop["spec"] == {"suspend": True} and IMAGE in stop["metadata"]["annotations"][STOPPED]
    assert "another one follows" in said(late.status)["message"]
    at_work["metadata"]["annotations"] |= stop["metadata"]["annotations"]
    next_ = planned(it, of, at_work)
    assert job_of(next_)["metadata"]["name"] == "churn-1-r2"
    assert steps(next_)["convert"] == SETTINGS.trainer_image
    done = model()
    assert [each.name for each in planned(done, of, at_work).delete] == ["churn-1-r1"]


def test_the_step_that_converts_says_so() -> None:
    it, of = model(status=NEW), trained({"image": IMAGE})
    at_work = attempt(1, planned(it, of), end="")
    for name, words in (("environment", "it installs the run's packages"), ("convert", "converts the model to ONNX")):
        running = pod(at_work, checked(500), {"name": name, "state": {"running": {}}})
        message = said(planned(it, of, at_work, running).status)["message"]
        assert words in message and f"-c {name}`" in message


def reported(words: Json) -> Json:
    it, of = model(status=NEW), trained()
    done = attempt(1, planned(it, of), end="Complete")
    last = {"name": "register", "state": {"terminated": {"exitCode": 0, "message": json.dumps(REPORT | words)}}}
    status = planned(it, of, done, pod(done, containerStatuses=[last])).status
    assert status is not None and said(status)["reason"] == "Registered"
    return status


def test_onnx_and_columns_stand_in_the_models_status_and_stay_there() -> None:
    schema = {
        "inputs": [{"name": "age", "type": "integer", "nullable": False}, {"name": "city", "type": "string"}],
        "outputs": [{"name": "predictions", "type": "string"}],
    }
    words = {"onnx": MADE, "schema": schema, "schemaUri": f"{COPY}/schema.json", "schemaDigest": DIGEST}
    status = reported(words)
    assert status["onnx"] == MADE
    assert status["schema"] == {"uri": f"{COPY}/schema.json", "digest": DIGEST, **schema}
    later = planned(model(status=status), trained()).status
    assert later is not None and (later["onnx"], later["schema"]) == (status["onnx"], status["schema"])


def test_why_there_is_no_onnx_stands_there_instead() -> None:
    refused = {"reason": "NotEqual", "message": "predictions differ by up to 3, and 1e-05 is allowed"}
    assert reported({"onnx": refused})["onnx"] == refused
    assert CONVERSION_ANNOTATION not in reported({})


@pytest.mark.parametrize(
    "words",
    [
        {"onnx": "x"},
        {"onnx": {"reason": "NotEqual"}},
        {"onnx": MADE | {"maxDifference": "none"}},
        {"onnx": MADE | {"rows": True}},
        {"onnx": MADE | {"uri": 5}},
        {"schemaUri": f"{COPY}/schema.json"},
        {"schema": {"inputs": [{"name": "a", "type": "number"}]}},
    ],
    ids=str,
)
def test_what_is_of_another_form_is_left_out_and_the_model_is_registered(words: Json) -> None:
    assert not {"onnx", "schema"} & reported(words).keys()


@pytest.mark.parametrize("inputs", ["x", [5], [{"name": "a"}], [{"name": "a", "type": "number"}] * 65], ids=len)
def test_columns_of_another_form_are_left_to_the_registrys_file(inputs: Any) -> None:
    place = {"schemaUri": f"{COPY}/schema.json", "schemaDigest": DIGEST}
    assert reported(place | {"schema": {"inputs": inputs}})["schema"] == {"uri": place["schemaUri"], "digest": DIGEST}


def test_a_run_that_has_not_finished_says_nothing_of_its_environment() -> None:
    assert not planned(model(status=NEW), run()).apply


def test_what_is_imported_has_no_rows_to_prove_it_on_and_is_never_loaded() -> None:
    it = model(status=NEW)
    it["spec"]["source"] = {"uri": "https://models.example/churn.joblib", "digest": DIGEST}
    plan = planned(it, trained())
    assert list(steps(plan)) == ["source", "register"] and asked(plan)["notConverted"]["reason"] == "NoRows"
