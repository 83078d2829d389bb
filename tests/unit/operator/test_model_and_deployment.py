"""Model and Deployment: what is registered, what is served, and what still serves when the new cannot."""

from __future__ import annotations

import json
from typing import Any

import pytest

from smalt.api import conditions
from smalt.api.conditions import information
from smalt.api.kinds import APPS_DEPLOYMENT, CONFIG_MAP, DEPLOYMENT, SECRET
from smalt.builders import scoring
from smalt.reconcilers import deployment as deployments
from smalt.reconcilers import experiment as experiments
from smalt.reconcilers import model as models
from smalt.reconcilers.world import Read
from support.resources import (
    DIGEST,
    NAMESPACE,
    NOW,
    SETTINGS,
    deployment,
    experiment,
    finished_run,
    model,
    pod,
    resource,
    run,
    said,
    store_of,
    workspace,
)

Json = dict[str, Any]


def modelled(it: Json, *world: Json) -> Any:
    return models.plan(it, store_of(it, *world), {}, NOW, SETTINGS).status


NEW: Json = {"observedGeneration": -1}


def test_a_model_knows_what_its_run_left() -> None:
    status = modelled(model(status=NEW), finished_run())
    assert status["metrics"] == {"auc": 0.9}
    assert status["lineage"]["experiment"] == "trials" and status["lineage"]["data"] == {"train": DIGEST}
    assert status["lineage"]["code"] == {"digest": DIGEST}


def test_a_model_knows_the_commit_that_made_it() -> None:
    status = modelled(model(status=NEW), finished_run(code={"commit": "ab" * 20}))
    assert status["lineage"]["code"] == {"commit": "ab" * 20, "digest": DIGEST}


def test_what_was_taken_over_stays_when_the_run_is_gone() -> None:
    assert said(modelled(model()))["reason"] == "Registered"


@pytest.mark.parametrize(
    ("world", "reason", "words"),
    [
        ([], "WaitingForRun", "'first' does not exist"),
        ([run()], "WaitingForRun", "has not finished"),
        ([finished_run(phase="Failed")], "RunFailed", "failed"),
        ([finished_run(outputs={})], "OutputMissing", "'model' (it has none)"),
        (
            [finished_run(outputs={"model": {"uri": "x", "digest": "sha256:other", "bytes": 1, "files": 1}})],
            "DigestMismatch",
            "sha256:other",
        ),
    ],
)
def test_a_model_without_its_files_says_why(world: list[Json], reason: str, words: str) -> None:
    status = modelled(model(status=NEW), *world)
    assert said(status)["reason"] == reason and words in said(status)["message"]


def test_a_model_names_who_serves_it_or_is_about_to() -> None:
    serving = deployment(status={"effectiveModel": "churn-1"}, model={"name": "churn", "version": 2})
    assert modelled(model(1), serving, model(2))["usedBy"] == ["prod"]
    assert modelled(model(2), serving, model(1))["usedBy"] == ["prod"]
    assert modelled(model(3), serving)["usedBy"] == []


# --- Deployment -------------------------------------------------------------------------------------------------------


def deployed(it: Json, *world: Json, live: dict[Any, Any] | None = None) -> Any:
    return deployments.plan(it, store_of(it, *world), live or {}, NOW, SETTINGS)


def manifest_of(it: Json, *world: Json) -> Json:
    return next(child.manifest for child in deployed(it, *world).apply if child.manifest["kind"] == "Deployment")


def server(manifest: Json, **status: Any) -> Json:
    counts = {"observedGeneration": 1, "replicas": 1, "readyReplicas": 1, "updatedReplicas": 1, "availableReplicas": 1}
    return resource(APPS_DEPLOYMENT, "prod", manifest["spec"], counts | status, labels={DEPLOYMENT.label: "prod"})


def scoring_pod(manifest: Json, name: str = "pod", **status: Any) -> Json:
    annotations = manifest["spec"]["template"]["metadata"]["annotations"]
    return pod(resource(APPS_DEPLOYMENT, "rs"), name, {DEPLOYMENT.label: "prod"}, annotations, **status)


