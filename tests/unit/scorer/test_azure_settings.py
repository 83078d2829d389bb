"""The settings of Azure's server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from smalt_scorer.azure_settings import AzureSettings, read
from smalt_scorer.failures import Failure


def test_without_any_there_are_the_defaults(tmp_path: Path) -> None:
    assert read({}, tmp_path) == AzureSettings(tmp_path)
    assert AzureSettings(tmp_path).service_name == "ML service"


def test_the_environment_goes_before_config_json(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        json.dumps({"SERVICE_NAME": "file", "SCORING_TIMEOUT_MS": 500, "AZUREML_ENTRY_SCRIPT": "a.py", "mine": [1]})
    )
    found = read({"SERVICE_NAME": "churn", "AML_CORS_ORIGINS": "*"}, tmp_path)
    assert (found.service_name, found.timeout_ms, found.entry_script, found.cors_origins) == ("churn", 500, "a.py", "*")


@pytest.mark.parametrize("place", ["given", "root", "script"])
def test_config_json_is_looked_for_in_three_places(place: str, tmp_path: Path) -> None:
    files = {"given": tmp_path / "elsewhere.json", "root": tmp_path / "app/config.json"}
    files["script"] = tmp_path / "app/sub/config.json"
    files["script"].parent.mkdir(parents=True)
    files["root"].touch()  # an empty one is none
    files[place].write_text('{"SERVICE_NAME": "x"}')
    environment = {"AML_APP_ROOT": str(tmp_path / "app"), "AZUREML_ENTRY_SCRIPT": "sub/score.py"}
    if place == "given":
        environment["AZUREML_CONFIG_FILE"] = str(files["given"])
    assert read(environment, Path("/")).service_name == "x"


def test_a_port_for_probes_is_asked_for_by_two_variables(tmp_path: Path) -> None:
    assert read({"HEALTH_PORT": "5002"}, tmp_path).health_port is None
    asked = {"SEPERATE_HEALTH_ENDPOINT": "true"}
    assert read(asked, tmp_path).health_port == 5000
    assert read({**asked, "HEALTH_PORT": "5002"}, tmp_path).health_port == 5002


@pytest.mark.parametrize(
    ("environment", "file", "told"),
    [
        ({"SCORING_TIMEOUT_MS": "soon"}, "", "SCORING_TIMEOUT_MS is 'soon', and must be a whole number above 0"),
        ({"WORKER_COUNT": "0"}, "", "WORKER_COUNT is '0', and must be a whole number above 0"),
        ({}, '{"SCORING_TIMEOUT_MS": true}', "SCORING_TIMEOUT_MS is True"),
        ({}, '{"SERVICE_NAME": 1}', "SERVICE_NAME is 1, and must be a text"),
        ({}, "{", r"config\.json is no JSON"),
        ({}, "[1]", r"config\.json is no JSON object"),
    ],
)
def test_what_cannot_be_used_is_named(environment: dict[str, str], file: str, told: str, tmp_path: Path) -> None:
    if file:
        (tmp_path / "config.json").write_text(file)
    with pytest.raises(Failure, match=told):
        read(environment, tmp_path)
