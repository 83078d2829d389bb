"""kubectl in a namespace made for a test."""

from __future__ import annotations

import base64
import json
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from demo.__main__ import port_forward
from demo.kubectl import CommandFailed, Kubectl

Json = dict[str, Any]
# What users are advised to set on their namespaces; every pod the operator makes must pass it.
RESTRICTED = {
    "pod-security.kubernetes.io/enforce": "restricted",
    "pod-security.kubernetes.io/enforce-version": "latest",
}


class Namespace(Kubectl):
    """kubectl in one namespace, with waiting that says what it waited for."""

    def apply(self, *manifests: Json) -> None:
        self("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(manifests)}))

    def find(self, kind: str, name: str) -> Json | None:
        printed = self("get", kind, name, "--ignore-not-found", "-o", "json")
        return json.loads(printed) if printed.strip() else None

    def until(self, kind: str, name: str, holds: Callable[[Json], bool], seconds: float = 90) -> Json:
        """The object once `holds` is true of it; else fails with the object's status."""
        deadline = time.monotonic() + seconds
        found: Json | None = None
        while time.monotonic() < deadline:
            found = self.find(kind, name)
            if found is not None and holds(found):
                return found
            time.sleep(0.3)
        pytest.fail(
            f"{kind}/{name} in {self.namespace} after {seconds:.0f} s: "
            + json.dumps((found or {}).get("status"), indent=1)
        )

    def ready(self, kind: str, name: str, seconds: float = 120) -> Json:
        return self.until(kind, name, lambda it: condition(it, "Ready").get("status") == "True", seconds)

    def stalled(self, kind: str, name: str, seconds: float = 90) -> Json:
        return self.until(kind, name, lambda it: condition(it, "Stalled").get("status") == "True", seconds)

    def gone(self, kind: str, name: str, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while self.find(kind, name) is not None:
            assert time.monotonic() < deadline, f"{kind}/{name} is still there after {seconds:.0f} s"
            time.sleep(0.3)

    def none_left(self, kind: str, seconds: float = 60) -> None:
        """Waits until the namespace holds nothing of that kind that the operator or a user made."""
        deadline = time.monotonic() + seconds
        while left := [each["metadata"]["name"] for each in self.get(kind)["items"]]:
            assert time.monotonic() < deadline, f"{kind} left after {seconds:.0f} s: {left}"
            time.sleep(0.3)


def condition(found: Json, kind: str) -> Json:
    """The condition of that type if it speaks of the current generation, else nothing."""
    for each in found.get("status", {}).get("conditions", []):
        if each["type"] == kind and each.get("observedGeneration") == found["metadata"]["generation"]:
            return dict(each)
    return {}


@contextmanager
def tracking(namespace: Namespace, workspace: str) -> Iterator[Callable[[str], str]]:
    """Asks the workspace's tracking server, as its admin, for what stands under a path."""
    secret = namespace.get("secret", f"{workspace}-tracking")["data"]
    password = base64.b64decode(secret["admin-password"]).decode()
    with port_forward(namespace, f"service/{workspace}-tracking", 5000) as port:

        def ask(path: str) -> str:
            request = urllib.request.Request(f"http://localhost:{port}/{path}")
            request.add_header("Authorization", "Basic " + base64.b64encode(f"admin:{password}".encode()).decode())
            with urllib.request.urlopen(request, timeout=30) as response:
                return str(response.read().decode())

        yield ask


def shows(namespace: Namespace, kind: str, name: str, message: str) -> None:
    """The message stands where people look first: in `get -o wide` and in `describe`."""
    for printed in (namespace("get", kind, name, "-o", "wide"), namespace("describe", kind, name)):
        assert message[:30] in printed, printed


def fresh_namespace(environment: dict[str, str]) -> Iterator[Namespace]:
    name = f"e2e-{uuid.uuid4().hex[:8]}"
    made = Namespace(environment, name)
    made.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": RESTRICTED}})
    made.until("serviceaccount", "default", lambda _: True)
    try:
        yield made
    finally:
        try:
            made("delete", "namespace", name, "--wait=false")
        except CommandFailed as failure:
            if "NotFound" not in str(failure):
                raise
