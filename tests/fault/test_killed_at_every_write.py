"""The operator is ended by SIGKILL before and after every write of the quickstart: it always ends in the same state.

The API server is real and so is the operator's process; what a node would report is played, so that a round takes
seconds. The proxy between the two sees each write and strikes at the one that is meant, on either side of it.
"""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml

from support.controlplane import ControlPlane
from support.fault_proxy import Fault, FaultProxy
from support.player import Player
from support.rest import Rest

Json = dict[str, Any]
REPOSITORY = Path(__file__).resolve().parents[2]
READY = (
    ("workspaces", "quickstart"),
    ("experiments", "breast-cancer"),
    ("trainingruns", "breast-cancer-1"),
    ("models", "breast-cancer-1"),
    ("modeldeployments", "breast-cancer"),
)
ROUND_SECONDS = 90
# A round mostly waits; so many at a time keep two cores busy.
ROUNDS_AT_A_TIME = 4
# Rounds run in threads, and pytest sets a variable for every test.
ENVIRONMENT = dict(os.environ)
VOLATILE = frozenset({"uid", "resourceVersion", "creationTimestamp", "managedFields", "lastTransitionTime", "selfLink"})
# Another in each round, but there in each: how long a pod lived, and the digest that knows the Workspace by its UID.
OWN = frozenset({"cpuHours", "gpuHours", "request"})


class Operator:
    """The operator's process, talking through the proxy; ended hard, or at the end of the round."""

    def __init__(self, namespace: str, proxy: FaultProxy, folder: Path) -> None:
        self.namespace, self.proxy, self.folder = namespace, proxy, folder
        self.process: subprocess.Popen[bytes] | None = None
        self.starts = 0

    def start(self) -> None:
        self.starts += 1
        kubeconfig = self.folder / "kubeconfig"
        kubeconfig.write_text(yaml.safe_dump(plain_kubeconfig(self.proxy.url)))
        settings = {
            "KUBECONFIG": str(kubeconfig),
            "SMALT_NAMESPACE": self.namespace,
            "SMALT_LEASE_NAMESPACE": self.namespace,
            # A Lease of its own for each start: the dead one's is still held, and waiting for it is another test.
            "SMALT_LEASE_NAME": f"smalt-{self.starts}",
            "SMALT_METRICS_PORT": "0",
            "PYTHONPATH": str(REPOSITORY / "operator/src"),
        }
        with (self.folder / f"operator-{self.starts}.log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "smalt"], env=ENVIRONMENT | settings, stdout=log, stderr=log
            )

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    @property
    def is_dead(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def log(self) -> str:
        return (self.folder / f"operator-{self.starts}.log").read_text()[-4000:]


def plain_kubeconfig(server: str) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "proxy",
        "clusters": [{"name": "proxy", "cluster": {"server": server}}],
        "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "proxy"}}],
        "users": [{"name": "proxy", "user": {}}],
    }


