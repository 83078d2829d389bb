"""What the API server refuses to make, and whose rule that is.

Refusals come as sentences: in a controller's events (a Job's pod), in a Deployment's condition, or as the answer to
our own request. Their forms are the API server's and its admission plugins'; one that is not known is quoted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from smalt.api.schema import Json
from smalt.reconcilers.causes.finding import Finding, brief

TYPES = "the instance type in the Workspace's spec.instanceTypes"
# What changes from one attempt to the next, and would make the same refusal another message each time.
_PASSING = re.compile(
    r'^(\(combined from similar events\): )?(Error creating: )?(pods "[^"]*" is forbidden: |Pod "[^"]*" is invalid: )?'
)
_QUOTA = re.compile(r"exceeded quota: (\S+), requested: (\S+), used: (\S+), limited: (\S+)")
_UNNAMED = re.compile(r"failed quota: ([^:\s]+): must specify (.+)")
_BOUND = re.compile(
    r"(maximum|minimum) (\S+) usage per (Container|Pod) is ([^\s,]+?)[,.] +"
    r"(?:but (request|limit) is ([^\s,\]]+?)|No (request|limit) is specified)\.?(?=[,\]\s]|$)"
)
_RATIO = re.compile(r"\S+ max limit to request ratio per \S+ is .*")
_POD_SECURITY = re.compile(r'violates PodSecurity "([^"]*)": (.*)')
_PRIORITY = re.compile(r"no PriorityClass with name (\S+) was found")
_RUNTIME = re.compile(r'RuntimeClass "([^"]*)" not found')
_ACCOUNT = re.compile(r'error looking up service account [^:]*: serviceaccount "([^"]*)" not found')
_POLICY = re.compile(r"ValidatingAdmissionPolicy '([^']*)' with binding '[^']*' denied request: (.*)")
_WEBHOOK = re.compile(r'admission webhook "([^"]*)" denied the request:? ?(.*)')
_DEAD_WEBHOOK = re.compile(r'failed calling webhook "([^"]*)": (.*)')


def refused(events: list[Json]) -> Finding | None:
    """Why a controller may not make a pod, from the newest of its events."""
    failed = [each for each in events if each.get("reason") == "FailedCreate"]
    return refusal(max(failed, key=time_of).get("message") or "") if failed else None


def unmade(server: Json) -> Finding | None:
    """Why the controller of an apps/v1 Deployment may not make its pods."""
    for each in (server.get("status") or {}).get("conditions") or []:
        if each.get("type") == "ReplicaFailure" and each.get("status") == "True":
            return refusal(each.get("message") or each.get("reason") or "no reason given")
    return None


def refusal(words: str) -> Finding:
    """The cause of a refusal, or the refusal itself where its form is not known."""
    words = _PASSING.sub("", " ".join(words.split()))
    return recognised(words) or Finding(
        "PodRefused", f"the cluster refuses the pod: {brief(words)}. Mend what it names; it is tried again"
    )


def recognised(words: str) -> Finding | None:
    """The cause of a refusal whose form is known."""
    return next((finding for finding in _readings(words) if finding), None)


def _readings(words: str) -> Iterator[Finding | None]:
    yield _quota(words)
    yield _limit_range(words)
    if found := _POD_SECURITY.search(words):
        yield Finding(
            "PodSecurityRefused",
            f"the namespace's Pod Security level '{found[1]}' refuses the pod: {brief(found[2])}. What Smalt makes passes "
            "the level restricted, so look for what adds this to pods in the namespace, such as a sidecar injector, and "
            "exempt it; it is tried again",
        )
    if found := _PRIORITY.search(words):
        yield Finding(
            "UnknownPriorityClass",
            f"PriorityClass '{found[1]}' of spec.priorityClassName does not exist in the cluster: make it, and the run "
            "follows by itself, or name one of `kubectl get priorityclasses`",
        )
    if found := _RUNTIME.search(words):
        yield Finding(
            "RuntimeClassNotFound",
            f"RuntimeClass '{found[1]}' does not exist: create it, or take it away where something adds it to pods; it is "
            "tried again",
        )
    if found := _ACCOUNT.search(words):
        yield Finding(
            "ServiceAccountNotFound",
            f"ServiceAccount '{found[1]}' does not exist: its Workspace makes it, so see `kubectl get workspaces`; it is "
            "tried again",
        )
    if found := _POLICY.search(words):
        yield Finding(
            "PolicyRefused",
            f"ValidatingAdmissionPolicy '{found[1]}' refuses it: {brief(found[2])}. Do as it says, or ask the cluster's "
            "administrator; it is tried again",
        )
    if found := _WEBHOOK.search(words):
        yield Finding(
            "WebhookRefused",
            f"admission webhook '{found[1]}' refuses it: {brief(found[2]) or 'without a word'}. Do as it says, or ask the "
            "cluster's administrator; it is tried again",
        )
    if found := _DEAD_WEBHOOK.search(words):
        yield Finding(
            "WebhookUnavailable",
            f"admission webhook '{found[1]}' does not answer, and the API server refuses what it was to be asked: {brief(found[2])}. "
            "Ask the cluster's administrator to mend it; it is tried again",
        )


def _quota(words: str) -> Finding | None:
    if found := _QUOTA.search(words):
        requested, used, limited = (_amounts(each) for each in found.groups()[1:])
        parts = [
            f"{name}: {wanted} wanted, {used.get(name, '?')} of {limited.get(name, '?')} used"
            for name, wanted in requested.items()
        ]
        return Finding(
            "QuotaExceeded",
            f"ResourceQuota '{found[1]}' of the namespace leaves no room: {'; '.join(parts)}. It goes on when there is",
        )
    if found := _UNNAMED.search(words):
        return Finding(
            "QuotaExceeded",
            f"ResourceQuota '{found[1]}' of the namespace wants every container to name {brief(found[2])}: add that to "
            f"the resources of {TYPES}, or give the namespace a LimitRange with defaults",
        )
    if "exceeded quota" in words:
        return Finding(
            "QuotaExceeded", f"the namespace's quota leaves no room: {brief(words)}. It goes on when there is"
        )
    return None


def _amounts(listed: str) -> dict[str, str]:
    return dict(each.split("=", 1) for each in listed.split(",") if "=" in each)


def _limit_range(words: str) -> Finding | None:
    parts = []
    for most, resource, of, bound, what, amount, missing in _BOUND.findall(words):
        side = "at most" if most == "maximum" else "at least"
        parts.append(
            f"{resource} {side} {bound} per {of}, and the {what} is {amount}"
            if what
            else f"{resource} {side} {bound} per {of}, and no {missing} is named"
        )
    if not parts and (found := _RATIO.search(words)):
        parts = [brief(found[0].rstrip("]"))]
    if not parts:
        return None
    return Finding(
        "LimitRangeRefused",
        f"a LimitRange of the namespace refuses the pod: {'; '.join(parts)}. Change the resources of {TYPES}, or the "
        "LimitRange; it is tried again",
    )


def time_of(event: Json) -> str:
    """When the event last happened; they are compared as text, since all are of one form."""
    series = (event.get("series") or {}).get("lastObservedTime")
    made = event["metadata"].get("creationTimestamp")
    return str(series or event.get("lastTimestamp") or event.get("eventTime") or made or "")
