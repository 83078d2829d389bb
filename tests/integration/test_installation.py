"""manifests/ on a real API server: what is in use stays, who may do what, and rights that are all used."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.controlplane import CommandFailed, ControlPlane
from support.operator_process import OperatorProcess
from support.player import Player
from support.specs import MODEL, RUN, WORKSPACE, changed

Json = dict[str, Any]
REPOSITORY = Path(__file__).resolve().parents[2]
MANIFESTS = REPOSITORY / "manifests"
SAMPLE = MANIFESTS / "samples/quickstart"
OPERATOR = "system:serviceaccount:smalt-system:smalt-operator"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """An API server of its own, since the installation reaches all namespaces; the operator's pods never start."""
    with ControlPlane(tmp_path_factory.mktemp("installed"), crds=False) as plane:
        plane.kubectl("apply", "-k", str(MANIFESTS))
        plane.kubectl("wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")
        yield plane


@pytest.fixture
def namespace(installed: ControlPlane) -> str:
    name = f"in-{uuid.uuid4().hex[:8]}"
    installed.kubectl("create", "namespace", name)
    return name


def used(installed: ControlPlane, namespace: str, manifest: Json, users: list[str]) -> str:
    """The object, in use as the operator would write it down."""
    installed.kubectl("-n", namespace, "apply", "-f", "-", stdin=json.dumps(changed(manifest, {})))
    name = f"{manifest['kind'].lower()}/{manifest['metadata']['name']}"
    patch = json.dumps({"status": {"usedBy": users}})
    installed.kubectl("-n", namespace, "patch", name, "--subresource=status", "--type=merge", "-p", patch)
    return name


@pytest.mark.parametrize("manifest", [WORKSPACE, MODEL], ids=["Workspace", "Model"])
def test_what_is_in_use_is_kept_and_its_users_are_named(
    installed: ControlPlane, namespace: str, manifest: Json
) -> None:
    name = used(installed, namespace, manifest, ["churn-prod", "churn-test"])
    deadline = time.monotonic() + 20
    while True:
        # A policy takes a moment to be in force after it was applied.
        try:
            installed.kubectl("-n", namespace, "delete", name, "--dry-run=server")
        except CommandFailed as refused:
            assert "churn-prod, churn-test" in str(refused) and "kubectl delete modeldeployment" in str(refused)
            break
        assert time.monotonic() < deadline, "the policy is not in force"
        time.sleep(0.2)
    used(installed, namespace, manifest, [])
    installed.kubectl("-n", namespace, "delete", name)


def test_a_namespace_goes_with_what_is_in_use_in_it(installed: ControlPlane, namespace: str) -> None:
    used(installed, namespace, WORKSPACE, ["churn-prod"])
    installed.kubectl("delete", "namespace", namespace, "--timeout=60s")


RIGHTS = (
    ("view", "get", "models", True),
    ("view", "list", "workspaces", True),
    ("view", "create", "trainingruns", False),
    ("edit", "create", "trainingruns", True),
    ("edit", "delete", "modeldeployments", True),
    ("edit", "patch", "models", True),
    ("edit", "patch", "workspaces", False),
    ("admin", "patch", "workspaces", True),
    ("admin", "delete", "experiments", True),
)


@pytest.mark.parametrize(("role", "verb", "plural", "allowed"), RIGHTS)
def test_the_clusters_own_roles_reach_the_kinds(
    installed: ControlPlane, namespace: str, role: str, verb: str, plural: str, allowed: bool
) -> None:
    installed.kubectl("-n", namespace, "create", "rolebinding", role, f"--clusterrole={role}", f"--user={role}-user")
    deadline = time.monotonic() + 15
    while True:
        question = ["auth", "can-i", verb, f"{plural}.smalt.dev", f"--as={role}-user"]
        try:
            answer = installed.kubectl("-n", namespace, *question).strip() == "yes"
        except CommandFailed:
            answer = False
        if answer == allowed:
            return
        assert time.monotonic() < deadline, f"{role} {verb} {plural}: {answer}"
        time.sleep(0.2)


@pytest.mark.parametrize(
    "folder", [MANIFESTS, MANIFESTS / "overlays/single-namespace"], ids=["all", "single-namespace"]
)
def test_the_installation_is_taken_by_the_api_server(installed: ControlPlane, folder: Path) -> None:
    installed.kubectl("apply", "--dry-run=server", "-k", str(folder))


# Granted, and only used in moments that this test does not make; each with its reason.
RARE = {
    ("get", "batch", "jobs"): "a Job that was made but not seen yet is looked at, after a restart",
    ("get", "smalt.dev", "models"): "the same for a Model",
}


