"""Model and Deployment: what is registered, what is served, and what still serves when the new cannot."""

from __future__ import annotations

import json
from typing import Any

import pytest

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


def test_a_model_takes_over_what_its_run_left() -> None:
    status = modelled(model(status=NEW), finished_run())
    assert said(status)["reason"] == "Registered"
    assert status["artifact"]["digest"] == DIGEST and status["metrics"] == {"auc": 0.9}
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


@pytest.mark.parametrize(
    ("spec", "live", "reason"),
    [
        (PIP, {}, "WaitingForConfigMap"),
        (PIP, {Read(CONFIG_MAP, NAMESPACE, "roots"): resource(CONFIG_MAP, "roots")}, "RollingOut"),
        ({}, {}, "RollingOut"),
    ],
    ids=["packages and no certificates", "packages and certificates", "no packages"],
)
def test_packages_wait_for_the_certificates_that_their_installation_trusts(
    spec: Json, live: dict[Any, Any], reason: str
) -> None:
    it, at = deployment(**spec), workspace({"trustBundle": {"configMap": "roots"}})
    asked = deployments.reads(it, store_of(it, at), NOW)
    assert (Read(CONFIG_MAP, NAMESPACE, "roots") in asked) == bool(spec)
    status = deployed(it, at, model(), live=live).status
    assert said(status)["reason"] == reason
    assert (reason == "WaitingForConfigMap") == (
        "ConfigMap 'roots' of the Workspace's spec.trustBundle" in said(status)["message"]
    )


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