@pytest.fixture(scope="module")
def proxy_tls(plane: ControlPlane) -> tuple[str, ssl.SSLContext]:
    """The plane's address, and a TLS context with the certificate of its kubeconfig."""
    config = json.loads(plane.kubeconfig.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    context = ssl.create_default_context(cafile=cluster["certificate-authority"])
    context.load_cert_chain(user["client-certificate"], user["client-key"])
    return cluster["server"], context


@pytest.fixture(scope="module")
def sample(plane: ControlPlane) -> str:
    return plane.kubectl("kustomize", str(REPOSITORY / "manifests/samples/quickstart"))


def play(
    plane: ControlPlane,
    tls: tuple[str, ssl.SSLContext],
    sample: str,
    folder: Path,
    fault: tuple[str, int, Literal["before", "after"]] | None,
) -> tuple[Json, list[str], bool]:
    """One round of the quickstart; gives back its end state, the writes that passed and whether the fault struck."""
    namespace = f"fault-{uuid.uuid4().hex[:8]}"
    plane.kubectl("create", "namespace", namespace)
    with FaultProxy(*tls) as proxy, Player(plane, namespace):
        operator = Operator(namespace, proxy, folder)
        if fault is not None:
            proxy.fault = Fault(*fault, strike=operator.kill)
        plane.kubectl("-n", namespace, "apply", "-f", "-", stdin=sample)
        operator.start()
        try:
            wait_until_ready(plane, namespace, operator)
        finally:
            if not operator.is_dead:
                operator.kill()
        struck = proxy.fault is not None and proxy.fault.struck
        return end_state(plane, namespace), proxy.writes, struck


def wait_until_ready(plane: ControlPlane, namespace: str, operator: Operator) -> None:
    deadline = time.monotonic() + ROUND_SECONDS
    rest = Rest(plane.kubeconfig, namespace)
    while True:
        if operator.is_dead:
            operator.start()
        items = [item for kind, _ in READY for item in rest.list(kind)]
        ready = {each["metadata"]["name"] + each["kind"] for each in items if is_ready(each)}
        # What registered the Model is deleted once its words are written down.
        is_tidy = not any(is_registration(each) for each in rest.list("jobs"))
        if len(ready) == len(READY) and is_counted(items) and is_tidy:
            return
        assert time.monotonic() < deadline, f"only {sorted(ready)} are ready\n{operator.log()}"
        time.sleep(0.5)


def is_registration(job: Json) -> bool:
    return bool(job["metadata"]["labels"].get("app.kubernetes.io/component") == "registration")


def is_counted(items: list[Json]) -> bool:
    """Counts may lag by some seconds; the end is when they tell of the one run that succeeded."""
    statuses = {each["kind"]: each["status"] for each in items}
    counts = [statuses[kind].get("runs", {}).get("succeeded") for kind in ("Workspace", "Experiment")]
    given = statuses["Workspace"].get("modelVersions")
    users = statuses["Model"].get("usedBy"), statuses["Workspace"].get("usedBy")
    return counts == [1, 1] and given == {"breast-cancer": 1} and users == (["breast-cancer"], ["breast-cancer"])


def is_ready(found: Json) -> bool:
    status = found.get("status", {})
    return status.get("observedGeneration") == found["metadata"]["generation"] and any(
        each["type"] == "Ready" and each["status"] == "True" for each in status.get("conditions", [])
    )


def end_state(plane: ControlPlane, namespace: str) -> Json:
    """Everything there is by kind and name, without what differs from one object's life to another's."""
    kinds = (
        ",".join(kind for kind, _ in READY)
        + ",jobs,deployments.apps,services,serviceaccounts,networkpolicies,persistentvolumeclaims"
    )
    listed = json.loads(plane.kubectl("-n", namespace, "get", kinds, "-o", "json"))["items"]
    secrets = json.loads(plane.kubectl("-n", namespace, "get", "secrets", "-o", "json"))["items"]
    state = {f"{each['kind']}/{each['metadata']['name']}": steady(each, namespace) for each in listed}
    return state | {f"Secret/{each['metadata']['name']}": sorted(each["data"]) for each in secrets}


def steady(value: Any, namespace: str) -> Any:
    if isinstance(value, dict):
        kept = {
            key: "its own" if key in OWN else steady(each, namespace)
            for key, each in value.items()
            if key not in VOLATILE and "uid" not in key.lower()
        }
        kept.pop("clusterIP", None)
        kept.pop("clusterIPs", None)
        kept.pop("annotations", None)
        return {key: each for key, each in kept.items() if not key.endswith(("Time", "Timestamp"))}
    if isinstance(value, list):
        return [steady(each, namespace) for each in value]
    return value.replace(namespace, "NAMESPACE") if isinstance(value, str) else value


@pytest.fixture(scope="module")
def undisturbed(
    plane: ControlPlane, proxy_tls: tuple[str, ssl.SSLContext], sample: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Json, list[str]]:
    """The end state and the writes of a round in which nothing happens."""
    state, writes, _ = play(plane, proxy_tls, sample, tmp_path_factory.mktemp("undisturbed"), None)
    return state, writes


Side = Literal["before", "after"]
Round = tuple[str, int, Side]
Played = tuple[Json, list[str], bool]
SIDES: tuple[Side, Side] = ("before", "after")
CHILDREN = (
    ("POST secrets", 1),
    ("POST secrets", 2),
    ("POST secrets", 3),
    ("PATCH persistentvolumeclaims/quickstart-tracking", 1),
    ("PATCH serviceaccounts/quickstart-run", 1),
    ("PATCH services/quickstart-tracking", 1),
    ("PATCH networkpolicies/quickstart-tracking", 1),
    ("PATCH deployments/quickstart-tracking", 1),
    ("POST jobs", 1),
    ("POST models", 1),
    ("POST jobs", 2),
    ("DELETE jobs/breast-cancer-1-r1", 1),
    ("PATCH services/breast-cancer", 1),
    ("PATCH networkpolicies/breast-cancer", 1),
    ("PATCH deployments/breast-cancer", 1),
)
# How often each is written depends on what is seen together; a round whose write does not come is undisturbed.
WRITTEN = {"workspaces": 3, "experiments": 3, "trainingruns": 2, "models": 2, "modeldeployments": 3}
STATUSES = tuple((f"PATCH {kind}/{name}/status", nth) for kind, name in READY for nth in range(1, WRITTEN[kind] + 1))
ROUNDS: list[Round] = [(*write, side) for write in CHILDREN + STATUSES for side in SIDES]


@pytest.fixture(scope="module")
def played(
    plane: ControlPlane,
    proxy_tls: tuple[str, ssl.SSLContext],
    sample: str,
    undisturbed: tuple[Json, list[str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[Round, Future[Played]]]:
    """All rounds, some at a time, each in a namespace of its own."""
    folders = {each: tmp_path_factory.mktemp("round") for each in ROUNDS}
    with ThreadPoolExecutor(ROUNDS_AT_A_TIME) as pool:
        yield {each: pool.submit(play, plane, proxy_tls, sample, folders[each], each) for each in ROUNDS}
        pool.shutdown(cancel_futures=True)


def test_the_rounds_know_every_write_of_the_quickstart(undisturbed: tuple[Json, list[str]]) -> None:
    children = sorted(write for write in undisturbed[1] if not write.endswith("/status"))
    assert children == sorted(write for write, _ in CHILDREN), "each child is written once"
    assert set(undisturbed[1]) == {write for write, _ in CHILDREN + STATUSES}


@pytest.mark.parametrize("place", ROUNDS, ids=lambda place: f"{place[2]} {place[0]}, the {place[1]}.")
def test_ends_in_the_same_state(
    undisturbed: tuple[Json, list[str]], played: dict[Round, Future[Played]], place: Round
) -> None:
    state, writes, struck = played[place].result()
    write, nth, _ = place
    assert struck == (writes.count(write) >= nth), "the operator was ended if, and only if, the write came"
    assert struck or (write, nth) in STATUSES, "statuses may be joined into fewer writes, children may not"
    assert [name for name in state if name.startswith("Job/")] == ["Job/breast-cancer-1-1"]
    assert [name for name in state if name.startswith("Model/")] == ["Model/breast-cancer-1"]
    assert state == undisturbed[0]
