"""The smallest good object of each kind, and copies of it with something changed."""

from __future__ import annotations

import copy
from typing import Any

Json = dict[str, Any]
REMOVED = object()

WORKSPACE: Json = {"kind": "Workspace", "metadata": {"name": "lab"}, "spec": {}}
EXPERIMENT: Json = {"kind": "Experiment", "metadata": {"name": "trials"}, "spec": {"workspace": "lab"}}
RUN: Json = {
    "kind": "TrainingRun",
    "metadata": {"name": "first"},
    "spec": {"experiment": "trials", "code": {"inline": {"train.py": "pass"}}, "command": "python train.py"},
}
MODEL: Json = {
    "kind": "Model",
    "metadata": {"name": "churn-1"},
    "spec": {"name": "churn", "version": 1, "workspace": "lab", "source": {"run": "first", "output": "model"}},
}
DEPLOYMENT: Json = {
    "kind": "Deployment",
    "metadata": {"name": "prod"},
    "spec": {"workspace": "lab", "model": {"name": "churn", "version": 1}},
}


def changed(base: Json, changes: Json, name: str | None = None) -> Json:
    """A copy with fields of its spec set by dotted path; REMOVED takes one away."""
    made = copy.deepcopy(base) | {"apiVersion": "smalt.dev/v1alpha1"}
    for path, value in changes.items():
        steps = path.split(".")
        place = made["spec"]
        for step in steps[:-1]:
            place = place.setdefault(step, {})
        if value is REMOVED:
            del place[steps[-1]]
        else:
            place[steps[-1]] = value
    if name is not None:
        made["metadata"]["name"] = name
    return made