READY_POD = {"conditions": [{"type": "Ready", "status": "True"}]}


@pytest.mark.parametrize(
    ("it", "world", "reason", "words"),
    [
        (deployment(), [], "WaitingForWorkspace", "'lab' does not exist"),
        (deployment(), [workspace(status=NEW)], "WaitingForWorkspace", "'lab' is not ready"),
        (deployment(), [workspace()], "WaitingForModel", "churn-1"),
        (deployment(), [workspace(), model(status=NEW)], "WaitingForModel", "'churn-1' is not ready"),
        (
            deployment(model={"name": "churn", "stage": "Production"}),
            [workspace(), model()],
            "WaitingForModel",
            "Production",
        ),
        (deployment(instanceType="gpu"), [workspace(), model()], "UnknownInstanceType", "'gpu'"),
        (
            deployment(codeConfiguration={"code": {"configMap": "later"}, "scoringScript": "score.py"}),
            [workspace(), model()],
            "WaitingForConfigMap",
            "'later'",
        ),
        (deployment(), [workspace(), model()], "RollingOut", "churn-1"),
    ],
)
def test_what_a_deployment_waits_for_is_said(it: Json, world: list[Json], reason: str, words: str) -> None:
    status = deployed(it, *world).status
    assert said(status)["reason"] == reason and words in said(status)["message"]


def test_a_stage_is_followed_to_its_highest_ready_version() -> None:
    it = deployment(model={"name": "churn", "stage": "Production"})
    family = [model(1, "Production"), model(3, "Production"), model(4, "Staging"), model(9, "Production", status=NEW)]
    manifest = manifest_of(it, workspace(), *family)
    assert manifest["spec"]["template"]["metadata"]["annotations"][scoring.MODEL_ANNOTATION] == "churn-3"


def test_it_serves_when_all_pods_are_of_the_wanted_kind() -> None:
    world = [workspace(), model()]
    plan = deployed(deployment(), *world, server(manifest_of(deployment(), *world)))
    assert said(plan.status)["reason"] == "Serving"
    assert plan.status["effectiveModel"] == "churn-1"
    assert plan.status["scoringUri"] == "http://prod.team-a/score"
    assert plan.status["selector"] == "smalt.dev/deployment=prod"


def test_half_rolled_out_is_not_serving() -> None:
    world = [workspace(), model()]
    plan = deployed(deployment(), *world, server(manifest_of(deployment(), *world), replicas=2))
    assert said(plan.status)["reason"] == "RollingOut"


@pytest.mark.parametrize(
    "edit",
    [
        {"resources": {"limits": {"memory": "2Gi"}}},
        {"environmentVariables": {"A": "1"}},
        {"readinessProbe": {"period": "1s"}},
        {"replicas": 2},
    ],
    ids=lambda edit: next(iter(edit)),
)
def test_what_serves_the_spec_of_before_is_not_said_to_serve_the_present_one(edit: Json) -> None:
    world = [workspace(), model()]
    before = server(manifest_of(deployment(), *world))
    plan = deployed(deployment(**edit), *world, before)
    assert said(plan.status)["reason"] == "RollingOut"


def test_an_edited_model_that_nobody_has_looked_at_yet_serves_on() -> None:
    edited = model(3, "Production", generation=2)
    it = deployment(model={"name": "churn", "stage": "Production"})
    manifest = manifest_of(it, workspace(), model(2, "Production"), edited)
    assert manifest["spec"]["template"]["metadata"]["annotations"][scoring.MODEL_ANNOTATION] == "churn-3"


FAILED = {
    "terminated": {"exitCode": 1, "message": json.dumps({"reason": "InitFailed", "message": "init() raised KeyError"})}
}


def crashing(manifest: Json) -> Json:
    return scoring_pod(manifest, "new", containerStatuses=[{"name": "scoring", "lastState": FAILED}])


