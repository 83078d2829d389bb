"""Where a Workspace keeps things decides what it gets: a volume, a server, or neither."""

from __future__ import annotations

from typing import Any

import pytest

from smalt.api.kinds import POD, SECRET, WORKSPACE
from smalt.reconcilers import workspace as reconciler
from smalt.reconcilers.plan import Plan
from smalt.reconcilers.world import Read
from support.resources import NAMESPACE, NOW, SETTINGS, resource, said, store_of, workspace

Json = dict[str, Any]
BUCKET = {"url": "s3://bucket/prefix", "credentialsSecret": "bucket"}
DATABASE = {"databaseSecret": "history"}
EXTERNAL = {"external": {"uri": "https://mlflow.example/", "credentialsSecret": "mlflow"}}
LABELS = {
    "app.kubernetes.io/managed-by": "smalt",
    "app.kubernetes.io/component": "tracking",
    "smalt.dev/workspace": "lab",
}


def planned(spec: Json, *world: Json) -> Plan:
    it = workspace(spec)
    live = {read: resource(SECRET, "lab-tracking") for read in reconciler.reads(it, store_of(it, *world), NOW)}
    return reconciler.plan(it, store_of(it, *world), live, NOW, SETTINGS)


@pytest.mark.parametrize(
    ("spec", "has_volume"),
    [
        ({}, True),
        ({"storage": BUCKET}, True),
        ({"tracking": DATABASE}, True),
        ({"storage": BUCKET, "tracking": DATABASE}, False),
    ],
)
def test_a_volume_is_there_for_what_is_kept_on_it(spec: Json, has_volume: bool) -> None:
    kinds = [child.manifest["kind"] for child in planned(spec).apply]
    assert ("PersistentVolumeClaim" in kinds) is has_volume
    assert "Deployment" in kinds


def test_beside_somebody_elses_server_none_is_run_and_no_secret_read() -> None:
    it = workspace({"tracking": EXTERNAL})
    assert reconciler.reads(it, store_of(it), NOW) == ()
    plan = planned({"tracking": EXTERNAL})
    assert [child.manifest["kind"] for child in plan.apply] == ["ServiceAccount"]
    assert plan.status is not None
    assert plan.status["trackingUri"] == "https://mlflow.example"
    assert (said(plan.status)["status"], said(plan.status)["reason"]) == ("True", "External")


def test_what_the_server_said_before_it_gave_up_is_told() -> None:
    words = "the Secret 'history' of tracking.databaseSecret has no key uri, or is not there: write postgresql://…"
    ended = {"terminated": {"exitCode": 1, "message": f"INFO starting\n{words}\n"}}
    status = {"containerStatuses": [{"name": "tracking", "restartCount": 2, "lastState": ended}]}
    pod = resource(POD, "lab-tracking-x", None, status, labels=LABELS)
    told = said(planned({"tracking": DATABASE}, pod).status)
    assert told["reason"] == "TrackingFailed"
    assert words in told["message"]
    assert Read(SECRET, NAMESPACE, "history") not in reconciler.reads(
        workspace({"tracking": DATABASE}), store_of(workspace()), NOW
    )
    assert WORKSPACE.label in LABELS
