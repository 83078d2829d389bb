"""What the container `fetch` knows of what it brought, handed on to the script's container in a file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Dict, Mapping

from smalt_trainer.addresses import shown
from smalt_trainer.contract import Contract
from smalt_trainer.failures import RunFailed
from smalt_trainer.places import Places


@dataclass
class Facts:
    """Filled in as things are fetched."""

    # `commit` of a repository.
    code: Dict[str, str] = field(default_factory=dict)
    # By the input's name.
    inputs: Dict[str, Dict[str, Any]] = field(default_factory=dict)


def write_facts(places: Places, facts: Facts) -> None:
    """The last thing that is written."""
    places.fetched_facts.write_text(json.dumps(asdict(facts)), encoding="utf-8")


def read_facts(places: Places) -> Facts:
    """What was written; there must be something, or the operator has made a pod that lacks a part."""
    try:
        return Facts(**json.loads(places.fetched_facts.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise RunFailed(
            "InternalError",
            f"what was fetched for the run is not there ({type(error).__name__}: {error}); "
            "check that the operator and the image that installs the tools are of one version",
        ) from error


def code_tags(contract: Contract, code: Mapping[str, str]) -> Dict[str, str]:
    """Where the code came from, as MLflow's page shows it."""
    if contract.code_git is not None:
        return {"mlflow.source.git.repoURL": contract.code_git.url, "mlflow.source.git.commit": code.get("commit", "")}
    if contract.code_archive is not None:
        return {"smalt.code.url": shown(contract.code_archive.url), "smalt.code.digest": code.get("archiveDigest", "")}
    return {}
