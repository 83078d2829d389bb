"""Environments built to images on the real cluster: by its own Docker Engine behind TLS, into a real registry."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.engine import Engine
from cluster.network import NODE_IP
from cluster.paths import state
from demo.kubectl import Kubectl
from e2e.cluster_namespace import Namespace, condition
from e2e.test_any_image import plain_python_image
from e2e.test_bad_runs import experiment, run, workspace
from e2e.test_deployment_environments import answer, trained, using
from e2e.test_environments import LOGIN, SCRIPT, private_index
from support.certificates import Certificates
from support.engine_gate import EngineGate
from support.registry import Registry

Json = dict[str, Any]
pytestmark = [
    pytest.mark.skipif(
        (os.environ.get("CLUSTER") or "local") != "local",
        reason="the engine is the local cluster's, and so is the registry",
    ),
    pytest.mark.timeout(900),  # several builds and runs one after the other
]
REPOSITORY = "team/smalt-environments"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates.made(tmp_path_factory.mktemp("engine"), NODE_IP)


@pytest.fixture(scope="module")
def gate(certificates: Certificates) -> Iterator[EngineGate]:
    with EngineGate(NODE_IP, Engine(state()).socket, certificates) as made:
        yield made


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    with Registry() as made:
        yield made


@pytest.fixture
def allowed(smalt: Kubectl, gate: EngineGate) -> Iterator[None]:
    """The administrator allows this engine, for the length of a test."""
    smalt("set", "env", "deployment/smalt-operator", f"SMALT_DOCKER_HOSTS={gate.host}")
    smalt("rollout", "status", "deployment/smalt-operator", "--timeout=180s")
    yield
    smalt("set", "env", "deployment/smalt-operator", "SMALT_DOCKER_HOSTS-")
    smalt("rollout", "status", "deployment/smalt-operator", "--timeout=180s")


def secrets(certificates: Certificates, registry: Registry) -> list[Json]:
    tls = {"ca.crt": certificates.authority, "tls.crt": certificates.certificate, "tls.key": certificates.key}
    return [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "docker-client"},
            "stringData": {name: Path(file).read_text() for name, file in tls.items()},
        },
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "registry-push"},
            "type": "kubernetes.io/dockerconfigjson",
            "stringData": {".dockerconfigjson": registry.docker_config()},
        },
    ]


def images(gate: EngineGate, registry: Registry) -> Json:
    return {
        "registry": f"{registry.host}/team",
        "dockerHost": f"tcp://{gate.host}",
        "pushSecret": "registry-push",
        "tlsSecret": "docker-client",
    }


def packaged(name: str, packages: list[str], **more: Any) -> Json:
    environment = {"image": plain_python_image(), "pip": packages}
    variables = {"PART": LOGIN[1].partition("-")[0]}
    return run(name, SCRIPT, environment=environment, environmentVariables=variables, **more)


def builders(namespace: Namespace) -> list[str]:
    found = namespace.get("jobs", "-l", "app.kubernetes.io/component=environment")["items"]
    return [each["metadata"]["name"] for each in found]


def test_an_environment_is_built_pushed_run_and_found_again(
    namespace: Namespace, certificates: Certificates, gate: EngineGate, registry: Registry, allowed: None
) -> None:
    packages = private_index(namespace)
    spec = {"packages": packages, "images": images(gate, registry)}
    namespace.apply(*secrets(certificates, registry), workspace(**spec), experiment())
    namespace.apply(packaged("first", ["tiny-thing"]), packaged("beside-it", ["tiny-thing"]))
    first = namespace.ready("trainingrun", "first", 300)["status"]
    second = namespace.ready("trainingrun", "beside-it", 300)["status"]
    assert first["metrics"] == second["metrics"] == {"answer": 42}
    assert len(builders(namespace)) == 1, "one Job for both"
    [tag] = registry.tags(REPOSITORY)
    assert first["environment"]["image"].startswith(f"{registry.host}/{REPOSITORY}@sha256:")
    assert first["digests"]["run"] == second["digests"]["run"]
    assert first["digests"]["environment"] == second["digests"]["environment"]
    pod = namespace.get("pods", "-l", "smalt.dev/run=first")["items"][0]
    assert [each["name"] for each in pod["spec"]["initContainers"]] == ["tools"]

    # A build that has never heard of the first one: another Job, the same lock, no new image.
    namespace("delete", "jobs", *builders(namespace))
    namespace.apply(packaged("later", ["tiny-thing"]))
    later = namespace.ready("trainingrun", "later", 300)["status"]
    assert later["environment"]["image"] == first["environment"]["image"]
    assert registry.tags(REPOSITORY) == [tag]
    assert "is there already, with this very lock" in namespace("logs", f"job/{builders(namespace)[0]}", "-c", "image")

    everything = namespace("get", "trainingruns,jobs,pods,events", "-o", "json")
    everything += namespace("logs", f"job/{builders(namespace)[0]}", "--all-containers")
    assert LOGIN[1] not in everything and "secret-of-the-registry" not in everything
    assert "PRIVATE KEY" not in json.dumps(later)


def test_a_deployment_is_served_from_an_image_with_its_packages(
    namespace: Namespace, certificates: Certificates, gate: EngineGate, registry: Registry, allowed: None
) -> None:
    spec = {"packages": private_index(namespace), "images": images(gate, registry)}
    namespace.apply(*secrets(certificates, registry), workspace(**spec), experiment(), trained("packaged"))
    namespace.ready("model", "packaged-1", 300)
    namespace.apply(using(environment={"pip": ["tiny-thing"]}))
    served = namespace.ready("modeldeployment", "prod", 300)["status"]
    assert answer(namespace) == 42
    assert served["environment"]["image"].startswith(f"{registry.host}/{REPOSITORY}@sha256:")
    pod = namespace.get("pods", "-l", "smalt.dev/deployment=prod")["items"][0]["spec"]
    assert [each["name"] for each in pod["initContainers"]] == ["model"]
    assert pod["containers"][0]["image"] == served["environment"]["image"]


def test_packages_that_cannot_be_had_end_the_build_and_the_run_with_the_cause(
    namespace: Namespace, certificates: Certificates, gate: EngineGate, registry: Registry, allowed: None
) -> None:
    spec = {"packages": private_index(namespace), "images": images(gate, registry)}
    namespace.apply(*secrets(certificates, registry), workspace(**spec), experiment())
    namespace.apply(packaged("absent", ["absent-thing"]))
    found = namespace.stalled("trainingrun", "absent", 300)
    assert condition(found, "Stalled")["reason"] == "PackageNotFound"
    assert "absent-thing" in condition(found, "Stalled")["message"]
    assert found["status"]["phase"] == "Failed"


def test_an_engine_that_nobody_has_allowed_is_named(
    namespace: Namespace, certificates: Certificates, gate: EngineGate, registry: Registry
) -> None:
    namespace.apply(*secrets(certificates, registry), workspace(images=images(gate, registry)), experiment())
    namespace.apply(packaged("refused", ["tiny-thing"]))
    found = namespace.until(
        "trainingrun", "refused", lambda it: condition(it, "Ready").get("reason") == "EngineNotAllowed", 120
    )
    assert gate.host in condition(found, "Ready")["message"]
    assert builders(namespace) == []
