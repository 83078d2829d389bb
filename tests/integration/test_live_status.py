"""The status of a running run follows what its recorder says, over a real API server: soon, and in few writes."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import Any

import pytest

from smalt.builders.training_job import PAGE_PORT
from support.controlplane import ControlPlane
from support.operator_process import OperatorProcess
from support.place import Place, condition
from support.player import Player
from support.specs import EXPERIMENT, RUN, WORKSPACE, changed

pytestmark = pytest.mark.controlplane
Json = dict[str, Any]
# Every address of 127.0.0.0/8 is this host's, so that each test has a pod of its own on the one port.
POD = "127.9.40.1"


class Recorder:
    """Answers in the place of the pod's recorder; `counts` makes every answer another one."""

    def __init__(self) -> None:
        self.said: Json = {"phase": "Running", "message": "", "metrics": {}}
        self.counts = False
        self.asked: list[datetime] = []

    def answer(self) -> Json:
        self.asked.append(datetime.now(UTC))
        return self.said | ({"progress": {"percent": len(self.asked)}} if self.counts else {})


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    made = Recorder()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = json.dumps(made.answer()).encode()
            self.send_response(200 if self.path == "/status.json" else 404)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer((POD, PAGE_PORT), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield made
    server.shutdown()
    server.server_close()


class Running(Player):
    """Jobs get a pod whose containers have started, and nothing ends."""

    def _finish(self, job: Json, pods: list[Json]) -> None:
        name = f"{job['metadata']['name']}-pod"
        if not any(pod["metadata"]["name"] == name for pod in pods):
            self._pod(name, job, job["spec"]["template"])

    def _report(self, containers: list[str], finished: bool, said: Json) -> Json:
        made = super()._report(containers, finished, said)
        return made | ({"podIP": POD, "podIPs": [{"ip": POD}]} if "recorder" in containers else {})


def test_progress_and_metrics_are_shown_soon_and_written_once_in_ten_seconds(
    place: Place, operator: OperatorProcess, plane: ControlPlane, recorder: Recorder
) -> None:
    recorder.said["metrics"] = {"auc": 0.5, "bad": 10**400}
    recorder.counts = True
    with Running(plane, place.name):
        place.apply(*(changed(each, {}) for each in (WORKSPACE, EXPERIMENT, RUN)))
        found = place.until("trainingrun", "first", lambda it: "progress" in it.get("status", {}))
        assert (found["status"]["phase"], found["status"]["metrics"]) == ("Running", {"auc": 0.5})
        percent = found["status"]["progress"]["percent"]
        place.until("trainingrun", "first", lambda it: it["status"]["progress"]["percent"] >= percent + 3, 60)
        assert "Running" in place("get", "mlrun", "first", "-o", "wide")
        times = status_writes(plane, place)
        # The last three told nothing else.
        gaps = [(later - sooner).total_seconds() for sooner, later in pairwise(times)][-2:]
        assert len(gaps) == 2 and min(gaps) >= 9.9, times
        recorder.counts = False
        recorder.said |= {"phase": "Finalizing", "reason": "TrackingUnavailable", "message": "the server is away"}
        found = place.until("trainingrun", "first", lambda it: it["status"]["phase"] == "Finalizing")
        assert (
            condition(found)["reason"] == "TrackingUnavailable" and "the server is away" in condition(found)["message"]
        )
        written, asked = len(status_writes(plane, place)), len(recorder.asked)
        place.until("trainingrun", "first", lambda _: len(recorder.asked) >= asked + 2)
        assert len(status_writes(plane, place)) == written, "the same again is no write worth"


def status_writes(plane: ControlPlane, place: Place) -> list[datetime]:
    """When the run's status was written, by the audit log."""
    uri = f"/namespaces/{place.name}/trainingruns/first/status"
    events = (json.loads(line) for line in plane.audit_log.read_text().splitlines() if uri in line)
    return [datetime.fromisoformat(event["requestReceivedTimestamp"]) for event in events if event["verb"] == "patch"]
