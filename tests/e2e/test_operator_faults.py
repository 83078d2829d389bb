"""The operator on the real node: a leader that dies, one that is told to stop, and a kill while real pods work."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from demo.kubectl import Kubectl
from e2e import operator_pods
from e2e.cluster_namespace import Json, Namespace, condition
from e2e.test_bad_deployments import SCORE, TRAIN, deployment, scripted, training
from e2e.test_bad_runs import experiment, workspace

# The Lease lasts 15 s since the standby saw it renewed; the standby looks at it every second.
TAKEOVER_AFTER_KILL_SECONDS = 20
# Two seconds for the standby, and what kubectl itself takes to send the signal and to read the Lease here.
TAKEOVER_AFTER_SIGTERM_SECONDS = 2
KUBECTL_SECONDS = 2


@pytest.fixture
def operator(smalt: Kubectl) -> Kubectl:
    operator_pods.wait_for_two(smalt)
    return smalt


def test_the_standby_takes_over_from_a_leader_that_was_killed(operator: Kubectl) -> None:
    killed = operator_pods.kill_leader(operator)
    successor, seconds = operator_pods.another_leader(operator, killed, 60)
    assert seconds <= TAKEOVER_AFTER_KILL_SECONDS
    # The killed container starts again in its pod: it comes too late, and is a standby now.
    assert operator_pods.pod_of(successor) != operator_pods.pod_of(killed)


def test_the_standby_takes_over_at_once_from_a_leader_that_was_told_to_stop(operator: Kubectl) -> None:
    stopped = operator_pods.holder(operator)
    operator("delete", "pod", operator_pods.pod_of(stopped), "--wait=false")
    _, seconds = operator_pods.another_leader(operator, stopped, 60)
    assert seconds <= TAKEOVER_AFTER_SIGTERM_SECONDS + KUBECTL_SECONDS


class Moment(NamedTuple):
    """A point in the life of a run and its model at which the operator is killed."""

    sentence: str
    kind: str
    name: str
    has_come: Callable[[Json], bool]


MOMENTS = (
    Moment("while the script runs", "job", "first-1", lambda job: job["status"].get("active", 0) > 0),
    Moment("when the script has ended", "job", "first-1", lambda job: job["status"].get("succeeded", 0) > 0),
    Moment("while the model is rolled out", "deployment.apps", "served", lambda _: True),
)


@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: moment.sentence)
@pytest.mark.timeout(600)
def test_a_killed_operator_ends_in_the_same_state(operator: Kubectl, namespace: Namespace, moment: Moment) -> None:
    namespace.apply(workspace(), experiment(), training("first", TRAIN, "trained"))
    namespace.apply(deployment("served", "trained", **scripted(SCORE)))
    namespace.until(moment.kind, moment.name, moment.has_come, 240)
    killed = operator_pods.kill_leader(operator)
    namespace.ready("trainingrun", "first", 240)
    namespace.ready("modeldeployment", "served", 240)
    assert operator_pods.holder(operator) != killed, "whoever finished this is another process"
    jobs = [job["metadata"]["name"] for job in namespace.get("jobs")["items"]]
    models = [model["metadata"]["name"] for model in namespace.get("models")["items"]]
    assert jobs == ["first-1"]
    assert models == ["trained-1"]
    run = namespace.get("trainingrun", "first")
    assert run["status"]["model"] == "trained-1"
    assert run["status"]["attempt"] == 1
    assert condition(namespace.get("model", "trained-1"), "Ready")["status"] == "True"
