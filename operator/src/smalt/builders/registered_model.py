"""The Model that a successful run registers. It has no owner: it stays when the run is retired."""

from __future__ import annotations

from smalt.api.kinds import MANAGED_BY, MANAGER, MODEL, TRAINING_RUN
from smalt.api.references import Address
from smalt.api.schema import Json
from smalt.api.training_run import Register

UID_LABEL = "smalt.dev/run-uid"


def uid_selector(uid: str) -> str:
    """Finds the Model of a run, so that a run that was interrupted does not register twice."""
    return f"{UID_LABEL}={uid}"


def registered_model(run: Address, uid: str, workspace: str, register: Register, version: int, digest: str) -> Json:
    """Version `version` of the model that the run's `register` names."""
    labels = {
        MANAGED_BY: MANAGER,
        MODEL.label: register.model,
        TRAINING_RUN.label: run.name,
        UID_LABEL: uid,
    }
    spec: Json = {
        "name": register.model,
        "version": version,
        "workspace": workspace,
        "source": {"run": run.name, "output": register.from_, "digest": digest},
        "type": "customModel",
        "stage": register.stage or "None",
        **({"gates": _gates(register)} if register.gates else {}),
    }
    return {
        "apiVersion": MODEL.api_version,
        "kind": MODEL.kind,
        "metadata": {"name": f"{register.model}-{version}", "namespace": run.namespace, "labels": labels},
        "spec": spec,
    }


def _gates(register: Register) -> list[Json]:
    return [each.model_dump(by_alias=True, exclude_none=True) for each in register.gates or ()]
