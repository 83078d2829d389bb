"""MLflow's own registry: each version stands there too, with the registry's copy as its source, for whoever uses mlflow."""

from __future__ import annotations

from typing import Any, Mapping

from smalt_trainer.refusals import Refused
from smalt_trainer.registration.contract import Contract
from smalt_trainer.registration.store import UID, RegistryRun, patiently
from smalt_trainer.tracking import Tracking

_ALIASES = {"Production": "production", "Staging": "staging"}
_LONGEST_TAG = 5000


def registered(tracking: Tracking, contract: Contract, run: RegistryRun, digest: str) -> str:
    """MLflow's number of the version, made when there is none of this Model's UID."""
    return patiently(lambda: _registered(tracking, contract, run, digest), run.patience)


def _registered(tracking: Tracking, contract: Contract, run: RegistryRun, digest: str) -> str:
    _named(tracking, contract)
    number = _found(tracking, contract) or _created(tracking, contract, run, digest)
    alias = _ALIASES.get(contract.model.stage or "")
    if alias:
        tracking.call(
            "POST", "registered-models/alias", {"name": contract.model.name, "alias": alias, "version": number}
        )
    return number


def _named(tracking: Tracking, contract: Contract) -> None:
    """The model, whoever makes it first."""
    try:
        tracking.call("POST", "registered-models/create", {"name": contract.model.name})
    except Refused as error:
        if error.code != "RESOURCE_ALREADY_EXISTS":
            raise


def _found(tracking: Tracking, contract: Contract) -> str:
    """The version that an earlier try has made; its tag was set with it."""
    filter_ = f"name = '{contract.model.name}' and tags.`{UID}` = '{contract.model.uid}'"
    found = tracking.call("GET", "model-versions/search", filter=filter_, max_results="10").get("model_versions") or []
    return str(min(int(each["version"]) for each in found)) if found else ""


def _created(tracking: Tracking, contract: Contract, run: RegistryRun, digest: str) -> str:
    model = contract.model
    body: dict[str, Any] = {
        "name": model.name,
        "source": run.uri("model"),
        # MLflow wants the run that the source lies in; the training run is told by a tag.
        "run_id": run.run,
        "description": f"Model {model.object} of namespace {model.namespace}",
        "tags": [{"key": key, "value": value[:_LONGEST_TAG]} for key, value in _tags(contract, digest).items()],
    }
    return str(tracking.call("POST", "model-versions/create", body)["model_version"]["version"])


def _tags(contract: Contract, digest: str) -> Mapping[str, str]:
    model = contract.model
    own = {f"tag.{name}": value for name, value in model.tags.items()}
    trained = {"smalt.run": contract.run.name, "smalt.run.id": contract.run.tracking_run} if contract.run else {}
    return {
        **own,
        **trained,
        UID: model.uid,
        "smalt.model": model.object,
        "smalt.version": str(model.version),
        "smalt.digest": digest,
        "smalt.namespace": model.namespace,
    }
