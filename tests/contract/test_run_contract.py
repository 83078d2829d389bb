"""The run's contract stands in the operator and in the trainer: what one writes, the other reads."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

from smalt.api.kinds import TRAINING_RUN, WORKSPACE
from smalt.api.references import Address, address
from smalt.api.training_run import TrainingRunSpec
from smalt.api.workspace import InstanceType, WorkspaceSpec
from smalt.builders import preparing
from smalt.builders.training_job import Attempt, contract, training_job
from smalt.reconcilers import run_results
from smalt_trainer import contract as trainer
from smalt_trainer import page
from smalt_trainer.failures import REASONS
from smalt_trainer.fetching import CODE
from smalt_trainer.places import Places
from support.resources import DIGEST, NAMESPACE, run

SPEC = {
    "inputs": {
        "rows": {"type": "uriFile", "path": "configmap://rows/rows.csv", "digest": DIGEST},
        "web": {"type": "uriFile", "path": "https://data.example/a.csv"},
    },
    "parameters": {"C": 0.5, "flag": True},
    "outputs": {"model": {"type": "customModel"}},
    "environmentVariables": {"MODE": "x"},
    "environment": {"conda": "dependencies:\n- python=3.11\n", "image": "registry.example/train:1"},
    "limits": {"timeout": "90s", "finalizing": "1h"},
}


def attempt(it: dict[str, Any]) -> Attempt:
    return Attempt(
        run=address(TRAINING_RUN, it),
        uid="uid",
        number=2,
        spec=TrainingRunSpec.model_validate(it["spec"]),
        workspace=Address(WORKSPACE, NAMESPACE, "lab"),
        workspace_spec=WorkspaceSpec(),
        instance=InstanceType(),
        trainer_image="smalt/trainer",
        pull_policy="IfNotPresent",
    )


def test_every_field_of_the_contract_arrives(tmp_path: Path) -> None:
    written = tmp_path / "run.json"
    written.write_text(json.dumps(contract(attempt(run(**SPEC)))))
    read = trainer.read_contract(written)
    assert (read.namespace, read.name, read.uid, read.attempt) == (NAMESPACE, "first", "uid", 2)
    assert (read.timeout, read.finalizing) == (90, 3600)
    assert read.environment == {"conda": "dependencies:\n- python=3.11\n"}
    assert read.image == "registry.example/train:1"
    assert read.parameters == {"C": 0.5, "flag": True}
    assert read.variables == {"MODE": "x"}
    assert {name: each.kind for name, each in read.inputs.items()} == {"rows": "uriFile", "web": "uriFile"}
    assert set(read.outputs) == {"model"}
    assert read.command == "python train.py"


def test_the_operator_reads_what_the_trainer_leaves() -> None:
    spec = TrainingRunSpec.model_validate(run(**SPEC)["spec"])
    artifact = {"uri": "mlflow-artifacts:/1/a/artifacts/outputs/model", "digest": DIGEST, "bytes": 1, "files": 1}
    report = {
        "metrics": {"auc": 0.9},
        "digests": {
            "code": DIGEST,
            "data": {"rows": DIGEST, "web": DIGEST},
            "environment": DIGEST,
            "parameters": DIGEST,
        },
        "outputs": {"model": artifact},
        "tracking": {"runId": "a", "experimentId": "1"},
    }
    facts = run_results.facts(report, None, spec)
    assert facts["outputs"] == {"model": artifact}
    assert facts["digests"]["data"] == {"rows": DIGEST, "web": DIGEST}
    assert facts["digests"]["run"].startswith("sha256:")


def pod() -> dict[str, Any]:
    found: dict[str, Any] = training_job(attempt(run(**SPEC)))["spec"]["template"]["spec"]
    return found


def container(of: dict[str, Any], name: str) -> dict[str, Any]:
    return next(each for each in of["containers"] if each["name"] == name)


def places_of(of: dict[str, Any], name: str) -> dict[str, bool]:
    """Whether each path that the container has is read-only."""
    volumes = {each["name"]: each for each in of["volumes"]}
    found = {}
    for at in container(of, name)["volumeMounts"]:
        volume = volumes[at["name"]]
        items = (volume.get("downwardAPI") or volume.get("secret") or {}).get("items") or [{"path": ""}]
        found.update({f"{at['mountPath']}/{item['path']}".rstrip("/"): at.get("readOnly", False) for item in items})
    return found


def test_the_pod_has_everything_where_the_trainer_looks_for_it() -> None:
    it, places = pod(), Places()
    found, training = places_of(it, "training"), container(it, "training")
    assert found[str(places.contract)]
    writable = (places.work, places.environment, places.home, places.exchange)
    assert not any(found[str(place)] for place in writable)
    # Where `install` puts the program that is started, and nothing between it and the PYTHONPATH of the image.
    assert training["command"] == ["python3", "-s", "-u", it["initContainers"][0]["args"][1], "run"]
    assert "PYTHONPATH" not in {each["name"] for each in training["env"]}


def test_only_the_container_that_fetches_sees_a_secret_of_the_users_and_the_script_only_reads_what_it_brought() -> None:
    git = {"url": "https://git.example/a.git", "credentialsSecret": "my-git"}
    pod = training_job(attempt(run(**SPEC | {"code": {"git": git}})))["spec"]["template"]["spec"]
    volumes = {each["name"]: each for each in pod["volumes"]}
    [secret] = [name for name, each in volumes.items() if (each.get("secret") or {}).get("secretName") == "my-git"]
    # A Secret that is not there must keep the pod from starting, and the kubelet says so.
    assert "optional" not in volumes[secret]["secret"]
    [tools, fetch, environment], [training, _] = pod["initContainers"], pod["containers"]
    everybody = (tools, fetch, environment, training)
    mounted = {each["name"]: {at["name"]: at for at in each["volumeMounts"]} for each in everybody}
    assert [name for name, mounts in mounted.items() if secret in mounts] == ["fetch"]
    places = Places()
    assert mounted["fetch"][secret]["mountPath"] == str(places.credentials / CODE)
    assert mounted["fetch"]["fetched"] == {"name": "fetched", "mountPath": str(places.fetched)}
    for reader in ("training", "environment"):
        assert mounted[reader]["fetched"] == {"name": "fetched", "mountPath": str(places.fetched), "readOnly": True}
    assert mounted["fetch"]["run"]["mountPath"] == str(places.contract.parent)
    assert fetch["image"] == "smalt/trainer" and fetch["args"] == ["fetch", "--announce", str(preparing.STATUS_PORT)]
    assert "my-git" not in json.dumps([fetch, training])


EVERYWHERE: dict[str, Any] = {
    "A_web": {"type": "uriFile", "path": "https://data.example/a.csv", "credentialsSecret": "web-login"},
    "B_bucket": {"type": "uriFolder", "path": "s3://bucket/it", "credentialsSecret": "s3-login"},
    "C_claim": {"type": "uriFolder", "path": "pvc://data/a.tar.gz", "unpack": True},
    "D_map": {"type": "uriFile", "path": "configmap://rows/rows.csv"},
    "E_run": {"type": "uriFolder", "path": "run://prep/clean"},
    "F_model": {"type": "uriFolder", "path": "model://churn/3", "digest": DIGEST},
    "G_pushed": {"type": "uriFile", "path": f"workspace://uploads/{'ab' * 32}/my data.csv"},
}
ARTIFACTS = {
    "E_run": {"uri": "mlflow-artifacts:/1/a/artifacts/outputs/clean", "digest": DIGEST, "bytes": 1, "files": 1},
    "F_model": {"uri": "mlflow-artifacts:/1/b/artifacts/outputs/model", "digest": DIGEST, "bytes": 1, "files": 1},
}


def everywhere() -> Attempt:
    return dataclasses.replace(attempt(run(**SPEC | {"inputs": EVERYWHERE})), artifacts=ARTIFACTS)


def test_every_place_an_input_can_be_in_arrives_at_whoever_brings_it(tmp_path: Path) -> None:
    written = tmp_path / "run.json"
    written.write_text(json.dumps(contract(everywhere())))
    read = trainer.read_contract(written).inputs
    assert [name for name, each in read.items() if not each.is_fetched] == ["D_map"]
    assert (read["A_web"].url, read["B_bucket"].url) == ("https://data.example/a.csv", "s3://bucket/it")
    assert (read["C_claim"].mount, read["C_claim"].unpack) == ("/smalt/mounts/C_claim/a.tar.gz", True)
    stored = {name: each.artifact for name, each in read.items() if each.artifact}
    assert stored == {
        "E_run": trainer.Artifact("1/a/artifacts/outputs/clean", DIGEST),
        "F_model": trainer.Artifact("1/b/artifacts/outputs/model", DIGEST),
        "G_pushed": trainer.Artifact(f"uploads/{'ab' * 32}/my data.csv", DIGEST),
    }
    assert (read["F_model"].digest, read["E_run"].digest) == (DIGEST, None)
    assert {name: each.path for name, each in read.items()} == {name: each["path"] for name, each in EVERYWHERE.items()}


def test_what_brings_inputs_has_their_secrets_archives_and_the_stores_password_and_the_script_has_none_of_them() -> (
    None
):
    it, places = training_job(everywhere())["spec"]["template"]["spec"], Places()
    [fetch] = [each for each in it["initContainers"] if each["name"] == "fetch"]
    [training] = [each for each in it["containers"] if each["name"] == "training"]
    seen, by_script = ({at["mountPath"]: at["name"] for at in each["volumeMounts"]} for each in (fetch, training))
    volumes = {each["name"]: each for each in it["volumes"]}
    secrets = {
        path.removeprefix(f"{places.credentials}/"): volumes[name]["secret"]["secretName"]
        for path, name in seen.items()
        if path.startswith(str(places.credentials))
    }
    read = trainer.parse_contract(contract(everywhere())).inputs
    assert secrets == {each.credentials: each.secret for each in read.values() if each.credentials}
    assert set(secrets.values()) == {"web-login", "s3-login"}
    assert str(places.password.parent) in seen and "/smalt/mounts/C_claim" in seen
    assert {"MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME"} <= {each["name"] for each in fetch["env"]}
    assert "/smalt/mounts/D_map" in by_script and "/smalt/mounts/D_map" not in seen
    assert not [path for path in by_script if path.startswith((str(places.credentials), "/smalt/mounts/C_claim"))]
    assert str(places.password.parent) not in by_script


def test_the_password_of_the_store_is_given_only_to_what_reads_the_store() -> None:
    it = training_job(attempt(run(**SPEC)))["spec"]["template"]["spec"]
    [fetch] = [each for each in it["initContainers"] if each["name"] == "fetch"]
    assert "tracking" not in {at["name"] for at in fetch["volumeMounts"]}


def test_code_that_was_pushed_is_read_from_the_store_by_its_digest() -> None:
    address = f"workspace://uploads/{'ab' * 32}/src"
    given = attempt(run(**SPEC | {"code": {"url": address, "path": "train"}, "inputs": {}}))
    read = trainer.parse_contract(contract(given)).code_archive
    assert read is not None
    assert (read.url, read.path) == (address, "train")
    assert read.artifact == trainer.Artifact(f"uploads/{'ab' * 32}/src", DIGEST)
    it = training_job(given)["spec"]["template"]["spec"]
    [fetch] = [each for each in it["initContainers"] if each["name"] == "fetch"]
    assert "tracking" in {at["name"] for at in fetch["volumeMounts"]}


def test_a_run_that_has_everything_mounted_has_no_container_to_fetch_it() -> None:
    spec = SPEC | {"inputs": {"rows": {"type": "uriFile", "path": "configmap://rows/rows.csv"}}}
    pod = training_job(attempt(run(**spec)))["spec"]["template"]["spec"]
    assert [each["name"] for each in pod["initContainers"]] == ["tools", "environment"]
    assert "fetched" not in {each["name"] for each in pod["volumes"]}


def test_the_container_before_the_script_makes_the_environment_where_the_wrapper_finds_it() -> None:
    it, places = pod(), Places()
    [made] = [each for each in it["initContainers"] if each["name"] == "environment"]
    mounted = {at["mountPath"]: at for at in made["volumeMounts"]}
    options = dict(itertools.pairwise(made["command"]))
    assert made["image"] == container(it, "training")["image"]
    assert (options["--from"], options["--into"]) == (str(places.contract), str(places.environment))
    assert not mounted[str(places.environment)].get("readOnly")
    assert not {str(places.work), str(places.exchange), str(places.password.parent)} & mounted.keys()


def test_the_recorder_has_what_it_looks_for_and_only_reads_what_the_script_writes() -> None:
    it, places = pod(), Places()
    found, recorder = places_of(it, "recorder"), container(it, "recorder")
    read_only = (places.contract, places.password, places.work)
    assert all(found[str(place)] for place in read_only) and not found[str(places.exchange)]
    assert [(each["name"], each["containerPort"]) for each in recorder["ports"]] == [("metrics", page.PORT)]
    assert recorder["args"] == ["record"] and recorder["image"] == "smalt/trainer"
    assert {each["name"] for each in recorder["env"]} == {"MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME"}


def test_the_password_of_the_tracking_server_is_nowhere_in_the_users_container() -> None:
    it = pod()
    secrets = {each["name"] for each in it["volumes"] if "secret" in each}
    training = container(it, "training")
    assert secrets == {"tracking"} and not secrets & {each["name"] for each in training["volumeMounts"]}
    assert not any("valueFrom" in each or each["name"].startswith("MLFLOW") for each in training["env"])


def test_the_logs_of_a_run_are_those_of_its_script_when_none_is_named() -> None:
    annotations = training_job(attempt(run(**SPEC)))["spec"]["template"]["metadata"]["annotations"]
    assert annotations["kubectl.kubernetes.io/default-container"] == "training"


def test_every_reason_of_the_trainer_is_a_condition_reason() -> None:
    assert all(reason.isalpha() and reason[0].isupper() for reason in REASONS)


def test_a_model_that_the_script_is_to_log_is_known_to_the_recorder_and_taken_from_it() -> None:
    it = run(**SPEC | {"outputs": {}, "register": {"model": "churn", "from": "classifier"}})
    assert trainer.parse_contract(contract(attempt(it))).logged_model == "classifier"
    artifact = {"uri": "mlflow-artifacts:/1/models/m-1/artifacts", "digest": DIGEST, "bytes": 1, "files": 1}
    report = {"outputs": {"classifier": artifact, "other": artifact}}
    facts = run_results.facts(report, None, TrainingRunSpec.model_validate(it["spec"]))
    assert facts["outputs"] == {"classifier": artifact}
    of_an_output = run(**SPEC | {"register": {"model": "churn", "from": "model"}})
    assert trainer.parse_contract(contract(attempt(of_an_output))).logged_model is None
