"""What the operator made is there again when somebody deletes or changes it, and a volume outlives its Workspace as asked."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.operator_process import OperatorProcess
from support.place import Place, condition
from support.specs import WORKSPACE, changed

Json = dict[str, Any]
# The tracking server's come first: they are what a re-made Secret restarts.
REMADE = (
    ("secret", "quickstart-tracking"),
    ("service", "quickstart-tracking"),
    ("networkpolicy", "quickstart-tracking"),
    ("deployment.apps", "quickstart-tracking"),
    ("serviceaccount", "quickstart-run"),
    ("secret", "breast-cancer-key"),
    ("service", "breast-cancer"),
    ("networkpolicy", "breast-cancer"),
    ("deployment.apps", "breast-cancer"),
)


@pytest.mark.timeout(300)
def test_whatever_is_deleted_by_hand_is_made_again(quickstart: Place) -> None:
    before = {each: uid(quickstart, *each) for each in REMADE}
    for kind, name in REMADE:
        quickstart("delete", kind, name, "--wait=false")
    for kind, name in REMADE:
        # Secrets are not watched, so that nobody's are in the cache: they are looked at every minute.
        quickstart.until(kind, name, lambda it, old=before[kind, name]: it["metadata"]["uid"] != old, 90)  # type: ignore[misc]
    quickstart.ready("modeldeployment", "breast-cancer")
    assert quickstart("get", "jobs", "-o", "name").split() == ["job.batch/breast-cancer-1-1"]


def uid(place: Place, kind: str, name: str) -> str:
    return place("get", kind, name, "-o", "jsonpath={.metadata.uid}")


CHANGES: tuple[tuple[str, str, str, Json], ...] = (
    ("service", "quickstart-tracking", "{.spec.ports[0].targetPort}", {"spec": {"ports": [{"port": 5000}]}}),
    ("networkpolicy", "breast-cancer", "{.spec.ingress}", {"spec": {"ingress": [{}]}}),
    ("serviceaccount", "quickstart-run", "{.automountServiceAccountToken}", {"automountServiceAccountToken": True}),
    ("deployment.apps", "breast-cancer", "{.spec.template.spec.containers[0].image}", {}),
)


@pytest.mark.parametrize(("kind", "name", "path", "patch"), CHANGES, ids=[each[0] for each in CHANGES])
def test_a_field_that_the_operator_sets_is_put_back_and_what_others_add_stays(
    quickstart: Place, kind: str, name: str, path: str, patch: Json
) -> None:
    def value() -> str:
        return quickstart("get", kind, name, "-o", f"jsonpath={path}")

    before = value()
    quickstart("label", kind, name, "team=retention")
    if patch:
        quickstart("patch", kind, name, "--type=merge", "-p", json.dumps(patch))
    else:
        quickstart("set", "image", f"{kind}/{name}", "scoring=somebody/elses:1")
    found = quickstart.until(kind, name, lambda _: value() == before)
    assert found["metadata"]["labels"]["team"] == "retention"


def volume(policy: str) -> Json:
    return changed(WORKSPACE, {"storage": {"size": "3Gi", "reclaimPolicy": policy}})


def test_a_volume_is_deleted_with_its_workspace_when_that_is_asked_for(place: Place, operator: OperatorProcess) -> None:
    place.apply(volume("Delete"))
    place.until("persistentvolumeclaim", "lab-tracking", lambda it: bool(it["metadata"].get("ownerReferences")))
    place("delete", "workspace", "lab")
    place("wait", "--for=delete", "persistentvolumeclaim/lab-tracking", "--timeout=90s")


def test_a_kept_volume_is_taken_up_again_as_it_is_by_a_workspace_of_its_name(
    place: Place, operator: OperatorProcess
) -> None:
    place.apply(volume("Retain"))
    kept = place.until("persistentvolumeclaim", "lab-tracking", lambda it: True)
    place("delete", "workspace", "lab")
    place("wait", "--for=delete", "service/lab-tracking", "--timeout=90s")
    assert uid(place, "persistentvolumeclaim", "lab-tracking") == kept["metadata"]["uid"]
    place.apply(changed(WORKSPACE, {"storage": {"size": "1Gi", "reclaimPolicy": "Delete"}}))
    taken = place.until("persistentvolumeclaim", "lab-tracking", lambda it: bool(it["metadata"].get("ownerReferences")))
    assert taken["metadata"]["uid"] == kept["metadata"]["uid"]
    assert taken["spec"]["resources"]["requests"]["storage"] == "3Gi", "a volume does not shrink"
    found = place.until("workspace", "lab", lambda it: bool(condition(it)))
    assert condition(found)["reason"] != "ChildRefused"
