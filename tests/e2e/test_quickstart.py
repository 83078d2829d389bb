"""The quickstart on the real node: from apply to prediction, and what is left when it is deleted."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from typing import Any

import pytest

from demo.__main__ import STORY, port_forward
from demo.kubectl import REPOSITORY, CommandFailed
from e2e.cluster_namespace import Json, Namespace, condition, tracking

SAMPLE = REPOSITORY / "manifests/samples/quickstart"


@pytest.fixture(scope="module")
def quickstart(shared: Namespace) -> Namespace:
    """The sample applied backwards, so that everything is at first missing what it refers to, and then ready."""
    rendered = shared("kustomize", str(SAMPLE))
    for document in reversed([each for each in rendered.split("\n---\n") if each.strip()]):
        shared("apply", "-f", "-", stdin=document)
    for kind, name in STORY:
        shared.ready(kind, name, 180)
    return shared


def key_of(namespace: Namespace) -> str:
    secret = namespace.get("secret", "breast-cancer-key")
    return base64.b64decode(secret["data"]["primaryKey"]).decode()


def post_score(namespace: Namespace, headers: dict[str, str]) -> tuple[int, Any]:
    body = (SAMPLE / "request.json").read_bytes()
    with port_forward(namespace, "service/breast-cancer", 80) as port:
        request = urllib.request.Request(f"http://127.0.0.1:{port}/score", data=body, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status, json.loads(response.read())
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


def test_the_model_answers_with_a_key(quickstart: Namespace) -> None:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key_of(quickstart)}"}
    status, answer = post_score(quickstart, headers)
    assert status == 200
    rows = json.loads((SAMPLE / "request.json").read_text())["data"]
    predictions = answer["predictions"] if isinstance(answer, dict) else answer
    assert len(predictions) == len(rows)


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic Zm9vOmJhcg=="}])
def test_nobody_is_answered_without_the_key(quickstart: Namespace, headers: dict[str, str]) -> None:
    status, _ = post_score(quickstart, {"Content-Type": "application/json", **headers})
    assert status == 401


def test_the_run_shows_metrics_digests_and_its_model(quickstart: Namespace) -> None:
    status = quickstart.get("trainingrun", "breast-cancer-1")["status"]
    assert status["phase"] == "Succeeded"
    assert 0.9 < status["metrics"]["auc"] <= 1
    assert status["model"] == "breast-cancer-1"
    digests = status["digests"]
    for part in (
        digests["run"],
        digests["code"],
        digests["environment"],
        digests["parameters"],
        *digests["data"].values(),
    ):
        assert part.startswith("sha256:") and len(part) == 71
    assert status["outputs"]["model"]["digest"].startswith("sha256:")


def test_the_model_version_knows_where_it_comes_from(quickstart: Namespace) -> None:
    model = quickstart.get("model", "breast-cancer-1")
    run = quickstart.get("trainingrun", "breast-cancer-1")["status"]
    assert model["spec"]["version"] == 1
    assert model["status"]["artifact"]["digest"] == run["outputs"]["model"]["digest"]
    lineage = model["status"]["lineage"]
    assert lineage["run"] == "breast-cancer-1"
    assert lineage["data"] == run["digests"]["data"]
    assert lineage["code"] == {"digest": run["digests"]["code"]}
    assert model["status"]["usedBy"] == ["breast-cancer"]


def test_the_tracking_server_keeps_the_history_and_asks_for_a_password(quickstart: Namespace) -> None:
    run = quickstart.get("trainingrun", "breast-cancer-1")["status"]
    path = f"api/2.0/mlflow/runs/get?run_id={run['tracking']['runId']}"
    with (
        port_forward(quickstart, "service/quickstart-tracking", 5000) as port,
        pytest.raises(urllib.error.HTTPError, match="401"),
    ):
        urllib.request.urlopen(f"http://localhost:{port}/{path}", timeout=30)
    with tracking(quickstart, "quickstart") as ask:
        data = json.loads(ask(path))["run"]
    metrics = {metric["key"]: metric["value"] for metric in data["data"]["metrics"]}
    assert metrics["auc"] == pytest.approx(run["metrics"]["auc"])
    assert data["info"]["status"] == "FINISHED"


def test_kubectl_get_tells_the_state(quickstart: Namespace) -> None:
    listed = quickstart("get", "smalt")
    for words in ("Succeeded", "breast-cancer-1", "Serving"):
        assert words in listed
    wide = quickstart("get", "trainingruns", "-o", "wide")
    assert condition(quickstart.get("trainingrun", "breast-cancer-1"), "Ready")["message"][:40] in wide


def test_every_pod_is_restricted_and_has_no_kubernetes_token(quickstart: Namespace) -> None:
    pods = quickstart.get("pods")["items"]
    assert len(pods) >= 3
    for pod in pods:
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        projected = [each for volume in spec["volumes"] for each in (volume.get("projected") or {}).get("sources", [])]
        assert not [each for each in projected if "serviceAccountToken" in each]
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True, container["name"]


def test_what_is_in_use_cannot_be_deleted(quickstart: Namespace) -> None:
    with pytest.raises(CommandFailed, match="breast-cancer"):
        quickstart("delete", "model", "breast-cancer-1")
    with pytest.raises(CommandFailed, match="breast-cancer"):
        quickstart("delete", "workspace", "quickstart")


def test_children_deleted_by_hand_come_back(quickstart: Namespace) -> None:
    before = {kind: uid(quickstart, kind, name) for kind, name in CHILDREN}
    for kind, name in CHILDREN:
        quickstart("delete", kind, name, "--wait=false")
    for kind, name in CHILDREN:
        quickstart.until(kind, name, lambda it, old=before[kind]: it["metadata"]["uid"] != old, 120)  # type: ignore[misc]
    quickstart.ready("modeldeployment", "breast-cancer", 120)


CHILDREN = (("service", "breast-cancer"), ("deployment", "breast-cancer"), ("networkpolicy", "breast-cancer"))


def uid(namespace: Namespace, kind: str, name: str) -> str:
    return str(namespace.get(kind, name)["metadata"]["uid"])


def test_a_changed_field_of_a_child_is_put_back_and_an_added_label_stays(quickstart: Namespace) -> None:
    patch = {"metadata": {"labels": {"team": "retention"}}, "spec": {"ports": [{"port": 80, "targetPort": 9}]}}
    quickstart("patch", "service", "breast-cancer", "--type=merge", "-p", json.dumps(patch))
    found = quickstart.until("service", "breast-cancer", lambda it: it["spec"]["ports"][0]["targetPort"] != 9, 60)
    assert found["metadata"]["labels"]["team"] == "retention"


def test_a_finished_run_whose_job_is_deleted_is_not_run_again(quickstart: Namespace) -> None:
    quickstart("delete", "job", "breast-cancer-1-1")
    # Proof that the operator has had its chance: it answers a change made after the deletion.
    quickstart("annotate", "trainingrun", "breast-cancer-1", "touched=yes")
    quickstart("delete", "service", "quickstart-tracking")
    quickstart.until("service", "quickstart-tracking", lambda _: True, 60)
    assert quickstart.get("jobs")["items"] == []
    assert quickstart.get("trainingrun", "breast-cancer-1")["status"]["phase"] == "Succeeded"


def test_deleting_everything_leaves_only_the_volume_and_the_model(quickstart: Namespace) -> None:
    quickstart("delete", "modeldeployment", "breast-cancer")
    quickstart.until("workspace", "quickstart", lambda it: not it["status"].get("usedBy"), 30)
    quickstart("delete", "-k", str(SAMPLE), "--ignore-not-found")
    for kind in ("jobs", "pods", "services", "secrets", "deployments.apps", "networkpolicies"):
        quickstart.none_left(kind, 60)
    assert names(quickstart.get("persistentvolumeclaims")) == ["quickstart-tracking"]
    assert names(quickstart.get("models")) == ["breast-cancer-1"]
    assert names(quickstart.get("serviceaccounts")) == ["default"]


def names(listed: Json) -> list[str]:
    return [item["metadata"]["name"] for item in listed["items"]]