def test_every_right_is_used_and_none_is_missing(installed: ControlPlane, namespace: str, tmp_path: Path) -> None:
    """The quickstart from apply to deletion by the operator's own ServiceAccount, and what the audit log says of it."""
    settings = {"SMALT_LEASE_NAMESPACE": "smalt-system"}
    with OperatorProcess(token_kubeconfig(installed, tmp_path), tmp_path, **settings) as operator:
        operator.wait_for("leading")
        with Player(installed, namespace):
            installed.kubectl("-n", namespace, "apply", "-k", str(SAMPLE))
            wait = ["wait", "--for=condition=Ready", "--timeout=60s"]
            installed.kubectl("-n", namespace, *wait, "modeldeployment/breast-cancer")
            installed.kubectl("-n", namespace, "delete", "service", "breast-cancer")
        unplayed = changed(RUN, {"experiment": "breast-cancer"}, "unplayed")
        installed.kubectl("-n", namespace, "apply", "-f", "-", stdin=json.dumps(unplayed))
        # A Job that gets no pod is asked for its events; meanwhile the lease is renewed.
        until(lambda: ("list", "", "events") in audit(installed)[0])
        until(lambda: ("update", "coordination.k8s.io", "leases") in audit(installed)[0])
        # A Job is suspended with its run, and a run that is older than its Workspace keeps it is deleted.
        merge = ["--type=merge", "-p"]
        installed.kubectl("-n", namespace, "patch", "trainingrun", "unplayed", *merge, '{"spec": {"suspend": true}}')
        until(lambda: ("patch", "batch", "jobs") in audit(installed)[0])
        kept = '{"spec": {"retention": {"finishedRuns": "1s"}}}'
        installed.kubectl("-n", namespace, "patch", "workspace", "quickstart", *merge, kept)
        until(lambda: ("delete", "smalt.dev", "trainingruns") in audit(installed)[0])
        installed.kubectl("-n", namespace, "delete", "modeldeployment", "breast-cancer")
        unused = ["wait", "--for=condition=InUse=False", "--timeout=30s", "workspace/quickstart"]
        installed.kubectl("-n", namespace, *unused)
        installed.kubectl("-n", namespace, "delete", "-k", str(SAMPLE), "--wait=false", "--ignore-not-found")
    done, refused = audit(installed)
    assert refused == []
    granted = grants()
    assert done - granted == set(), "used without being granted by these rules"
    assert granted - done == set(RARE), "granted, and not used"


def test_an_installation_for_one_namespace_does_its_work_there_with_no_right_beyond_it(tmp_path: Path) -> None:
    """The overlay's own Role, on an API server where nothing of the cluster-wide installation is."""
    with ControlPlane(tmp_path / "one") as plane:
        plane.kubectl("create", "namespace", "team")
        plane.kubectl("-n", "team", "apply", "-k", str(MANIFESTS / "overlays/single-namespace"))
        deployed = json.loads(plane.kubectl("-n", "team", "get", "deployment", "smalt-operator", "-o", "json"))
        named = {each["name"] for each in deployed["spec"]["template"]["spec"]["containers"][0]["env"]}
        assert {"SMALT_NAMESPACE", "SMALT_LEASE_NAMESPACE"} <= named
        settings = {"SMALT_NAMESPACE": "team", "SMALT_LEASE_NAMESPACE": "team"}
        with OperatorProcess(token_kubeconfig(plane, tmp_path, "team"), tmp_path, **settings) as operator:
            operator.wait_for("leading")
            with Player(plane, "team"):
                plane.kubectl("-n", "team", "apply", "-k", str(SAMPLE))
                wait = ["wait", "--for=condition=Ready", "--timeout=60s"]
                plane.kubectl("-n", "team", *wait, "modeldeployment/breast-cancer")
        done, refused = audit(plane, "system:serviceaccount:team:smalt-operator")
        assert refused == [] and ("create", "batch", "jobs") in done


def until(holds: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.3)


def token_kubeconfig(plane: ControlPlane, folder: Path, namespace: str = "smalt-system") -> Path:
    token = plane.kubectl("-n", namespace, "create", "token", "smalt-operator").strip()
    config = json.loads(plane.kubeconfig.read_text())
    config["users"] = [{"name": "smalt", "user": {"token": token}}]
    path = folder / "token.kubeconfig"
    path.write_text(json.dumps(config))
    return path


def audit(plane: ControlPlane, user: str = OPERATOR) -> tuple[set[tuple[str, str, str]], list[str]]:
    """What the operator did, as (verb, group, resource), and what it was refused."""
    done, refused = set(), []
    for line in plane.audit_log.read_text().splitlines():
        event = json.loads(line)
        at = event.get("objectRef")
        if event["user"]["username"] != user or not at:
            continue
        code = event.get("responseStatus", {}).get("code")
        if code == 403:
            refused.append(f"{event['verb']} {event['requestURI']}")
        resource = at["resource"] + (f"/{at['subresource']}" if at.get("subresource") else "")
        done.add((event["verb"], at.get("apiGroup", ""), resource))
        if event["verb"] == "patch" and code == 201:
            # Server-side apply that makes an object needs the right to create it.
            done.add(("create", at.get("apiGroup", ""), resource))
    return done, refused


def grants() -> set[tuple[str, str, str]]:
    found = set()
    for file in (MANIFESTS / "base/cluster-role.yaml", MANIFESTS / "operator/lease-role.yaml"):
        for document in yaml.safe_load_all(file.read_text()):
            for rule in document.get("rules", []):
                for group in rule["apiGroups"]:
                    found |= {(verb, group, resource) for verb in rule["verbs"] for resource in rule["resources"]}
    return found