def ended_with(reason: str) -> Json:
    words = json.dumps({"reason": reason, "message": "words"})
    return {"containerStatuses": [{"name": "scoring", "state": {"terminated": {"exitCode": 1, "message": words}}}]}


def waiting_for(reason: str) -> Json:
    return {"containerStatuses": [{"name": "scoring", "image": "i", "state": {"waiting": {"reason": reason}}}]}


def test_a_script_that_fails_at_first_is_stalled_with_its_words() -> None:
    world = [workspace(), model()]
    status = deployed(deployment(), *world, crashing(manifest_of(deployment(), *world))).status
    assert said(status, "Stalled")["reason"] == "InitFailed"
    assert said(status)["message"] == "init() raised KeyError"


def test_the_pods_of_before_serve_on_while_the_new_ones_fail() -> None:
    world = [workspace(), model()]
    before = manifest_of(deployment(), *world)
    it = deployment(status={"effectiveModel": "churn-1"}, environmentVariables={"MODE": "new"})
    after = manifest_of(it, *world)
    assert before != after
    old = scoring_pod(before, "old", **READY_POD)
    status = deployed(it, *world, server(after, updatedReplicas=1, replicas=2), old, crashing(after)).status
    assert (said(status)["status"], said(status)["reason"]) == ("True", "ServingPrevious")
    assert said(status, "Stalled")["reason"] == "InitFailed"
    assert status["effectiveModel"] == "churn-1"


def test_a_version_that_does_not_exist_leaves_the_present_one_serving() -> None:
    world = [workspace(), model()]
    it = deployment(status={"effectiveModel": "churn-1"}, model={"name": "churn", "version": 9})
    status = deployed(it, *world, server(manifest_of(deployment(), *world))).status
    assert said(status)["reason"] == "ServingPrevious" and "churn-9" in said(status, "Reconciling")["message"]
    assert "what is asked for now waits: Model 'churn-9' does not exist" in said(status)["message"]


@pytest.mark.parametrize(
    ("asked", "pods", "reason", "besides"),
    [
        ({"model": {"name": "churn", "version": 9}}, {}, "WaitingForModel", "Reconciling"),
        (
            {"codeConfiguration": {"code": {"configMap": "later"}, "scoringScript": "score.py"}},
            {},
            "WaitingForConfigMap",
            "Reconciling",
        ),
        ({"instanceType": "gpu"}, {}, "UnknownInstanceType", "Stalled"),
        (
            {},
            {"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes"}]},
            "Unschedulable",
            "Reconciling",
        ),
        ({}, ended_with("ModelUnavailable"), "ModelUnavailable", "Reconciling"),
        ({}, ended_with("ModelDigestMismatch"), "ModelDigestMismatch", "Stalled"),
        ({}, ended_with("InitFailed"), "InitFailed", "Stalled"),
        ({}, waiting_for("ErrImagePull"), "ImagePullFailed", "Stalled"),
        ({}, waiting_for("CreateContainerConfigError"), "PodRefused", "Reconciling"),
    ],
    ids=lambda it: it if isinstance(it, str) else "",
)
def test_while_the_pods_of_before_serve_what_waits_is_reconciling_and_what_is_refused_is_stalled(
    asked: Json, pods: Json, reason: str, besides: str
) -> None:
    world = [workspace(), model()]
    before = manifest_of(deployment(), *world)
    it = deployment(status={"effectiveModel": "churn-1"}, environmentVariables={"MODE": "new"}, **asked)
    new = [scoring_pod(manifest_of(it, *world), "new", **pods)] if pods else []
    status = deployed(it, *world, server(before), scoring_pod(before, "old", **READY_POD), *new).status
    assert {each["type"] for each in status["conditions"]} == {"Ready", besides}
    assert (said(status)["status"], said(status)["reason"]) == ("True", "ServingPrevious")
    assert said(status, besides)["reason"] == reason
    assert ("now waits: " if besides == "Reconciling" else "now cannot: ") in said(status)["message"]
    assert status["effectiveModel"] == "churn-1"


