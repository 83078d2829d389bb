"""The demo's story: cluster, images, Smalt, quickstart, prediction, and what to try next."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from demo.kubectl import REPOSITORY, CommandFailed, Kubectl, cluster, cluster_environment
from demo.progress import Step, step

NAMESPACE = "quickstart"
SAMPLE = Path("manifests/samples/quickstart")
QUICKSTART_LIMIT_SECONDS = 600
# In the order in which one waits for the other, so that the line shown is the one that matters.
STORY = (
    ("workspace", "quickstart"),
    ("experiment", "breast-cancer"),
    ("trainingrun", "breast-cancer-1"),
    ("model", "breast-cancer-1"),
    ("modeldeployment", "breast-cancer"),
)


class DemoFailed(RuntimeError):
    """The demo cannot go on; the text says why and what to look at."""


def main() -> int:
    started = time.monotonic()
    try:
        cluster("up", show=True)
        cluster("images", show=True)
        environment = cluster_environment()
        install(Kubectl(environment, "smalt-system"))
        quickstart = Kubectl(environment, NAMESPACE)
        seconds = run_quickstart(quickstart)
    except (DemoFailed, CommandFailed) as failure:
        print(f"\n{failure}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError:
        return 1  # the command has already said what is missing
    print(f"\n{quickstart('get', 'smalt')}")
    print(f"quickstart: {seconds:.0f} s from apply to prediction; everything: {time.monotonic() - started:.0f} s\n")
    print(next_commands())
    return 0


def install(kubectl: Kubectl) -> None:
    folder = cluster("installation").strip()
    with step(f"install Smalt: kubectl apply -k {folder}") as under_way:
        kubectl("apply", "-k", folder)
        restart_outdated(kubectl, under_way)
        kubectl("rollout", "status", "deployment/smalt-operator", "--timeout=180s")


def restart_outdated(kubectl: Kubectl, under_way: Step) -> None:
    """A rebuilt image has the same tag as the one that runs: without a restart the old code would answer."""
    wanted = os.environ.get("SMALT_IMAGES_STAMP") or images_stamp()
    deployed = kubectl.get("deployment", "smalt-operator")
    template = deployed["spec"]["template"]["metadata"].get("annotations", {})
    if template.get("smalt.dev/images") == wanted:
        return
    under_way.says("images changed: rolling the operator")
    patch = {"spec": {"template": {"metadata": {"annotations": {"smalt.dev/images": wanted}}}}}
    kubectl("patch", "deployment", "smalt-operator", "--type=merge", "-p", json.dumps(patch))


def images_stamp() -> str:
    """Names the images that `cluster images` handed over, by content."""
    return cluster("images", "--stamp").strip()


def run_quickstart(kubectl: Kubectl) -> float:
    """Applies the sample, waits for it, asks it; gives back the seconds from apply to prediction."""
    started = time.monotonic()
    with step(f"apply the quickstart: kubectl apply -n {NAMESPACE} -k {SAMPLE}"):
        if not namespace_exists(kubectl):
            kubectl("create", "namespace", NAMESPACE)
        kubectl("apply", "-k", str(SAMPLE))
    for kind, name in STORY:
        with step(f"wait for {kind}/{name}") as under_way:
            wait_ready(kubectl, kind, name, under_way, until=started + QUICKSTART_LIMIT_SECONDS)
    with step("ask the model: POST /score"):
        print(f"\nprediction: {predict(kubectl)}\n")
    return time.monotonic() - started


def namespace_exists(kubectl: Kubectl) -> bool:
    return bool(kubectl("get", "namespace", NAMESPACE, "--ignore-not-found", "-o", "name").strip())


def wait_ready(kubectl: Kubectl, kind: str, name: str, under_way: Step, until: float) -> None:
    message = "not there yet"
    while time.monotonic() < until:
        found = kubectl("get", kind, name, "--ignore-not-found", "-o", "json")
        conditions = conditions_of(json.loads(found)) if found.strip() else {}
        ready = conditions.get("Ready", {})
        if ready.get("status") == "True":
            return
        message = ready.get("message", message)
        under_way.says(f"{ready.get('reason', 'Waiting')}: {message}")
        if conditions.get("Stalled", {}).get("status") == "True":
            raise DemoFailed(
                f"{kind}/{name} cannot go on: {message}\nSee `kubectl -n {NAMESPACE} describe {kind} {name}`."
            )
        time.sleep(0.5)
    raise DemoFailed(
        f"{kind}/{name} was not ready in time: {message}\nSee `kubectl -n {NAMESPACE} describe {kind} {name}`."
    )


def conditions_of(found: dict[str, Any]) -> dict[str, Any]:
    """By type, and only those that speak of the current generation."""
    status = found.get("status", {})
    if status.get("observedGeneration") != found["metadata"]["generation"]:
        return {}
    return {condition["type"]: condition for condition in status.get("conditions", [])}


def predict(kubectl: Kubectl) -> str:
    """One request from outside the cluster, with the key, as README shows it."""
    secret = kubectl.get("secret", "breast-cancer-key")
    key = base64.b64decode(secret["data"]["primaryKey"]).decode()
    body = (REPOSITORY / SAMPLE / "request.json").read_bytes()
    with port_forward(kubectl, "service/breast-cancer", 80) as port:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/score",
            data=body,
            headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.read().decode().strip()  # type: ignore[no-any-return]
        except urllib.error.URLError as error:
            raise DemoFailed(f"POST /score was not answered: {error}") from error


@contextmanager
def port_forward(kubectl: Kubectl, target: str, port: int) -> Iterator[int]:
    """A free local port that leads to the target while the block runs."""
    forward = kubectl.start("port-forward", target, f":{port}")
    try:
        assert forward.stdout is not None
        line = forward.stdout.readline()
        found = re.search(r"127\.0\.0\.1:(\d+)", line)
        if not found:
            raise DemoFailed(f"kubectl port-forward {target}: {line.strip()}")
        yield int(found.group(1))
    finally:
        forward.terminate()
        forward.wait()


def next_commands() -> str:
    return f"""Next, in a shell of your own (the first line puts kubectl and the cluster at hand):
  eval "$(PYTHONPATH=tests python3 -m cluster env)"
  kubectl -n {NAMESPACE} get smalt -o wide            # every object, and why it is as it is
  kubectl -n {NAMESPACE} logs job/breast-cancer-1-1   # what the training script printed
  kubectl -n {NAMESPACE} port-forward service/quickstart-tracking 5000:5000   # its history, on http://localhost:5000
`make down` ends the cluster."""


if __name__ == "__main__":
    sys.exit(main())
