"""Limits of runs on a real API server with its own Job controller; only what a kubelet would report is played."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from support.controlplane import CONTROLLERS, CommandFailed, ControlPlane
from support.kubelet import End, Kubelet
from support.operator_process import OperatorProcess
from support.place import Place, condition
from support.rest import Rest
from support.specs import EXPERIMENT, RUN, WORKSPACE, changed

Json = dict[str, Any]
FAILED: Json = {"version": 1, "outcome": "failed", "reason": "ScriptFailed", "message": "KeyError: 'churned'"}


@pytest.fixture(scope="module")
def jobs_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """An API server with the Job controller, so that suspending, failing and deleting are what they are in a cluster."""
    with ControlPlane(tmp_path_factory.mktemp("jobs"), controllers=(*CONTROLLERS, "job-controller")) as plane:
        yield plane


pytestmark = pytest.mark.controlplane


class Lab(Place):
    """A namespace with an operator, a kubelet, a Workspace and an Experiment."""

    def __init__(self, plane: ControlPlane, folder: Path) -> None:
        super().__init__(plane)
        self.folder = folder
        self.kubelet = Kubelet(plane, self.name)

    def operator(self) -> OperatorProcess:
        settings = {"SMALT_NAMESPACE": self.name, "SMALT_LEASE_NAMESPACE": self.name}
        return OperatorProcess(self.plane.kubeconfig, self.folder, **settings)

    def workspace(self, **spec: Any) -> None:
        self.apply(changed(WORKSPACE, spec), changed(EXPERIMENT, {}))
        self.ready("workspace", "lab")
        self.ready("experiment", "trials")

    def run(self, name: str, **spec: Any) -> None:
        self.apply(changed(RUN, spec, name))

    def patch(self, kind: str, name: str, spec: Json) -> None:
        self("patch", kind, name, "--type=merge", "-p", json.dumps({"spec": spec}))

    def says(self, name: str, reason: str, seconds: float = 30) -> Json:
        return self.until("trainingrun", name, lambda it: condition(it).get("reason") == reason, seconds)

    def jobs(self) -> list[str]:
        return sorted(each["metadata"]["name"] for each in Rest(self.plane.kubeconfig, self.name).list("jobs"))


@pytest.fixture
def lab(jobs_plane: ControlPlane, tmp_path: Path) -> Iterator[Lab]:
    made = Lab(jobs_plane, tmp_path)
    with made.operator() as operator, made.kubelet:
        operator.wait_for("leading")
        yield made


class JobWatch:
    """Every change of Jobs in the order in which the API server made it."""

    def __init__(self, plane: ControlPlane, namespace: str) -> None:
        config = json.loads(plane.kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self.events: list[Json] = []
        session = requests.Session()
        session.trust_env, session.verify = False, cluster["certificate-authority"]
        session.cert = (user["client-certificate"], user["client-key"])
        url = f"{cluster['server']}/apis/batch/v1/namespaces/{namespace}/jobs"
        version = session.get(url, timeout=30).json()["metadata"]["resourceVersion"]
        query = {"watch": "true", "resourceVersion": version, "timeoutSeconds": "600"}
        self._answer = session.get(url, params=query, stream=True, timeout=(30, 600))
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._answer.iter_lines():
            if line:
                self.events.append(json.loads(line))

    def at_work(self) -> list[int]:
        """How many Jobs were at work after each change."""
        going: set[str] = set()
        counts = []
        for event in self.events:
            job = event["object"]
            ended = any(each["type"] in ("Complete", "Failed") for each in job["status"].get("conditions", []))
            if event["type"] == "DELETED" or ended:
                going.discard(job["metadata"]["name"])
            else:
                going.add(job["metadata"]["name"])
            counts.append(len(going))
        return counts

    def made(self) -> list[str]:
        return [each["object"]["metadata"]["name"] for each in self.events if each["type"] == "ADDED"]


RUNS, LIMIT = 50, 5


def test_of_fifty_runs_never_more_than_five_work_also_when_the_operator_is_killed_among_them(
    jobs_plane: ControlPlane, tmp_path: Path
) -> None:
    lab = Lab(jobs_plane, tmp_path)
    lab.kubelet.lasts = 0.3
    names = {which: [f"{which}-{number:02}" for number in range(RUNS // 2)] for which in ("a", "b")}
    with lab.operator() as first, lab.kubelet:
        first.wait_for("leading")
        lab.workspace(**{"policy.maxConcurrentRuns": LIMIT})
        lab.apply(changed(EXPERIMENT, {}, "a"), changed(EXPERIMENT, {}, "b"))
        watch = JobWatch(jobs_plane, lab.name)
        lab.apply(
            *(
                changed(RUN, {"experiment": which}, name)
                for pair in zip(names["a"], names["b"], strict=True)
                for which, name in zip("ab", pair, strict=True)
            )
        )
        queued = lab.says("b-24", "Queued")
        assert queued["status"]["phase"] == "Queued" and queued["status"]["queuePosition"] > 10
        assert "in the queue of Workspace 'lab', which lets 5 runs work" in condition(queued)["message"]
        with lab.operator() as standby:
            standby.wait_for("waiting for lease")
            until(lambda: len(watch.made()) > RUNS // 3)
            first.end(signal.SIGKILL)
            standby.wait_for("leading", 60)
            for name in (*names["a"], *names["b"]):
                lab.until("trainingrun", name, lambda it: it.get("status", {}).get("phase") == "Succeeded", 120)
            until(lambda: not places(lab))
    counts = watch.at_work()
    assert max(counts) == LIMIT, "as many as may be, and never one more"
    assert sorted(watch.made()) == sorted(f"{name}-1" for line in names.values() for name in line)
    for line in names.values():
        begun = [name.removesuffix("-1") for name in watch.made() if name.removesuffix("-1") in line]
        assert out_of_turn(begun) <= LIMIT, "first in first out, but for what starts side by side"
    halves = [sum(name.startswith("a-") for name in watch.made()[: 10 * step]) for step in range(1, 5)]
    assert all(abs(half - 5 * step) <= LIMIT for step, half in enumerate(halves, 1)), "in turn"
    assert len(run_writes(jobs_plane, lab.name)) <= RUNS * 8


def out_of_turn(begun: list[str]) -> int:
    """How far a run began before one that had come earlier."""
    return max(abs(at - sorted(begun).index(name)) for at, name in enumerate(begun))


def places(lab: Lab) -> list[str]:
    found = json.loads(lab("get", "workspace", "lab", "-o", "json"))
    return list(found["status"].get("queue", {}).get("admitted") or [])


def run_writes(plane: ControlPlane, namespace: str) -> list[str]:
    """Status writes of runs in the namespace, by the audit log."""
    found = []
    for line in plane.audit_log.read_text().splitlines():
        event = json.loads(line)
        if event["verb"] == "patch" and f"/namespaces/{namespace}/trainingruns/" in event["requestURI"]:
            found.append(event["requestURI"])
    return found


def until(holds: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_the_queue_moves_up_when_a_place_is_free_and_ends_with_its_limit(lab: Lab) -> None:
    lab.workspace(**{"policy.maxConcurrentRuns": 1})
    for name in ("first", "second", "third"):
        lab.run(name)
        lab.until("trainingrun", name, lambda it: condition(it).get("reason") in ("Queued", "Running"))
    lab.says("first", "Running")
    lab.until("trainingrun", "third", lambda it: "position 2 of 2" in condition(it).get("message", ""))
    printed = lab("get", "trainingrun", "third")
    assert "Queued" in printed
    lab.kubelet.end("first")
    lab.says("second", "Running")
    lab.until("trainingrun", "third", lambda it: "position 1 of 1" in condition(it).get("message", ""))
    assert lab.jobs() == ["first-1", "second-1"]
    lab("patch", "workspace", "lab", "--type=json", "-p", '[{"op": "remove", "path": "/spec/policy"}]')
    lab.says("third", "Running")


def test_a_run_that_is_suspended_gives_its_place_away_and_goes_on_as_another_attempt(lab: Lab) -> None:
    lab.workspace(**{"policy.maxConcurrentRuns": 1})
    lab.run("one")
    lab.says("one", "Running")
    lab.run("two")
    lab.says("two", "Queued")
    lab.patch("trainingrun", "one", {"suspend": True})
    resting = lab.says("one", "Suspended")
    assert [each["type"] for each in resting["status"]["conditions"]] == ["Ready"]
    assert resting["status"]["tracking"]["runId"] == "abc", "its last words were read"
    job = json.loads(lab("get", "job", "one-1", "-o", "json"))
    assert job["spec"]["suspend"] is True and not job["status"].get("active")
    assert any(each["type"] == "Suspended" and each["status"] == "True" for each in job["status"]["conditions"])
    lab.says("two", "Running")
    lab.patch("trainingrun", "one", {"suspend": False})
    lab.says("one", "Queued")
    lab.kubelet.end("two")
    lab.says("one", "Running")
    lab.kubelet.end("one")
    done = lab.says("one", "Succeeded")
    assert done["status"]["attempt"] == 2 and lab.jobs() == ["one-1", "one-2", "two-1"]
    assert "failures" not in done["status"] and "disruptions" not in done["status"]


def test_a_run_that_is_suspended_from_the_start_makes_nothing_until_it_is_resumed(lab: Lab) -> None:
    lab.workspace()
    lab.run("rests", suspend=True)
    lab.says("rests", "Suspended")
    assert lab.jobs() == []
    lab.patch("trainingrun", "rests", {"suspend": False})
    lab.says("rests", "Running")


def test_a_run_at_work_is_canceled_with_what_it_had_and_that_cannot_be_taken_back(lab: Lab) -> None:
    lab.workspace()
    lab.run("long", **{"limits.retries": 3})
    lab.says("long", "Running")
    lab.patch("trainingrun", "long", {"cancel": True})
    done = lab.says("long", "Canceled")
    assert (done["status"]["phase"], condition(done, "Stalled")["reason"]) == ("Canceled", "Canceled")
    assert done["status"]["tracking"]["runId"] == "abc" and done["status"]["completionTime"]
    assert lab.jobs() == ["long-1"] and "long" in lab("get", "trainingrun", "-o", "name")
    with pytest.raises(CommandFailed, match="cancel cannot be taken back"):
        lab.patch("trainingrun", "long", {"cancel": False})
    lab.until("experiment", "trials", lambda it: it["status"].get("runs", {}).get("canceled") == 1)
    lab.patch("trainingrun", "long", {"suspend": True})
    lab.says("long", "Canceled")
    lab.run("never", cancel=True)
    assert lab.says("never", "Canceled")["status"]["phase"] == "Canceled" and lab.jobs() == ["long-1"]


def test_what_the_platform_ends_is_made_again_and_costs_no_retry(lab: Lab) -> None:
    lab.workspace()
    lab.run("retried", **{"limits.retries": 1})
    lab.says("retried", "Running")
    lab.kubelet.end("retried", End({}, 137, "EvictionByEvictionAPI"))
    second = lab.until("trainingrun", "retried", lambda it: it["status"].get("attempt") == 2)
    assert second["status"]["disruptions"] == 1 and "failures" not in second["status"]
    lab.says("retried", "Running")
    (pod,) = json.loads(lab("get", "pods", "-l", "batch.kubernetes.io/job-name=retried-2", "-o", "json"))["items"]
    lab("delete", "pod", pod["metadata"]["name"], "--wait=false")
    third = lab.until("trainingrun", "retried", lambda it: it["status"].get("attempt") == 3)
    assert third["status"]["disruptions"] == 2
    lab.says("retried", "Running")
    lab.kubelet.end("retried", End(FAILED, 1))
    fourth = lab.until("trainingrun", "retried", lambda it: it["status"].get("attempt") == 4)
    assert fourth["status"]["failures"] == 1
    lab.says("retried", "Running")
    lab.kubelet.end("retried", End(FAILED, 1))
    done = lab.says("retried", "ScriptFailed")
    assert (done["status"]["phase"], done["status"]["failures"], done["status"]["disruptions"]) == ("Failed", 2, 2)
    assert lab.jobs() == [f"retried-{number}" for number in (1, 2, 3, 4)]


def test_a_budget_that_is_used_up_holds_new_runs_back_until_it_is_raised(lab: Lab) -> None:
    lab.kubelet.started_before = 3600
    requests_ = {"resources": {"requests": {"cpu": "2"}}}
    lab.workspace(**{"policy.budget": {"cpuHours": 2}, "instanceTypes": {"default": requests_}})
    lab.run("first")
    lab.says("first", "Running")
    over = lab.until("workspace", "lab", lambda it: condition(it, "BudgetExceeded").get("status") == "True", seconds=90)
    assert "2 cpuHours" in condition(over, "BudgetExceeded")["message"]
    lab.run("second")
    waits = lab.says("second", "BudgetExceeded")
    assert waits["status"]["phase"] == "Pending" and "spec.policy.budget" in condition(waits)["message"]
    assert json.loads(lab("get", "trainingrun", "first", "-o", "json"))["status"]["phase"] == "Running"
    lab.kubelet.end("first")
    used = lab.says("first", "Succeeded")["status"]["usage"]["cpuHours"]
    assert 2 <= used < 2.5
    lab.until("workspace", "lab", lambda it: it["status"]["usage"]["cpuHours"] == used)
    lab("delete", "trainingrun", "first")
    lab.until("workspace", "lab", lambda it: it["status"]["usage"].get("deletedRuns", {}).get("cpuHours") == used)
    until(lambda: lab.jobs() == [])
    lab.patch("workspace", "lab", {"policy": {"budget": {"cpuHours": 50}}})
    lab.says("second", "Running")
    kept = json.loads(lab("get", "workspace", "lab", "-o", "json"))["status"]["usage"]
    assert kept["cpuHours"] == used, "counted once, and still"


def test_finished_runs_go_when_they_are_old_and_their_models_stay(lab: Lab) -> None:
    lab.kubelet.lasts = 0.2
    lab.workspace(**{"retention.finishedRuns": "2s"})
    registers = {"outputs": {"model": {"type": "customModel"}}, "register": {"model": "churn", "from": "model"}}
    lab.run("old", **registers)
    lab.run("producer", outputs={"model": {"type": "customModel"}})
    lab.run("consumer", suspend=True, inputs={"a": {"type": "uriFolder", "path": "run://producer/model"}})
    lab.ready("model", "churn-1")
    until(lambda: "/old" not in lab("get", "trainingruns", "-o", "name"))
    lab.ready("model", "churn-1")
    until(lambda: "old-1" not in lab.jobs())
    producer = json.loads(lab("get", "trainingrun", "producer", "-o", "json"))
    assert producer["status"]["phase"] == "Succeeded", "somebody still has to read what it left"
    used = json.loads(lab("get", "workspace", "lab", "-o", "json"))["status"]["usage"]
    lab.patch("trainingrun", "consumer", {"cancel": True})
    until(lambda: lab("get", "trainingruns", "-o", "name").strip() == "", seconds=120)
    left = json.loads(lab("get", "workspace", "lab", "-o", "json"))["status"]["usage"]
    assert left["cpuHours"] >= used["cpuHours"]


def test_a_priority_class_that_is_missing_is_named_and_waited_for(lab: Lab) -> None:
    lab.workspace()
    name = f"low-{lab.name}"
    lab.run("humble", priorityClassName=name)
    waits = lab.says("humble", "UnknownPriorityClass", 60)
    assert f"'{name}'" in condition(waits)["message"] and "priorityclasses" in condition(waits)["message"]
    lab("create", "priorityclass", name, "--value=1")
    lab.says("humble", "Running", 120)
    (pod,) = json.loads(lab("get", "pods", "-l", "smalt.dev/run=humble", "-o", "json"))["items"]
    assert pod["spec"]["priority"] == 1
    lab("delete", "priorityclass", name)


def test_a_job_of_kueue_waits_in_its_queue_until_somebody_starts_it(lab: Lab) -> None:
    lab.workspace(instanceTypes={"gpu": {"queueName": "team-a"}})
    lab.run("queued", instanceType="gpu")
    waits = lab.says("queued", "WaitingInLocalQueue")
    assert waits["status"]["phase"] == "Queued" and "'team-a'" in condition(waits)["message"]
    job = json.loads(lab("get", "job", "queued-1", "-o", "json"))
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team-a" and job["spec"]["suspend"] is True
    lab("patch", "job", "queued-1", "--type=merge", "-p", '{"spec": {"suspend": false}}')
    lab.says("queued", "Running")
    lab.patch("trainingrun", "queued", {"suspend": True})
    lab.says("queued", "Suspended")
    job = json.loads(lab("get", "job", "queued-1", "-o", "json"))
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "", "or Kueue would start it again"


def test_the_same_again_has_the_earlier_result_and_an_image_must_be_allowed(lab: Lab) -> None:
    lab.kubelet.lasts = 0.2
    lab.workspace(**{"policy.allowedImages": ["registry.example/*"]})
    lab.run("first", parameters={"C": 1.0})
    done = lab.says("first", "Succeeded")
    again = changed(RUN, {"parameters": {"C": 1}}, "again")
    again["metadata"]["annotations"] = {"smalt.dev/reuse": "true"}
    lab.apply(again)
    reused = lab.says("again", "Reused")
    assert reused["status"]["reusedFrom"] == "first" and reused["status"]["metrics"] == done["status"]["metrics"]
    assert condition(reused, "Reused")["status"] == "True" and lab.jobs() == ["first-1"]
    lab.run("strange", **{"environment.image": "python:3.12"})
    assert "registry.example/*" in condition(lab.says("strange", "ImageNotAllowed"))["message"]
