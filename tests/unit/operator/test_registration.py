"""The registration of a Model: one Job, its words, and what happens when it fails, passes away or says nonsense."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from smalt.api.conditions import instant
from smalt.api.kinds import JOB, POD
from smalt.builders.registration_job import registration_job_name
from smalt.reconcilers import model as models
from smalt.reconcilers.plan import Plan
from smalt.reconcilers.registration import LAST_WORDS_SECONDS, MOST_ATTEMPTS, PASSING
from smalt_trainer.registration.contract import contract_of
from support.resources import (
    DIGEST,
    NOW,
    SETTINGS,
    finished_run,
    model,
    resource,
    said,
    store_of,
    workspace,
)

Json = dict[str, Any]
NEW: Json = {"observedGeneration": -1}
COPY = "mlflow-artifacts:/7/b/artifacts/model"
REPORT: Json = {
    "artifact": {"uri": COPY, "digest": DIGEST, "bytes": 3, "files": 1},
    "format": "joblib",
    "type": "customModel",
    "card": "mlflow-artifacts:/7/b/artifacts/card.html",
    "registry": {"version": "1", "runId": "b"},
}


def planned(it: Json, *world: Json, now: Any = NOW) -> Plan:
    return models.plan(it, store_of(it, workspace(), finished_run(), *world), {}, now, SETTINGS)


def job(attempt: int = 1, end: str = "", seconds_ago: float = 0.0) -> Json:
    """The Job of an attempt; `end` is Complete or Failed."""
    owner = model(status=NEW)
    conditions = [{"type": end, "status": "True", "lastTransitionTime": instant(NOW - timedelta(seconds=seconds_ago))}]
    made = resource(JOB, registration_job_name("churn-1", attempt), {}, {"conditions": conditions if end else []})
    made["metadata"]["ownerReferences"] = [owned_by(owner)]
    return made


def owned_by(owner: Json) -> Json:
    metadata = owner["metadata"]
    return {"kind": owner["kind"], "name": metadata["name"], "uid": metadata["uid"], "controller": True}


def pod(of: Json, container: str = "register", words: Json | str | None = None, code: int = 0) -> Json:
    text = words if isinstance(words, str) else json.dumps(words) if words is not None else ""
    state = {"terminated": {"exitCode": code, "message": text}}
    made = resource(
        POD, f"{of['metadata']['name']}-x", {}, {"containerStatuses": [{"name": container, "state": state}]}
    )
    made["metadata"]["ownerReferences"] = [owned_by(of)]
    return made


def test_a_model_is_registered_by_one_job_of_its_own() -> None:
    plan = planned(model(status=NEW))
    [child] = plan.apply
    assert child.once and child.owned and child.name == "churn-1-r1"
    assert said(plan.status)["reason"] == "Registering" and "artifact" not in (plan.status or {})
    text = child.manifest["spec"]["template"]["metadata"]["annotations"]["smalt.dev/registration"]
    asked = json.loads(text)
    assert asked["source"] == {
        "uri": "mlflow-artifacts:/1/a/artifacts/outputs/model",
        "digest": DIGEST,
        "credentials": "scoring",
    }
    assert asked["run"] == {"name": "first", "trackingRunId": "a", "experimentId": "1"}
    assert asked["metrics"] == {"auc": 0.9} and asked["lineage"]["experiment"] == "trials"


def test_each_container_has_the_credentials_of_its_own_step_alone() -> None:
    [child] = planned(model(status=NEW)).apply
    pod_ = child.manifest["spec"]["template"]["spec"]
    [source, _convert], [register] = pod_["initContainers"], pod_["containers"]
    users = {
        each["name"]: next(it["value"] for it in each["env"] if it["name"] == "SMALT_TRACKING_USERNAME")
        for each in (source, register)
    }
    assert users == {"source": "scoring", "register": "registry"}
    assert "registry-password" not in json.dumps(source) and "scoring-password" not in json.dumps(register)
    writable = [at["name"] for at in register["volumeMounts"] if not at.get("readOnly")]
    assert writable == ["tmp"] and not pod_["automountServiceAccountToken"]


def test_what_the_job_reports_is_the_models_and_its_files_are_the_registrys() -> None:
    done = job(end="Complete")
    plan = planned(model(status=NEW), done, pod(done, words=REPORT))
    assert said(plan.status)["reason"] == "Registered" and plan.is_final and not plan.apply
    assert plan.status is not None and plan.status["artifact"]["uri"] == COPY
    assert plan.status["format"] == "joblib" and plan.status["registry"] == {"version": "1", "runId": "b"}
    assert plan.status["metrics"] == {"auc": 0.9} and plan.status["lineage"]["run"] == "first"
    assert "profiles" not in plan.status and "parameters" not in plan.status


def test_the_workspaces_formats_are_those_that_may_be_registered() -> None:
    it = model(status=NEW)
    policy = {"policy": {"modelFormats": ["onnx", "skops"]}}
    [child] = models.plan(it, store_of(it, workspace(policy), finished_run()), {}, NOW, SETTINGS).apply
    text = child.manifest["spec"]["template"]["metadata"]["annotations"]["smalt.dev/registration"]
    assert json.loads(text)["allowedFormats"] == ["onnx", "skops"]


KEY = {"signing": {"keySecret": "model-signing"}}


def test_where_the_workspace_has_a_key_the_registry_signs_and_nobody_else_sees_it() -> None:
    it = model(status=NEW)
    [child] = models.plan(it, store_of(it, workspace(KEY), finished_run()), {}, NOW, SETTINGS).apply
    pod_ = child.manifest["spec"]["template"]["spec"]
    holders = [
        each["name"]
        for each in (*pod_["initContainers"], *pod_["containers"])
        if any(at["name"] == "signing" for at in each["volumeMounts"])
    ]
    assert holders == ["register"]
    done = job(end="Complete")
    report = REPORT | {"signature": {"uri": "mlflow-artifacts:/7/b/artifacts/signature.json", "keyDigest": DIGEST}}
    world = store_of(it, workspace(KEY), finished_run(), done, pod(done, words=report))
    status = models.plan(it, world, {}, NOW, SETTINGS).status
    assert (
        said(status, "SignatureVerified")["status"] == "True" and DIGEST in said(status, "SignatureVerified")["message"]
    )
    assert status is not None and status["signature"]["keyDigest"] == DIGEST


def test_a_model_from_before_the_key_is_not_signed_and_says_so() -> None:
    it = model()
    status = models.plan(it, store_of(it, workspace(KEY)), {}, NOW, SETTINGS).status
    assert said(status, "SignatureVerified")["status"] == "False"
    assert "register it again" in said(status, "SignatureVerified")["message"]
    assert said(status)["status"] == "True"


def test_a_registered_model_lets_its_job_go_and_stays_without_it() -> None:
    done, it = job(end="Complete"), model()
    plan = planned(it, done)
    assert [each.name for each in plan.delete] == ["churn-1-r1"]
    assert planned(it).delete == () and not planned(it).apply
    assert planned(it, job()).delete == (), "one that is at work is not ended"


@pytest.mark.parametrize(
    "words",
    [
        "",
        "{",
        {},
        {"artifact": "x"},
        REPORT | {"artifact": REPORT["artifact"] | {"digest": "sha256:" + "cd" * 32}},
        REPORT | {"artifact": REPORT["artifact"] | {"bytes": -1}},
        REPORT | {"artifact": REPORT["artifact"] | {"uri": 5}},
    ],
    ids=str,
)
def test_a_job_that_ended_well_without_words_that_can_be_believed_is_made_again(words: Json | str) -> None:
    done = job(end="Complete", seconds_ago=LAST_WORDS_SECONDS)
    plan = planned(model(status=NEW), done, pod(done, words=words))
    assert [child.name for child in plan.apply] == ["churn-1-r2"]
    assert said(plan.status)["reason"] == "Registering"


def test_the_last_words_of_a_job_that_has_just_ended_are_waited_for() -> None:
    plan = planned(model(status=NEW), job(end="Complete"))
    assert not plan.apply and "just ended" in said(plan.status)["message"] and plan.requeue_after == 1.0


@pytest.mark.parametrize("container", ["source", "register"])
def test_a_cause_that_stays_is_told_and_nothing_is_tried_again(container: str) -> None:
    failed = job(end="Failed", seconds_ago=1000)
    words = {"reason": "ModelDamaged", "message": "'model.joblib' is damaged: save the model again"}
    plan = planned(model(status=NEW), failed, pod(failed, container, words, 1))
    assert not plan.apply and said(plan.status)["reason"] == "ModelDamaged"
    assert said(plan.status, "Stalled")["status"] == "True" and "save the model again" in said(plan.status)["message"]


@pytest.mark.parametrize("reason", sorted(PASSING))
def test_a_cause_that_passes_is_waited_out_and_tried_again(reason: str) -> None:
    words = {"reason": reason, "message": "the server does not answer"}
    soon = job(end="Failed", seconds_ago=1)
    plan = planned(model(status=NEW), soon, pod(soon, words=words, code=1))
    assert not plan.apply and "the server does not answer" in said(plan.status)["message"]
    assert "tried again (attempt 2)" in said(plan.status)["message"] and plan.requeue_after == 4.0
    later = job(end="Failed", seconds_ago=5)
    assert [it.name for it in planned(model(status=NEW), later, pod(later, words=words, code=1)).apply] == [
        "churn-1-r2"
    ]


def test_after_many_attempts_it_is_told_what_is_in_the_way() -> None:
    jobs = [job(number, "Failed", 10_000) for number in (1, MOST_ATTEMPTS)]
    words = {"reason": "TrackingUnavailable", "message": "nobody answers"}
    plan = planned(model(status=NEW), *jobs, pod(jobs[1], words=words, code=1))
    assert not plan.apply and said(plan.status)["reason"] == "RegistrationFailed"
    assert "nobody answers" in said(plan.status)["message"]


def test_a_job_at_work_says_which_step_it_is_at() -> None:
    at_work = job()
    waiting = pod(at_work)
    waiting["status"] = {"initContainerStatuses": [{"name": "source", "state": {"running": {}}}]}
    assert (
        "it checks the files; see `kubectl logs job/churn-1-r1 -c source`"
        in said(planned(model(status=NEW), at_work, waiting).status)["message"]
    )
    waiting["status"] = {"containerStatuses": [{"name": "register", "state": {"running": {}}}]}
    assert "it stores the files" in said(planned(model(status=NEW), at_work, waiting).status)["message"]
    assert "its pod is starting" in said(planned(model(status=NEW), at_work).status)["message"]


def test_a_workspace_that_is_not_ready_is_waited_for() -> None:
    it = model(status=NEW)
    plan = models.plan(it, store_of(it, finished_run()), {}, NOW, SETTINGS)
    assert said(plan.status)["reason"] == "WaitingForWorkspace" and not plan.apply


def test_profiles_of_inputs_go_along_and_those_of_outputs_do_not() -> None:
    place = "mlflow-artifacts:/1/a/artifacts/profiles"
    profiles = {
        "train": {"rows": 3, "report": f"{place}/inputs/train"},
        "clean": {"rows": 3, "report": f"{place}/outputs/clean"},
        "odd": {"message": "it is no table"},
    }
    it = model(status=NEW)
    world = store_of(it, workspace(), finished_run(dataProfile=profiles))
    [child] = models.plan(it, world, {}, NOW, SETTINGS).apply
    text = child.manifest["spec"]["template"]["metadata"]["annotations"]["smalt.dev/registration"]
    assert json.loads(text)["profiles"] == {"train": f"{place}/inputs/train"}


IMPORTED = {"uri": "s3://models/churn", "digest": DIGEST}


def imported(**source: Any) -> Json:
    made = model(status=NEW)
    made["spec"]["source"] = IMPORTED | source
    return made


def test_a_model_is_imported_without_a_run_and_its_secret_is_where_it_is_brought_alone() -> None:
    plan = models.plan(imported(credentialsSecret="login"), store_of(workspace()), {}, NOW, SETTINGS)
    [child] = plan.apply
    template = child.manifest["spec"]["template"]
    asked = json.loads(template["metadata"]["annotations"]["smalt.dev/registration"])
    assert asked["source"] == IMPORTED | {"credentials": "import", "secret": "login"}
    assert asked["run"] is None and asked["lineage"] == {"source": IMPORTED} and asked["metrics"] == {}
    [source], [register] = template["spec"]["initContainers"], template["spec"]["containers"]
    at = {"name": "credentials", "mountPath": "/smalt/credentials/source", "readOnly": True}
    assert at in source["volumeMounts"] and at not in register["volumeMounts"]
    [volume] = [each for each in template["spec"]["volumes"] if each["name"] == "credentials"]
    assert volume["secret"]["secretName"] == "login" and volume["secret"]["optional"] is True


def test_of_an_import_the_registrys_digest_counts_which_the_job_has_proven_against_the_declared_one() -> None:
    other = REPORT | {"artifact": REPORT["artifact"] | {"digest": "sha256:" + "9" * 64}}
    there = job(end="Complete")
    plan = models.plan(imported(), store_of(workspace(), there, pod(there, words=other)), {}, NOW, SETTINGS)
    assert said(plan.status)["reason"] == "Registered"
    assert plan.status is not None and plan.status["artifact"]["digest"] == other["artifact"]["digest"]
    assert plan.status["lineage"] == {"source": IMPORTED}
    of_a_run = planned(model(status=NEW), there, pod(there, words=other))
    assert said(of_a_run.status)["reason"] != "Registered", "a run's output has the digest that its run says"


@pytest.mark.parametrize("reason", ["SourceUnreachable", "CredentialsMissing"])
def test_an_import_that_cannot_be_had_now_is_tried_again(reason: str) -> None:
    there = job(end="Failed", seconds_ago=120)
    words = {"reason": reason, "message": "the files cannot be had: 403"}
    plan = models.plan(imported(), store_of(workspace(), there, pod(there, "source", words, 1)), {}, NOW, SETTINGS)
    assert [child.name for child in plan.apply] == ["churn-1-r2"]
    soon = job(end="Failed", seconds_ago=1)
    plan = models.plan(imported(), store_of(workspace(), soon, pod(soon, "source", words, 1)), {}, NOW, SETTINGS)
    assert said(plan.status)["reason"] == reason and "403; see" in said(plan.status)["message"]
    assert said(plan.status, "Reconciling")["status"] == "True" and "attempt 2" in said(plan.status)["message"]


@pytest.mark.parametrize(("reason", "goes_on"), [("CredentialsMissing", True), ("SourceUnreachable", False)])
def test_a_secret_is_waited_for_without_end_and_an_address_is_not(reason: str, goes_on: bool) -> None:
    there = job(MOST_ATTEMPTS, "Failed", 10_000)
    words = {"reason": reason, "message": "as it is"}
    plan = models.plan(imported(), store_of(workspace(), there, pod(there, "source", words, 1)), {}, NOW, SETTINGS)
    assert [child.name for child in plan.apply] == ([f"churn-1-r{MOST_ATTEMPTS + 1}"] if goes_on else [])
    assert (said(plan.status)["reason"] == "RegistrationFailed") is not goes_on


def test_however_often_it_is_tried_the_last_failed_job_alone_stays() -> None:
    jobs = [job(number, "Failed", 1000) for number in (1, 2, 3)]
    words = {"reason": "CredentialsMissing", "message": "as it is"}
    world = store_of(workspace(), *jobs, pod(jobs[-1], "source", words, 1))
    plan = models.plan(imported(), world, {}, NOW, SETTINGS)
    assert [child.name for child in plan.apply] == ["churn-1-r4"]
    assert sorted(each.name for each in plan.delete) == ["churn-1-r1", "churn-1-r2"]


def test_an_archive_is_one_for_who_brings_it_and_a_signed_query_is_nobody_elses() -> None:
    uri = "https://host/churn.tar.gz?X-Amz-Signature=abc"
    plan = models.plan(imported(uri=uri, unpack=True), store_of(workspace()), {}, NOW, SETTINGS)
    [child] = plan.apply
    text = child.manifest["spec"]["template"]["metadata"]["annotations"]["smalt.dev/registration"]
    read = contract_of(json.loads(text))
    assert (read.source.uri, read.source.unpack, read.source.is_imported) == (uri, True, True)
    assert read.lineage == {"source": {"uri": "https://host/churn.tar.gz", "digest": DIGEST}}
    assert "abc" not in json.dumps(plan.status)


def begun(end: str = "", seconds_ago: float = 0.0) -> Json:
    """The Job that a Model has had made while its run was there."""
    [child] = planned(model(status=NEW)).apply
    made = job(end=end, seconds_ago=seconds_ago)
    made["metadata"]["annotations"] = child.manifest["metadata"]["annotations"]
    return made


def test_a_run_that_is_deleted_while_its_model_registers_holds_nothing_up() -> None:
    it = model(status=NEW)
    at_work = models.plan(it, store_of(workspace(), begun()), {}, NOW, SETTINGS)
    assert said(at_work.status)["reason"] == "Registering" and at_work.apply == ()
    done = begun("Complete")
    plan = models.plan(it, store_of(workspace(), done, pod(done, words=REPORT)), {}, NOW, SETTINGS)
    assert said(plan.status)["reason"] == "Registered" and plan.status is not None
    assert plan.status["metrics"] == {"auc": 0.9} and plan.status["lineage"]["run"] == "first"
    failed = begun("Failed", 120)
    words = {"reason": "TrackingUnavailable", "message": "away"}
    again = models.plan(it, store_of(workspace(), failed, pod(failed, words=words, code=1)), {}, NOW, SETTINGS)
    [child] = again.apply
    assert child.name == "churn-1-r2"
    contract = child.manifest["spec"]["template"]["metadata"]["annotations"]["smalt.dev/registration"]
    assert json.loads(contract)["metrics"] == {"auc": 0.9}


def test_a_run_that_is_deleted_before_anything_was_begun_ends_its_model_in_words_until_it_is_there_again() -> None:
    it = model(status=NEW, labels={"smalt.dev/run-uid": "uid-trainingruns-first"})
    plan = models.plan(it, store_of(workspace()), {}, NOW, SETTINGS)
    assert not plan.apply and said(plan.status)["reason"] == "RunDeleted"
    assert said(plan.status, "Stalled")["status"] == "True" and "'first' was deleted" in said(plan.status)["message"]
    assert [child.name for child in planned(it).apply] == ["churn-1-r1"], "by its digest it is the same"
    by_hand = models.plan(model(status=NEW), store_of(workspace()), {}, NOW, SETTINGS)
    assert said(by_hand.status)["reason"] == "WaitingForRun", "one that was applied by hand may be earlier than its run"
