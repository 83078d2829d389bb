"""A namespace on a real API server, and waiting in it that says what it waited for."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.controlplane import ControlPlane

Json = dict[str, Any]
SAMPLE = Path(__file__).resolve().parents[2] / "manifests/samples/quickstart"
OBJECTS = (
    ("workspace", "quickstart"),
    ("experiment", "breast-cancer"),
    ("trainingrun", "breast-cancer-1"),
    ("model", "breast-cancer-1"),
    ("modeldeployment", "breast-cancer"),
)


class Place:
    """A namespace and kubectl in it."""

    def __init__(self, plane: ControlPlane) -> None:
        self.plane, self.name = plane, f"op-{uuid.uuid4().hex[:8]}"
        plane.kubectl("create", "namespace", self.name)

    def __call__(self, *arguments: str, stdin: str | None = None) -> str:
        return self.plane.kubectl("-n", self.name, *arguments, stdin=stdin)

    def apply(self, *manifests: Json) -> None:
        self("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(manifests)}))

    def until(self, kind: str, name: str, holds: Callable[[Json], bool], seconds: float = 30) -> Json:
        deadline = time.monotonic() + seconds
        while True:
            printed = self("get", kind, name, "--ignore-not-found", "-o", "json")
            found = json.loads(printed) if printed.strip() else {}
            if found and holds(found):
                return dict(found)
            assert time.monotonic() < deadline, f"{kind}/{name}: {json.dumps(found.get('status'), indent=1)}"
            time.sleep(0.1)

    def ready(self, kind: str, name: str) -> Json:
        return self.until(kind, name, lambda it: condition(it).get("status") == "True")


def condition(it: Json, kind: str = "Ready") -> Json:
    status = it.get("status", {})
    if status.get("observedGeneration") != it["metadata"]["generation"]:
        return {}
    return next((each for each in status.get("conditions", []) if each["type"] == kind), {})