PIP: Json = {"environment": {"pip": ["lightgbm"]}}


@pytest.mark.parametrize("spec", [PIP, {}], ids=["packages", "no packages"])
@pytest.mark.parametrize("is_there", [True, False])
def test_pods_wait_for_the_certificates_that_they_trust(spec: Json, is_there: bool) -> None:
    roots = Read(CONFIG_MAP, NAMESPACE, "roots")
    it, at = deployment(**spec), workspace({"trustBundle": {"configMap": "roots"}})
    assert roots in deployments.reads(it, store_of(it, at), NOW)
    status = deployed(it, at, model(), live={roots: resource(CONFIG_MAP, "roots")} if is_there else {}).status
    assert said(status)["reason"] == ("RollingOut" if is_there else "WaitingForConfigMap")
    assert is_there or "ConfigMap 'roots' of the Workspace's spec.trustBundle" in said(status)["message"]


def test_what_a_workspace_trusts_is_not_asked_for_before_there_is_one() -> None:
    key = Read(SECRET, NAMESPACE, "prod-key")
    for world in ([], [workspace({"trustBundle": {}})]):
        assert deployments.reads(deployment(**PIP), store_of(*world), NOW) == (key,)


def test_what_a_deleted_pod_says_last_is_no_trouble() -> None:
    world = [workspace(), model()]
    pod_ = crashing(manifest_of(deployment(), *world))
    pod_["metadata"]["deletionTimestamp"] = "2026-01-02T03:04:00Z"
    assert said(deployed(deployment(), *world, pod_).status)["reason"] == "RollingOut"


@pytest.mark.parametrize(
    ("container", "ended", "reason", "words"),
    [
        ("scoring", {"reason": "OOMKilled", "exitCode": 137}, "OutOfMemory", "raise spec.resources.limits.memory"),
        ("environment", {"reason": "OOMKilled", "exitCode": 137}, "OutOfMemory", "fewer packages in spec.environment"),
        ("scoring", {"reason": "Error", "exitCode": 137}, "Killed", "`kubectl describe pod new`"),
        ("tools", {"reason": "Error", "exitCode": 2}, "InternalError", "`kubectl logs new -c tools --previous`"),
    ],
)
def test_a_container_without_last_words_is_named_with_the_next_step(
    container: str, ended: Json, reason: str, words: str
) -> None:
    world = [workspace(), model()]
    state = {"name": container, "lastState": {"terminated": ended}}
    new = scoring_pod(manifest_of(deployment(), *world), "new", containerStatuses=[state])
    status = deployed(deployment(), *world, new).status
    assert said(status)["reason"] == reason
    assert f"container '{container}'" in said(status)["message"] and words in said(status)["message"]


def test_a_quota_that_leaves_no_room_is_said_in_the_controllers_words() -> None:
    world = [workspace(), model()]
    full = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota: small"}
    there = server(manifest_of(deployment(), *world), replicas=0, updatedReplicas=0, conditions=[full])
    status = deployed(deployment(), *world, there).status
    assert said(status, "Reconciling")["reason"] == "QuotaExceeded"
    assert "exceeded quota: small. It goes on when there is" in said(status)["message"]


def test_a_deployment_that_no_pod_can_carry_is_stalled_with_the_next_step() -> None:
    # As inline code that the schema lets pass may be: each quote counts twice in JSON.
    code = {"inline": {"score.py": '"' * (128 << 10)}}
    it = deployment(codeConfiguration={"code": code, "scoringScript": "score.py"})
    plan = deployed(it, workspace(), model())
    assert said(plan.status, "Stalled")["reason"] == "TooLarge"
    assert "name it in code.configMap" in said(plan.status)["message"]
    assert plan.apply == ()


