"""The scoring contract and the artifact's digest stand on two sides, and are the same."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

import smalt_scorer.digests as scorer
import smalt_trainer.digests as trainer
from smalt.api.deployment import DeploymentSpec
from smalt.api.kinds import DEPLOYMENT, WORKSPACE
from smalt.api.references import Address
from smalt.api.workspace import InstanceType, WorkspaceSpec
from smalt.builders.scoring_contract import Scoring, contract
from smalt_scorer.contract import parse
from support.resources import DIGEST, NAMESPACE, deployment, model


def test_every_field_of_the_contract_arrives() -> None:
    stored = model()
    stored["spec"]["format"] = "joblib"
    it = deployment(
        codeConfiguration={"code": {"inline": {"score.py": "text"}}, "scoringScript": "score.py"},
        environmentVariables={"MODE": "x"},
        batching="Off",
        requestSettings={
            "requestTimeout": "1500ms",
            "maxConcurrentRequestsPerInstance": 3,
            "maxQueueWait": "2s",
            "maxBodyBytes": 7,
        },
    )
    made = contract(
        Scoring(
            deployment=Address(DEPLOYMENT, NAMESPACE, "prod"),
            spec=DeploymentSpec.model_validate(it["spec"]),
            model=stored,
            workspace=Address(WORKSPACE, NAMESPACE, "lab"),
            workspace_spec=WorkspaceSpec(),
            instance=InstanceType(),
            code_digest="",
            scorer_image="smalt/scorer",
            trainer_image="smalt/trainer",
            pull_policy="IfNotPresent",
        )
    )
    read = parse(made)
    assert (read.model.name, read.model.version, read.model.object_name) == ("churn", 1, "churn-1")
    assert (read.model.digest, read.model.output, read.model.format) == (DIGEST, "model", "joblib")
    assert read.code is not None and read.code.inline == {"score.py": "text"}
    assert (read.scoring_script, read.needs_key, read.environment_variables) == ("score.py", True, {"MODE": "x"})
    assert not read.is_joining
    requests = read.requests
    assert (requests.timeout_seconds, requests.max_concurrent) == (1.5, 3)
    assert (requests.max_queue_wait_seconds, requests.max_body_bytes) == (2.0, 7)


FILE_NAMES = st.text(
    st.characters(whitelist_categories=["Ll", "Lu", "Nd"], whitelist_characters="-_. "), min_size=1, max_size=12
)
FOLDERS = st.dictionaries(
    FILE_NAMES.filter(lambda name: not name.startswith(".")), st.binary(max_size=50), min_size=1, max_size=5
)


@settings(max_examples=40, deadline=None)
@given(files=FOLDERS, below=st.booleans())
def test_both_sides_take_the_same_digest_of_the_same_folder(files: dict[str, bytes], below: bool) -> None:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        for name, content in files.items():
            path = folder / "sub" / name if below else folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        assert scorer.manifest_text(scorer.manifest(folder)) == trainer.manifest_text(trainer.manifest(folder))
        digest = scorer.manifest_digest(scorer.manifest(folder))
        assert digest == trainer.manifest_digest(trainer.manifest(folder))
        assert scorer.text_digest(trainer.manifest_text(trainer.manifest(folder))) == digest
