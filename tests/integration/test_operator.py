"""The operator as a process on a real API server, with the node's results played."""

from __future__ import annotations

import json
import signal
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from support.controlplane import ControlPlane
from support.operator_process import OperatorProcess
from support.place import Place, condition
from support.specs import EXPERIMENT, RUN, WORKSPACE, changed

Json = dict[str, Any]
REPOSITORY = Path(__file__).resolve().parents[2]


def test_everything_becomes_ready_and_says_so_to_the_metrics(quickstart: Place, operator: OperatorProcess) -> None:
    text = scrape(operator)
    for kind, name in (("Workspace", "quickstart"), ("Model", "breast-cancer-1"), ("Deployment", "breast-cancer")):
        labels = f'kind="{kind}",name="{name}",namespace="{quickstart.name}",status="True",type="Ready"'
        assert f"smalt_resource_condition{{{labels}}} 1.0" in text
    assert 'leader_election_master_status{name="smalt-operator"} 1.0' in text
    quickstart("delete", "experiment", "breast-cancer")
    deadline = time.monotonic() + 10
    while 'kind="Experiment"' in scrape(operator):
        assert time.monotonic() < deadline, "series of a deleted object"
        time.sleep(0.1)


def scrape(operator: OperatorProcess, path: str = "metrics") -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{operator.port()}/{path}", timeout=10) as answer:
        return str(answer.read().decode())


def test_it_is_alive_and_ready_when_its_cache_is_primed(operator: OperatorProcess) -> None:
    assert scrape(operator, "healthz").strip() == "alive"
    assert scrape(operator, "readyz").strip() == "ready"


REST_SECONDS = 20


def test_at_rest_nothing_is_written_but_the_lease(quickstart: Place, plane: ControlPlane) -> None:
    wait_for_silence(plane, quickstart.name)
    before = len(writes(plane, quickstart.name))
    time.sleep(REST_SECONDS)  # what is measured is that nothing happens in it
    found = writes(plane, quickstart.name)[before:]
    assert [each for each in found if "/leases/" not in each] == []
    assert len(found) <= REST_SECONDS / 5 + 1


def wait_for_silence(plane: ControlPlane, namespace: str) -> None:
    """Counts may still be written for some seconds."""
    deadline, last, since = time.monotonic() + 60, -1, time.monotonic()
    while time.monotonic() - since < 6:
        count = len([each for each in writes(plane, namespace) if "/leases/" not in each])
        if count != last:
            last, since = count, time.monotonic()
        assert time.monotonic() < deadline, "it goes on writing"
        time.sleep(0.2)


def writes(plane: ControlPlane, namespace: str) -> list[str]:
    """What the operator wrote in the namespace, by the audit log; the test and its player have clients of other names."""
    found = []
    for line in plane.audit_log.read_text().splitlines():
        event = json.loads(line)
        agent = event.get("userAgent", "")
        ours = f"/namespaces/{namespace}/" in event["requestURI"] and not agent.startswith(
            ("kubectl", "kube-", "python-requests")
        )
        if ours and event["verb"] in ("create", "patch", "update", "delete"):
            found.append(f"{event['verb']} {event['requestURI']}")
    return found


def test_a_finished_run_has_cost_at_most_six_writes(quickstart: Place, plane: ControlPlane) -> None:
    run_writes = [
        each
        for each in writes(plane, quickstart.name)
        if "/trainingruns/breast-cancer-1/" in each
        or "/jobs?" in each
        or (each.startswith("create") and "/models?" in each)
    ]
    assert 3 <= len(run_writes) <= 6, run_writes


def test_a_run_that_came_before_its_experiment_starts_when_it_comes(quickstart: Place) -> None:
    quickstart.apply(changed(RUN, {"experiment": "later"}, "early"))
    waiting = quickstart.until("trainingrun", "early", lambda it: bool(condition(it)))
    assert condition(waiting)["reason"] == "WaitingForExperiment" and "'later'" in condition(waiting)["message"]
    quickstart.apply(changed(EXPERIMENT, {"workspace": "quickstart"}, "later"))
    quickstart.ready("trainingrun", "early")


def test_an_instance_type_added_to_the_workspace_lets_its_run_go_on(quickstart: Place) -> None:
    quickstart.apply(changed(RUN, {"experiment": "breast-cancer", "instanceType": "large"}, "large"))
    found = quickstart.until("trainingrun", "large", lambda it: bool(condition(it)))
    assert condition(found)["reason"] == "UnknownInstanceType"
    patch = {"spec": {"instanceTypes": {"large": {"resources": {"requests": {"cpu": "1"}}}}}}
    quickstart("patch", "workspace", "quickstart", "--type=merge", "-p", json.dumps(patch))
    quickstart.ready("trainingrun", "large")


def test_a_name_that_is_taken_is_told_and_freed(place: Place, operator: OperatorProcess) -> None:
    place("create", "service", "clusterip", "lab-tracking", "--tcp=1:1")
    place.apply(changed(WORKSPACE, {}))
    found = place.until("workspace", "lab", lambda it: condition(it, "Stalled").get("status") == "True")
    assert condition(found)["reason"] == "NameTaken" and "Service 'lab-tracking'" in condition(found)["message"]
    place("delete", "service", "lab-tracking")
    place("annotate", "workspace", "lab", "looked=again")
    found = place.until("workspace", "lab", lambda it: condition(it).get("reason") not in (None, "NameTaken"))
    assert place("get", "service", "lab-tracking", "-o", "jsonpath={.spec.ports[0].port}") == "5000"


@pytest.mark.parametrize(("how", "seconds"), [(signal.SIGTERM, 2.0), (signal.SIGKILL, 20.0)])
def test_the_standby_takes_over_in_time(
    plane: ControlPlane, place: Place, tmp_path: Path, how: signal.Signals, seconds: float
) -> None:
    settings = {"SMALT_NAMESPACE": place.name, "SMALT_LEASE_NAMESPACE": place.name}
    with OperatorProcess(plane.kubeconfig, tmp_path, **settings) as first:
        first.wait_for("leading")
        with OperatorProcess(plane.kubeconfig, tmp_path, **settings) as standby:
            standby.wait_for("waiting for lease")
            assert "smalt_resource_condition{" not in scrape(standby), "conditions from the leader only"
            ended_at = time.monotonic()
            assert first.process is not None
            first.process.send_signal(how)
            standby.wait_for("leading", 60)
            assert time.monotonic() - ended_at < seconds
            place.apply(changed(WORKSPACE, {}))
            place.until("workspace", "lab", lambda it: bool(condition(it)))


def test_it_waits_for_crds_in_words(plane: ControlPlane, tmp_path: Path) -> None:
    with ControlPlane(tmp_path / "bare", crds=False) as bare, OperatorProcess(bare.kubeconfig, tmp_path) as waiting:
        text = waiting.wait_for("waiting for CRDs")
        assert "kubectl apply -k manifests/" in text
        bare.kubectl("apply", "--server-side", "-k", str(REPOSITORY / "crds"))
        waiting.wait_for("leading", 60)