def test_an_edited_score_script_rolls_the_pods() -> None:
    it = deployment(codeConfiguration={"code": {"configMap": "scoring"}, "scoringScript": "score.py"})
    read = Read(CONFIG_MAP, NAMESPACE, "scoring")
    contents = []
    for text in ("a", "b"):
        found = resource(CONFIG_MAP, "scoring") | {"data": {"score.py": text}}
        plan = deployed(it, workspace(), model(), live={read: found})
        template = plan.apply[-1].manifest["spec"]["template"]
        contents.append(template["metadata"]["annotations"][scoring.CONTENTS_ANNOTATION])
    assert contents[0] != contents[1]


def test_without_a_key_there_is_no_secret_and_none_is_mounted() -> None:
    plan = deployed(deployment(authMode="none"), workspace(), model())
    assert "Secret" not in [child.manifest["kind"] for child in plan.apply]
    assert "keys" not in json.dumps(plan.apply[-1].manifest["spec"]["template"]["spec"]["volumes"])


# --- Experiment -------------------------------------------------------------------------------------------------------


def test_an_experiment_counts_and_ranks_its_runs() -> None:
    world = [
        workspace(),
        finished_run("a", metrics={"auc": 0.7}),
        finished_run("b", metrics={"auc": 0.9}),
        finished_run("c", metrics={"loss": 0.1}),
        finished_run("d", metrics={"auc": 0.99}, phase="Failed"),
        run("e", status={"phase": "Running"}),
        run("f"),
    ]
    it = experiment()
    status = experiments.plan(it, store_of(it, *world), {}, NOW, SETTINGS).status
    assert status is not None
    assert status["runs"] == {"total": 6, "pending": 1, "running": 1, "succeeded": 3, "failed": 1, "canceled": 0}
    assert status["best"] == {"run": "b", "metric": 0.9}
    assert [line["run"] for line in status["leaderboard"]] == ["b", "a"]


def test_less_is_better_when_the_goal_says_so() -> None:
    it = experiment(objective={"primaryMetric": "auc", "goal": "minimize"})
    world = [workspace(), finished_run("a", metrics={"auc": 0.7}), finished_run("b", metrics={"auc": 0.9})]
    status = experiments.plan(it, store_of(it, *world), {}, NOW, SETTINGS).status
    assert status is not None and status["best"]["run"] == "a"


def test_a_change_of_counts_alone_may_wait() -> None:
    world = [workspace(), finished_run("a")]
    first = experiments.plan(experiment(), store_of(experiment(), *world), {}, NOW, SETTINGS)
    again = experiment(status=first.status)
    second = experiments.plan(again, store_of(again, *world, finished_run("b")), {}, NOW, SETTINGS)
    assert (first.counts_only, second.counts_only) == (False, True)


SIGNING: Json = {"signing": {"keySecret": "model-signing"}}


def signed(number: int = 1, holds: bool = True, **more: Any) -> Json:
    """A model that says of itself whether it is signed."""
    made = model(number, **more)
    words = "signed by sha256:0" if holds else "the Secret had no private.pem"
    made["status"]["conditions"] += information("SignatureVerified", holds, "Signed", words)
    return made


@pytest.mark.parametrize(
    ("it", "words"),
    [(model(), "it was registered without a key"), (signed(holds=False), "the Secret had no private.pem")],
    ids=["never signed", "refused"],
)
def test_a_workspace_that_signs_serves_no_model_that_is_not_signed(it: Json, words: str) -> None:
    status = deployed(deployment(), workspace(SIGNING), it).status
    assert said(status)["reason"] == "NotSigned"
    assert f"Model 'churn-1' is not signed ({words})" in said(status)["message"]
    assert conditions.find(status, "Stalled")["status"] == "True"


ALLOWED = {"policy": {"modelFormats": ["onnx", "skops"]}}


def of_format(format_: str | None, version: int = 1) -> Json:
    it = model(version)
    it["status"] |= {"format": format_} if format_ else {}
    return it


