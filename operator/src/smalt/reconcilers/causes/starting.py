"""Why a pod that has a node does not start its containers, or has lost its node."""

from __future__ import annotations

import re

from smalt.api.schema import Json
from smalt.reconcilers.causes import volumes
from smalt.reconcilers.causes.finding import Finding, brief
from smalt.reconcilers.diagnosis import statuses
from smalt.reconcilers.fit import condition, is_ready

IMAGE_REASONS = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "RegistryUnavailable",
        "ImageInspectError",
        "SignatureValidationFailed",
    }
)
CONFIG_REASONS = frozenset(
    {"CreateContainerConfigError", "CreateContainerError", "RunContainerError", "PreCreateHookError"}
)
# A container whose program could not be started, by containerd and CRI-O, and by Docker.
NOT_STARTED = frozenset({"StartError", "ContainerCannotRun"})
_NO_PROGRAM = re.compile(
    r'exec: "([^"]*)":.*(?:not found|no such file)|executable file [`\']([^`\']*)[`\'] not found', re.IGNORECASE
)
# Said in turns with the error itself, so that the message would change with every try.
_BACK_OFF = re.compile(r'^Back-off pulling image "[^"]*"(: )?(ErrImagePull: )?')


def blocked(pod: Json, image_field: str) -> Finding | None:
    """A container that cannot start; `image_field` is where the user names the image."""
    for each in statuses(pod):
        waiting = (each.get("state") or {}).get("waiting") or {}
        reason, words = waiting.get("reason", ""), waiting.get("message") or ""
        if reason in IMAGE_REASONS:
            why = brief(_BACK_OFF.sub("", words)) or reason
            return Finding(
                "ImagePullFailed",
                f"image '{each.get('image')}' cannot be pulled: {why}. Correct {image_field}, or make the "
                "image reachable for the nodes",
                is_users=True,
            )
        if reason in CONFIG_REASONS:
            return volumes.missing(words) or Finding(
                "PodRefused",
                f"container '{each.get('name')}' cannot be made: {brief(words) or reason}. Mend what it names; it is tried again",
            )
    return None


def without_sandbox(pod: Json, events: list[Json]) -> Finding | None:
    """The node cannot even make the pod's network and cgroup."""
    words = volumes.newest(events, "FailedCreatePodSandBox")
    if not words:
        return None
    name = pod["metadata"]["name"]
    return Finding(
        "PodNotStarted",
        f"the node cannot set up pod '{name}': {brief(words)}. It is tried again: see `kubectl describe pod {name}`, and ask "
        "the cluster's administrator when it lasts",
    )


def on_lost_node(pod: Json, node: Json | None) -> Finding | None:
    """The pod's node does not report, as far as nodes can be looked at."""
    name = (pod.get("spec") or {}).get("nodeName")
    if not name or node is None or is_ready(node):
        return None
    found = condition(node)
    why = brief(found.get("message") or "") or "its kubelet has never reported"
    since = f" since {found['lastTransitionTime']}" if found.get("lastTransitionTime") else ""
    return Finding(
        "NodeNotReady",
        f"node '{name}' with pod '{pod['metadata']['name']}' is not ready{since}: {why}. See `kubectl describe node {name}`; "
        "the run goes on when the node comes back, and is made anew elsewhere when the cluster gives the node up and "
        "limits.retries allows it",
    )


def not_started(pod: Json, image_field: str) -> Finding | None:
    """A container whose program the node could not start at all."""
    for each in statuses(pod):
        state = (each.get("state") or {}).get("terminated") or {}
        if state.get("reason") not in NOT_STARTED:
            continue
        words = state.get("message") or ""
        found = _NO_PROGRAM.search(words)
        program = (found[1] or found[2]) if found else ""
        if "python" in program:
            return Finding(
                "NoPython",
                f"image '{each.get('image')}' has no {program}: name an image with Python 3.9 or later in {image_field}",
                is_users=True,
            )
        return Finding(
            "ContainerNotStarted",
            f"container '{each.get('name')}' of image '{each.get('image')}' cannot be started: "
            f"{brief(words) or state['reason']}. Name another image in {image_field}",
            is_users=True,
        )
    return None


def init_failed(pod: Json) -> Finding | None:
    """A step before the script's container that has failed, in its own last words where it left some."""
    for each in (pod.get("status") or {}).get("initContainerStatuses") or []:
        state = (each.get("state") or {}).get("terminated") or (each.get("lastState") or {}).get("terminated") or {}
        if not state.get("exitCode"):
            continue
        pod_name, name = pod["metadata"]["name"], each.get("name")
        words = f": {brief(state['message'])}" if state.get("message") else ""
        return Finding(
            "InitContainerFailed",
            f"init container '{name}' failed ({state.get('reason') or 'Error'}, exit code {state['exitCode']}){words}. See "
            f"`kubectl logs {pod_name} -c {name}`",
        )
    return None


def evicted(pod: Json) -> Finding | None:
    """The node ended the pod as a whole, for what the pod itself did: else the attempt is made again."""
    found = pod.get("status") or {}
    if found.get("phase") == "Failed" and found.get("reason"):
        words = f": {found['message']}" if found.get("message") else ""
        return Finding(
            "PodLost",
            f"pod '{pod['metadata']['name']}' was ended by its node ({found['reason']}{words}): name a larger one in "
            "instanceType, or let the script write less",
        )
    return None
