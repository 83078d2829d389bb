"""What a script asks of the tracking server, changed so far that all it records stays under its own training run.

Whatever client it uses, and of whichever version: runs that it starts itself become children of its run, another
experiment becomes its own, and its run is ended by the recorder alone.
"""

from __future__ import annotations

import json
import re
import urllib.parse
from dataclasses import dataclass, field
from typing import Any, Callable, Mapping, Optional, Tuple, Union

from smalt_trainer.run import name_problem
from smalt_trainer.spool import Point

PARENT = "mlflow.parentRunId"
_CALL = re.compile(r"/(?:ajax-)?api/\d+\.\d+/(?:preview/)?mlflow/([^?]+)(\?.*)?")


@dataclass(frozen=True)
class Asked:
    """A request as it goes on to the server."""

    path: str
    body: Optional[bytes]


@dataclass(frozen=True)
class Answered:
    """A request that the server need not see."""

    status: int
    body: Mapping[str, Any]


@dataclass
class Rewriting:
    """Of one attempt's script."""

    run: str
    experiment: str
    experiment_name: str
    # Tells the script's log and the run of a wish that was not followed.
    warn: Callable[[str, str], None]
    # The script has started runs besides its own.
    has_children: bool = False
    _warned: set[str] = field(default_factory=set)

    def __call__(self, method: str, path: str, body: Optional[bytes]) -> Union[Asked, Answered]:
        """The request as it is to be sent, or its answer."""
        same = Asked(path, body)
        call = _CALL.fullmatch(path)
        if call is None:
            return same
        name = call.group(1).rstrip("/")
        if name == "experiments/get-by-name":
            return self._by_name(path, body)
        sent = _parsed(body)
        if sent is None or method != "POST":
            return same
        if name == "experiments/create":
            self._stay(str(sent.get("name")))
            return Answered(200, {"experiment_id": self.experiment})
        changed: Optional[Mapping[str, Any]] = None
        if name == "runs/create":
            changed = self._child(sent)
        elif name == "runs/update" and self._is_ours(sent):
            # The status would end the run, or take it up again; it says RUNNING until the recorder says more.
            changed = {**{key: value for key, value in sent.items() if key != "end_time"}, "status": "RUNNING"}
        elif name in ("runs/delete", "runs/restore") and self._is_ours(sent):
            told = f"run {self.run} is the training run's own; delete the TrainingRun and then its history in MLflow"
            return Answered(403, {"error_code": "PERMISSION_DENIED", "message": told})
        elif name == "logged-models":
            # A model may be logged while no run is active; it is this run's all the same.
            source = sent.get("source_run_id") or self.run
            changed = {**sent, "experiment_id": self.experiment, "source_run_id": source}
        return same if changed is None else Asked(path, json.dumps(changed).encode())

    def points(self, path: str, body: Optional[bytes]) -> Tuple[list[Point], bool]:
        """The values that a request logs for the script's own run, and whether it does nothing else."""
        call = _CALL.fullmatch(path)
        sent = _parsed(body) if call and call.group(1) in ("runs/log-metric", "runs/log-batch") else None
        if call is None or sent is None or not self._is_ours(sent):
            return [], False
        logged = [sent] if call.group(1) == "runs/log-metric" else sent.get("metrics")
        logged = [each for each in logged if isinstance(each, dict)] if isinstance(logged, list) else []
        points = [point for point in map(_point, logged) if point]
        is_all = len(points) == len(logged) and not sent.get("params") and not sent.get("tags")
        return points, is_all and not any(each.get("model_id") or each.get("dataset_name") for each in logged)

    def _is_ours(self, sent: Mapping[str, Any]) -> bool:
        return (sent.get("run_id") or sent.get("run_uuid")) == self.run

    def _child(self, sent: Mapping[str, Any]) -> Mapping[str, Any]:
        """A run that the script starts besides its own: a child of that, unless it is one of another run already."""
        self.has_children = True
        tags = [each for each in sent.get("tags") or [] if isinstance(each, dict)]
        if not any(each.get("key") == PARENT for each in tags):
            tags.append({"key": PARENT, "value": self.run})
        return {**sent, "experiment_id": self.experiment, "tags": tags}

    def _by_name(self, path: str, body: Optional[bytes]) -> Asked:
        """Whichever experiment is asked for by name: scripts do so to make it theirs."""
        address, _, query = path.partition("?")
        asked = dict(urllib.parse.parse_qsl(query))
        sent = _parsed(body)
        self._stay(str(asked.get("experiment_name") or (sent or {}).get("experiment_name") or ""))
        if sent is not None and "experiment_name" in sent:
            return Asked(path, json.dumps({**sent, "experiment_name": self.experiment_name}).encode())
        return Asked(f"{address}?{urllib.parse.urlencode({**asked, 'experiment_name': self.experiment_name})}", body)

    def _stay(self, name: str) -> None:
        if name and name != self.experiment_name and name not in self._warned:
            self._warned.add(name)
            self.warn(
                "experiment",
                f"experiment {name[:200]!r} is not used: the run stays in its own, {self.experiment_name!r}; name another "
                "one in the TrainingRun's spec.experiment",
            )


def _parsed(body: Optional[bytes]) -> Optional[dict[str, Any]]:
    try:
        found = json.loads(body or b"")
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _point(logged: Mapping[str, Any]) -> Optional[Point]:
    """None when it is the server's to judge."""
    try:
        name, step = logged["key"], int(logged.get("step") or 0)
        value, stamp = float(logged["value"]), int(logged["timestamp"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return None if name_problem(name) else Point(name, value, step, stamp)