@pytest.mark.parametrize(("format_", "words"), [("joblib", "format joblib"), (None, "format other")])
def test_a_model_of_a_format_that_the_workspace_does_not_allow_is_not_served(format_: str | None, words: str) -> None:
    status = deployed(deployment(), workspace(ALLOWED), of_format(format_)).status
    assert said(status)["reason"] == "FormatNotAllowed" and words in said(status)["message"]
    assert "allows onnx, skops (spec.policy.modelFormats)" in said(status)["message"]
    assert conditions.find(status, "Stalled")["status"] == "True"
    serving = server(manifest_of(deployment(), workspace(ALLOWED), of_format("onnx")))
    it = deployment({"effectiveModel": "churn-1"}, model={"name": "churn", "version": 2})
    status = deployed(it, workspace(ALLOWED), of_format("onnx"), of_format(format_, 2), serving).status
    assert said(status)["reason"] == "ServingPrevious"


def test_a_model_of_an_allowed_format_is_served() -> None:
    assert said(deployed(deployment(), workspace(ALLOWED), of_format("skops")).status)["reason"] == "RollingOut"


def test_without_a_key_of_the_workspace_nobody_asks_for_signatures() -> None:
    assert said(deployed(deployment(), workspace(), model()).status)["reason"] == "RollingOut"


def test_what_serves_stays_while_an_unsigned_model_is_asked_for() -> None:
    serving = server(manifest_of(deployment(), workspace(SIGNING), signed(1)))
    it = deployment({"effectiveModel": "churn-1"}, model={"name": "churn", "version": 2})
    status = deployed(it, workspace(SIGNING), signed(1), model(2), serving).status
    assert said(status)["reason"] == "ServingPrevious"
    assert "Model 'churn-2' is not signed" in said(status)["message"]


def test_the_pods_of_a_signed_model_get_the_public_key_where_it_is_proven_and_the_private_one_nowhere() -> None:
    made = manifest_of(deployment(), workspace(SIGNING), signed())
    pod_ = made["spec"]["template"]["spec"]
    volume = next(each for each in pod_["volumes"] if each["name"] == "signing")
    assert volume["secret"]["secretName"] == "model-signing"
    assert volume["secret"]["items"] == [{"key": "public.pem", "path": "public.pem"}]
    holders = [
        each["name"]
        for each in pod_["initContainers"] + pod_["containers"]
        if any(mounted["name"] == "signing" for mounted in each["volumeMounts"])
    ]
    assert holders == ["model"]
    assert json.loads(made["spec"]["template"]["metadata"]["annotations"][scoring.ANNOTATION])["signing"] is True
    assert "private.pem" not in json.dumps(made)


def test_with_a_certificate_pods_are_asked_by_https_from_the_service_to_the_probes() -> None:
    plan = deployed(deployment(tlsSecret="cert"), workspace(), model())
    made = {child.manifest["kind"]: child.manifest for child in plan.apply}
    [port] = made["Service"]["spec"]["ports"]
    assert (port["name"], port["port"], port["targetPort"]) == ("https", 443, scoring.PORT)
    spec = made["Deployment"]["spec"]["template"]["spec"]
    [container] = spec["containers"]
    probes = [container[f"{name}Probe"]["httpGet"]["scheme"] for name in ("startup", "readiness", "liveness")]
    assert probes == ["HTTPS"] * 3 and container["args"][-2:] == ["--tls", "/smalt/tls"]
    assert {"name": "tls", "mountPath": "/smalt/tls", "readOnly": True} in container["volumeMounts"]
    assert not [each for init in spec["initContainers"] for each in init["volumeMounts"] if each["name"] == "tls"]
    [volume] = [each for each in spec["volumes"] if each["name"] == "tls"]
    assert volume["secret"]["secretName"] == "cert" and volume["secret"]["optional"] is True
    assert plan.status["scoringUri"] == "https://prod.team-a/score"


def test_without_one_it_is_http() -> None:
    plan = deployed(deployment(), workspace(), model())
    [service] = [child.manifest for child in plan.apply if child.manifest["kind"] == "Service"]
    assert [each["port"] for each in service["spec"]["ports"]] == [80]
    assert "HTTPS" not in json.dumps(manifest_of(deployment(), workspace(), model()))
