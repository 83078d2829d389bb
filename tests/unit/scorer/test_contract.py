"""scoring.json, as the operator writes it, and what is said of one that is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from smalt_scorer import contract as contracts
from smalt_scorer.contract import ContractError, RequestSettings

WHOLE: dict[str, Any] = {
    "version": 1,
    "deployment": {"namespace": "team-a", "name": "churn-prod"},
    "model": {
        "name": "churn",
        "version": 3,
        "object": "churn-3",
        "uri": "mlflow-artifacts:/1/abc/artifacts/outputs/model",
        "digest": "sha256:00",
    },
    "output": "model",
    "code": {"inline": {"score.py": "def run(raw_data): return raw_data"}},
    "scoringScript": "score.py",
    "environment": None,
    "environmentVariables": {"LEVEL": "debug"},
    "authMode": "key",
    "requestSettings": {
        "requestTimeoutSeconds": 5,
        "maxConcurrentRequests": 64,
        "maxQueueWaitSeconds": 0.5,
        "maxBodyBytes": 10485760,
    },
}


def changed(place: str, value: Any) -> dict[str, Any]:
    """The whole contract with one field replaced, named as in `model.version`."""
    copy: dict[str, Any] = json.loads(json.dumps(WHOLE))
    *sections, last = place.split(".")
    section = copy
    for name in sections:
        section = section[name]
    section[last] = value
    return copy


def test_the_model_directory_and_the_artifact_lie_where_azures_scripts_look() -> None:
    model = contracts.parse(WHOLE).model
    assert model.folder(Path("/smalt/model")) == Path("/smalt/model/azureml-models/churn/3")
    assert model.artifact(Path("/smalt/model")) == Path("/smalt/model/azureml-models/churn/3/model")


def test_what_the_operator_leaves_out_is_nothing() -> None:
    found = contracts.parse(WHOLE | {"code": None, "scoringScript": None, "authMode": "none"})
    assert (found.code, found.scoring_script, found.needs_key, found.model.format) == (None, None, False, None)
    assert found.is_direct and not contracts.parse(WHOLE).is_direct
    assert found.requests == RequestSettings(5.0, 64, 0.5, 10485760)


def test_code_is_inline_or_a_folder() -> None:
    assert contracts.parse(WHOLE).code == contracts.Code({"score.py": "def run(raw_data): return raw_data"})
    mounted = contracts.parse(changed("code", {"folder": "/smalt/code"})).code
    assert mounted == contracts.Code(folder=Path("/smalt/code"))


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        ("version", 2, "version 2, and this scorer reads version 1"),
        ("version", "1", "version of scoring.json must be int, and is '1'"),
        ("model.version", True, "model.version of scoring.json must be int, and is True"),
        ("model.digest", None, "model.digest of scoring.json must be str, and is None"),
        ("model", [], "model of scoring.json is no object but []"),
        ("output", 1, "output of scoring.json must be str, and is 1"),
        ("code", "score.py", "code of scoring.json is no object but 'score.py'"),
        ("code", {"inline": {"score.py": 1}}, "code.inline.score.py of scoring.json must be str, and is 1"),
        ("environmentVariables", {"N": 1}, "environmentVariables.N of scoring.json must be str, and is 1"),
        ("batching", "off", "batching of scoring.json is 'off', and must be Auto or Off"),
        ("authMode", "token", "authMode of scoring.json is 'token', and must be key or none"),
        ("requestSettings.maxBodyBytes", "1Mi", "requestSettings.maxBodyBytes of scoring.json must be int"),
        ("requestSettings.maxQueueWaitSeconds", None, "maxQueueWaitSeconds of scoring.json must be int or float"),
    ],
)
def test_a_wrong_field_is_named_with_its_value(place: str, value: Any, told: str) -> None:
    with pytest.raises(ContractError, match="of the same release") as caught:
        contracts.parse(changed(place, value))
    assert told in str(caught.value)
    assert caught.value.reason == "InternalError"


@pytest.mark.parametrize("text", [None, "{", "[]"], ids=["no file", "no JSON", "no object"])
def test_a_file_that_holds_no_contract_is_named(text: str | None, tmp_path: Path) -> None:
    file = tmp_path / "scoring.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ContractError, match=r"scoring\.json"):
        contracts.read(file)


def test_the_packages_of_the_training_are_read_where_they_are_told() -> None:
    plain = contracts.parse(WHOLE)
    assert (plain.lock, plain.written_with, plain.allows_skew) == (None, {}, False)
    told = {
        "lock": {"uri": "mlflow-artifacts:/1/a", "digest": "sha256:1"},
        "writtenWith": {"numpy": "2"},
        "allowSkew": True,
    }
    whole = contracts.parse(WHOLE | told)
    assert whole.lock == contracts.RegistryFile("mlflow-artifacts:/1/a", "sha256:1")
    assert (whole.written_with, whole.allows_skew) == ({"numpy": "2"}, True)
    with pytest.raises(ContractError, match=r"lock\.digest"):
        contracts.parse(WHOLE | {"lock": {"uri": "x"}})
