"""Every witness of why a pod does not run, as the cluster's own programs write it, gives its cause and the next step.

The sentences and shapes were recorded from Kubernetes 1.36 (API server, controllers, scheduler, kubelet, containerd).
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from smalt.api.kinds import CLAIM, POD
from smalt.api.training_run import ANOTHER_NAME
from smalt.reconcilers import training_run as reconciler
from smalt.reconcilers.causes import admission, scheduling, starting, volumes
from smalt.reconcilers.world import Occupied, Read, Refusals, Warnings
from support.resources import (
    NAMESPACE,
    NOW,
    SETTINGS,
    completed,
    experiment,
    job,
    node,
    pod,
    resource,
    run,
    said,
    store_of,
    workspace,
)

Json = dict[str, Any]
EARLIER = (NOW - timedelta(seconds=10)).isoformat()


def event(reason: str, message: str, about: Json, at: str = "2026-01-02T03:04:00Z") -> Json:
    involved = {"kind": about["kind"], "name": about["metadata"]["name"], "uid": about["metadata"]["uid"]}
    return {
        "metadata": {"name": "e", "creationTimestamp": at},
        "involvedObject": involved,
        "reason": reason,
        "message": message,
        "type": "Warning",
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": 1,
    }


# --- what the API server refuses --------------------------------------------------------------------------------------

CREATING = 'Error creating: pods "first-1-2xkqp" is forbidden: '
REFUSALS = {
    "quota": (
        CREATING + "exceeded quota: few, requested: limits.memory=2Gi,pods=1, used: limits.memory=3Gi,pods=2, "
        "limited: limits.memory=4Gi,pods=10",
        "QuotaExceeded",
        [
            "ResourceQuota 'few'",
            "limits.memory: 2Gi wanted, 3Gi of 4Gi used",
            "pods: 1 wanted, 2 of 10 used",
            "goes on",
        ],
    ),
    "quota that wants more said": (
        CREATING + "failed quota: strict: must specify limits.cpu for: training; requests.cpu for: training",
        "QuotaExceeded",
        ["ResourceQuota 'strict'", "limits.cpu for: training", "spec.instanceTypes"],
    ),
    "limit range": (
        CREATING
        + "[maximum memory usage per Container is 128Mi, but limit is 256Mi, minimum cpu usage per Pod is 100m, "
        "but request is 70m]",
        "LimitRangeRefused",
        [
            "memory at most 128Mi per Container, and the limit is 256Mi",
            "cpu at least 100m per Pod, and the request is 70m",
        ],
    ),
    "limit range that wants more said": (
        CREATING + "maximum cpu usage per Container is 1.  No limit is specified",
        "LimitRangeRefused",
        ["cpu at most 1 per Container, and no limit is named"],
    ),
    "limit range's ratio": (
        CREATING + "cpu max limit to request ratio per Container is 2, but provided ratio is 4.000000",
        "LimitRangeRefused",
        ["ratio per Container is 2", "4.000000"],
    ),
    "Pod Security": (
        CREATING + 'violates PodSecurity "restricted:latest": host namespaces (hostNetwork=true)',
        "PodSecurityRefused",
        ["'restricted:latest'", "hostNetwork=true", "sidecar injector"],
    ),
    "priority class": (
        'Error creating: pods "first-1-" is forbidden: no PriorityClass with name batch-low was found',
        "UnknownPriorityClass",
        ["'batch-low'", "kubectl get priorityclasses"],
    ),
    "runtime class": (
        'Error creating: pods "first-1-" is forbidden: pod rejected: RuntimeClass "gvisor" not found',
        "RuntimeClassNotFound",
        ["'gvisor'"],
    ),
    "service account": (
        'Error creating: pods "first-1-" is forbidden: error looking up service account team-a/lab-runs: serviceaccount '
        '"lab-runs" not found',
        "ServiceAccountNotFound",
        ["'lab-runs'", "kubectl get workspaces"],
    ),
    "policy": (
        CREATING + "ValidatingAdmissionPolicy 'office-hours' with binding 'all' denied request: not at night",
        "PolicyRefused",
        ["'office-hours'", "not at night"],
    ),
    "webhook": (
        'Error creating: admission webhook "images.example" denied the request: images must be signed',
        "WebhookRefused",
        ["'images.example'", "images must be signed"],
    ),
    "webhook that is down": (
        'Error creating: Internal error occurred: failed calling webhook "down.example": failed to call webhook: Post '
        '"https://127.0.0.1:1/refuse?timeout=2s": dial tcp 127.0.0.1:1: connect: connection refused',
        "WebhookUnavailable",
        ["'down.example'", "connection refused", "administrator"],
    ),
    "something new": (CREATING + "the moon is full", "PodRefused", ["the moon is full", "tried again"]),
}


@pytest.mark.parametrize(("words", "reason", "expected"), REFUSALS.values(), ids=REFUSALS.keys())
def test_a_refusal_is_told_by_its_cause(words: str, reason: str, expected: list[str]) -> None:
    found = admission.refusal(words)
    assert found.reason == reason
    for each in expected:
        assert each in found.message


@pytest.mark.parametrize(("words", "reason", "expected"), REFUSALS.values(), ids=REFUSALS.keys())
def test_the_next_attempt_to_make_the_pod_is_told_in_the_same_words(
    words: str, reason: str, expected: list[str]
) -> None:
    again = "(combined from similar events): " + words.replace("2xkqp", "9wvbn")
    assert admission.refusal(again) == admission.refusal(words)


def test_of_several_refusals_the_newest_counts() -> None:
    made = job(run())
    old = event("FailedCreate", REFUSALS["quota"][0], made, "2026-01-02T03:00:00Z")
    new = event("FailedCreate", REFUSALS["policy"][0], made, "2026-01-02T03:03:00Z")
    found = admission.refused([new, old])
    assert found is not None and found.reason == "PolicyRefused"


# --- a run's own story, from its Job and pod --------------------------------------------------------------------------


def told(its_pod: Json | None, *world: Json, live: dict[Any, Any] | None = None, it: Json | None = None) -> Json:
    """The Ready condition, after checking that exactly what is given was asked for."""
    it = it or run()
    made = job(it)
    made["metadata"]["creationTimestamp"] = EARLIER
    store = store_of(it, workspace(), experiment(), made, *([its_pod] if its_pod else []), *world)
    asked = reconciler.reads(it, store, NOW)
    assert set(live or {}) <= set(asked), asked
    plan = reconciler.plan(it, store, live or {}, NOW, SETTINGS)
    assert plan.requeue_after is not None and plan.requeue_after <= 60
    return said(plan.status)


def pod_of(spec: Json | None = None, **status: Any) -> Json:
    made = pod(job(run()), "first-1-abcde", **{"phase": "Pending"} | status)
    made["metadata"]["creationTimestamp"] = EARLIER
    return made | {"spec": spec or {}}


SCHEDULER = (
    "0/2 nodes are available: 1 Insufficient memory, 1 node(s) had untolerated taint(s). no new claims to deallocate, "
    "preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
)


def unscheduled(message: str = SCHEDULER, reason: str = "Unschedulable", **spec: Any) -> Json:
    condition = {"type": "PodScheduled", "status": "False", "reason": reason, "message": message}
    return pod_of(spec, conditions=[condition], qosClass="Burstable")


WANTS: Json = {"containers": [{"resources": {"requests": {"memory": "64Gi", "cpu": "1"}}}]}


def test_no_node_has_enough_and_how_much_is_missing_is_said() -> None:
    used = {"small": {"memory": 4 * 1024**3}}
    nodes = [node("small", memory="16Gi"), node("gpu", taints=[{"key": "gpu", "value": "yes", "effect": "NoSchedule"}])]
    found = told(unscheduled(**WANTS), *nodes, live={Occupied(): used})
    assert found["reason"] == "Unschedulable"
    for words in ("'small'", "memory: 64Gi wanted, 12Gi of 16Gi free, 52Gi missing", "gpu=yes:NoSchedule", "smaller"):
        assert words in found["message"], found["message"]


def test_where_nodes_may_not_be_looked_at_the_schedulers_words_and_what_was_asked_for_are_said() -> None:
    found = told(unscheduled(**WANTS))
    for words in ("1 Insufficient memory, 1 node(s) had untolerated taint(s) (it asks for 1 cpu, 64Gi memory)",):
        assert words in found["message"], found["message"]
    assert "preemption" not in found["message"].lower()


def test_where_a_node_would_do_as_far_as_can_be_counted_the_scheduler_has_the_word() -> None:
    words = "0/1 nodes are available: 1 node(s) had volume node affinity conflict."
    found = told(unscheduled(words, **WANTS), node("large", memory="128Gi"), live={Occupied(): {}})
    assert "volume node affinity conflict" in found["message"]


def test_a_pod_behind_a_scheduling_gate_is_no_matter_of_nodes() -> None:
    found = told(unscheduled("Scheduling is blocked due to non-empty scheduling gates", "SchedulingGated"))
    assert found["reason"] == "SchedulingGated" and "schedulingGates" in found["message"]


UNBOUND = "0/4 nodes are available: pod has unbound immediate PersistentVolumeClaims. not found"
DATA: Json = {"volumes": [{"name": "input-0", "persistentVolumeClaim": {"claimName": "data"}}]}


def claim(phase: str = "Pending", **spec: Any) -> Json:
    return resource(CLAIM, "data", {"storageClassName": "fast"} | spec, {"phase": phase})


DELETED = claim("Bound")
DELETED["metadata"]["deletionTimestamp"] = "2026-01-02T03:04:00Z"


@pytest.mark.parametrize(
    ("found", "events", "reason", "words"),
    [
        (None, [], "ClaimNotFound", ["'data'", "does not exist", "create it"]),
        (
            claim(),
            [event("ProvisioningFailed", 'storageclass.storage.k8s.io "fast" not found', claim())],
            "StorageClassNotFound",
            ["StorageClass 'fast'", "kubectl get storageclasses"],
        ),
        (
            claim(),
            [event("ProvisioningFailed", "quota of the disk service exceeded", claim())],
            "VolumePending",
            ["'fast'", "quota of the disk service exceeded"],
        ),
        (claim(), [], "VolumePending", ["'data'", "'fast'", "kubectl describe pvc data"]),
        (claim(storageClassName=""), [], "VolumePending", ["without a StorageClass", "PersistentVolume must be made"]),
        (
            resource(CLAIM, "data", {}, {"phase": "Pending"}),
            [],
            "NoStorageClass",
            ["is-default-class=true", "create the claim anew"],
        ),
        (claim("Lost", volumeName="pv-7"), [], "VolumePending", ["'pv-7'", "restore"]),
        (DELETED, [], "VolumePending", ["being deleted"]),
    ],
)
def test_a_claim_that_is_in_the_way_is_told_by_its_cause(
    found: Json | None, events: list[Json], reason: str, words: list[str]
) -> None:
    live = {Read(CLAIM, NAMESPACE, "data"): found, Warnings(NAMESPACE, CLAIM): {"items": events}}
    ready = told(unscheduled(UNBOUND, **DATA), live=live)
    assert ready["reason"] == reason
    for word in words:
        assert word in ready["message"], ready["message"]


def test_a_claim_that_waits_for_the_pods_node_is_not_the_cause() -> None:
    live = {Read(CLAIM, NAMESPACE, "data"): claim(), Warnings(NAMESPACE, CLAIM): {"items": []}}
    assert told(unscheduled(**WANTS | DATA), live=live)["reason"] == "Unschedulable"


def test_a_volume_that_cannot_be_provisioned_for_a_pod_whose_node_is_chosen_is_told() -> None:
    failed = event("ProvisioningFailed", "no space in zone a", claim())
    live = {Read(CLAIM, NAMESPACE, "data"): claim(), Warnings(NAMESPACE, CLAIM): {"items": [failed]}}
    assert "no space in zone a" in told(pod_of(DATA), live=live)["message"]


# --- what the kubelet says --------------------------------------------------------------------------------------------


def waiting(reason: str, message: str = "") -> list[Json]:
    state = {"waiting": {"reason": reason, "message": message}}
    return [{"name": "training", "image": "registry.example/train:1", "imageID": "", "ready": False, "state": state}]


PULL = 'failed to pull and unpack image "registry.example/train:1": dial tcp: lookup registry.example: no such host'


def test_both_halves_of_a_failing_pull_are_told_in_the_same_words() -> None:
    here = {"nodeName": "here"}
    error = told(pod_of(here, containerStatuses=waiting("ErrImagePull", PULL)))
    back_off = f'Back-off pulling image "registry.example/train:1": ErrImagePull: {PULL}'
    later = told(pod_of(here, containerStatuses=waiting("ImagePullBackOff", back_off)))
    assert error == later
    for words in ("'registry.example/train:1'", "no such host", "environment.image", ANOTHER_NAME):
        assert words in error["message"]


@pytest.mark.parametrize(
    ("message", "reason", "words"),
    [
        ('secret "lab-tracking" not found', "SecretNotFound", "Secret 'lab-tracking'"),
        (
            "couldn't find key password in Secret team-a/login",
            "SecretKeyNotFound",
            "Secret 'login' has no key 'password'",
        ),
        ('configmap "settings" not found', "ConfigMapNotFound", "ConfigMap 'settings'"),
        ("couldn't find key a in ConfigMap team-a/settings", "ConfigMapKeyNotFound", "'settings' has no key 'a'"),
        ("container has runAsNonRoot and image will run as root", "PodRefused", "runAsNonRoot"),
    ],
)
def test_a_container_that_cannot_be_configured_names_what_is_missing(message: str, reason: str, words: str) -> None:
    found = told(pod_of({"nodeName": "here"}, containerStatuses=waiting("CreateContainerConfigError", message)))
    assert found["reason"] == reason and words in found["message"]


INJECTED: Json = {
    "nodeName": "here",
    "volumes": [
        {"name": "login", "secret": {"secretName": "git-login", "items": [{"key": "token", "path": "token"}]}},
        {"name": "settings", "configMap": {"name": "team-settings"}},
    ],
}


@pytest.mark.parametrize(
    ("reason", "message", "expected", "words"),
    [
        (
            "FailedMount",
            'MountVolume.SetUp failed for volume "login" : secret "git-login" not found',
            "SecretNotFound",
            "Secret 'git-login' does not exist",
        ),
        (
            "FailedMount",
            'MountVolume.SetUp failed for volume "login" : references non-existent secret key: token',
            "SecretKeyNotFound",
            "Secret 'git-login' has no key 'token'",
        ),
        (
            "FailedMount",
            'MountVolume.SetUp failed for volume "settings" : references non-existent config key: a.yaml',
            "ConfigMapKeyNotFound",
            "ConfigMap 'team-settings' has no key 'a.yaml'",
        ),
        (
            "FailedMount",
            'MountVolume.SetUp failed for volume "data" : mount failed: exit status 32 mount.nfs: Connection refused',
            "VolumeNotMounted",
            "volume 'data' of pod 'first-1-abcde' cannot be mounted: mount failed: exit status 32",
        ),
        (
            "FailedAttachVolume",
            'Multi-Attach error for volume "pvc-1" Volume is already used by pod(s) other',
            "VolumeNotMounted",
            "already used by pod(s) other",
        ),
        (
            "FailedCreatePodSandBox",
            "Failed to create pod sandbox: rpc error: plugin type bridge failed (add): no IP addresses available",
            "PodNotStarted",
            "no IP addresses available",
        ),
    ],
)
def test_what_the_node_cannot_set_up_is_told_from_the_pods_events(
    reason: str, message: str, expected: str, words: str
) -> None:
    its_pod = pod_of(INJECTED, containerStatuses=waiting("ContainerCreating"))
    others = event("FailedMount", 'MountVolume.SetUp failed for volume "x" : secret "others" not found', job(run()))
    live = {Warnings(NAMESPACE, POD): {"items": [others, event(reason, message, its_pod)]}}
    found = told(its_pod, live=live)
    assert found["reason"] == expected and words in found["message"]


def test_a_pod_whose_containers_have_begun_is_not_asked_for_its_events() -> None:
    running = [{"name": "tools", "state": {"running": {}}}]
    store = store_of(run(), job(run()), pod_of({"nodeName": "here"}, initContainerStatuses=running))
    assert reconciler.reads(run(), store, NOW) == ()


def test_a_node_that_does_not_report_is_told_before_and_while_the_script_runs() -> None:
    lost = node("here", ready="Unknown", message="Kubelet stopped posting node status.")
    running = [{"name": "training", "state": {"running": {"startedAt": EARLIER}}}]
    it = run(status={"phase": "Running", "attempt": 1, "progress": {"percent": 40}})
    for its_pod in (
        pod_of({"nodeName": "here"}),
        pod_of({"nodeName": "here"}, phase="Running", containerStatuses=running),
    ):
        found = told(its_pod, lost, it=it)
        assert found["reason"] == "NodeNotReady"
        for words in ("'here'", "stopped posting", "kubectl describe node here", "limits.retries"):
            assert words in found["message"]
    assert told(pod_of({"nodeName": "here"}), node("here"), it=it)["reason"] == "JobCreated"


def test_a_run_on_a_lost_node_keeps_its_phase_and_progress() -> None:
    it = run(status={"phase": "Running", "attempt": 1, "progress": {"percent": 40}})
    its_pod = pod_of({"nodeName": "here"}, phase="Running")
    store = store_of(it, job(it), its_pod, node("here", ready="Unknown"))
    status = reconciler.plan(it, store, {}, NOW, SETTINGS).status
    assert status is not None and (status["phase"], status["progress"]) == ("Running", {"percent": 40})


NO_PYTHON = (
    "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: unable to "
    'start container process: error during container init: exec: "python3": executable file not found in $PATH: unknown'
)
CRUN = "crun: executable file `python3` not found in $PATH: No such file or directory"


def not_started(message: str) -> Json:
    state = {"terminated": {"exitCode": 128, "reason": "StartError", "message": message}}
    recorder = {"name": "recorder", "state": {"running": {}}}
    return {"containerStatuses": [{"name": "training", "image": "debian:12", "state": state}, recorder]}


@pytest.mark.parametrize(
    ("message", "reason", "words"),
    [
        (NO_PYTHON, "NoPython", "'debian:12' has no python3"),
        (CRUN, "NoPython", "'debian:12' has no python3"),
        ('exec: "python3": permission denied', "ContainerNotStarted", "permission denied"),
    ],
)
def test_an_image_without_python_is_told_at_once_and_when_the_job_has_failed(
    message: str, reason: str, words: str
) -> None:
    its_pod = pod_of({"nodeName": "here"}, phase="Running", **not_started(message))
    it = run()
    at_once = said(reconciler.plan(it, store_of(it, job(it), its_pod), {}, NOW, SETTINGS).status, "Stalled")
    ended = its_pod | {"status": its_pod["status"] | {"phase": "Failed"}}
    store = store_of(it, workspace(), experiment(), job(it, **completed("Failed")), ended)
    later = said(reconciler.plan(it, store, {}, NOW + timedelta(minutes=5), SETTINGS).status, "Stalled")
    for found in (at_once, later):
        assert found["reason"] == reason
        assert (
            words in found["message"] and "environment.image" in found["message"] and ANOTHER_NAME in found["message"]
        )


def test_an_init_container_that_crashes_is_named_with_its_last_words() -> None:
    it = run()
    state = {"terminated": {"exitCode": 3, "reason": "Error", "message": "no space left on device\n"}}
    crashed = pod_of({"nodeName": "here"}, phase="Failed", initContainerStatuses=[{"name": "injected", "state": state}])
    store = store_of(it, workspace(), experiment(), job(it, **completed("Failed")), crashed)
    found = said(reconciler.plan(it, store, {}, NOW, SETTINGS).status, "Stalled")
    assert found["reason"] == "InitContainerFailed"
    for words in ("'injected'", "exit code 3", "no space left on device", "kubectl logs first-1-abcde -c injected"):
        assert words in found["message"]


# --- the Job itself ---------------------------------------------------------------------------------------------------


def test_a_job_that_somebody_else_has_suspended_is_told() -> None:
    it = run()
    made = job(it) | {"spec": {"suspend": True}}
    store = store_of(it, workspace(), experiment(), made)
    assert reconciler.reads(it, store, NOW) == (), "no events are read of what is known"
    found = said(reconciler.plan(it, store, {}, NOW, SETTINGS).status)
    assert found["reason"] == "JobSuspended" and "spec.suspend" in found["message"]


def test_a_job_given_up_before_its_script_started_says_what_it_waited_for() -> None:
    it = run()
    waited = told(unscheduled(**WANTS), it=it)
    it["status"] = {"attempt": 1, "phase": "Pending", "conditions": [waited]}
    ending = job(it, conditions=[{"type": "FailureTarget", "status": "True", "reason": "DeadlineExceeded"}])
    assert reconciler.plan(it, store_of(it, ending), {}, NOW, SETTINGS).status is None, "what was said stays"
    over = job(it, **completed("Failed", "DeadlineExceeded"))
    status = reconciler.plan(it, store_of(it, workspace(), experiment(), over), {}, NOW, SETTINGS).status
    found = said(status, "Stalled")
    assert found["reason"] == "TimedOut"
    for words in ("deadline", "before the script started", "Unschedulable", "Insufficient memory", ANOTHER_NAME):
        assert words in found["message"]


def test_a_job_without_a_pod_is_asked_for_its_refusals() -> None:
    refused = event("FailedCreate", REFUSALS["quota"][0], job(run()))
    others = event("FailedCreate", REFUSALS["policy"][0], job(run("other")))
    assert told(None, live={Refusals(NAMESPACE): {"items": [others, refused]}})["reason"] == "QuotaExceeded"


def test_witnesses_that_say_nothing_give_no_cause() -> None:
    healthy = pod_of({"nodeName": "here"})
    assert volumes.unmounted(healthy, []) is None
    assert starting.without_sandbox(healthy, []) is None
    assert starting.blocked(healthy, "environment.image") is None
    assert starting.not_started(healthy, "environment.image") is None
    assert starting.init_failed(healthy) is None
    assert starting.on_lost_node(healthy, None) is None
    assert scheduling.unscheduled(healthy) is None
    assert admission.refused([]) is None
