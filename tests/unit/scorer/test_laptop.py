"""What is asked for on a laptop."""

from __future__ import annotations

from pathlib import Path

import pytest

from smalt_scorer import __main__ as commands
from smalt_scorer import laptop
from smalt_scorer.failures import Failure


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    (tmp_path / "score.py").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [([], True), (["--model-dir", "x"], True), (["serve", "--contract", "x"], False), (["fetch"], False)],
)
def test_it_is_what_names_no_verb(arguments: list[str], asked: bool) -> None:
    assert laptop.is_asked_for(arguments) is asked


@pytest.mark.parametrize("names", [("--model-dir", "--scoring-script"), ("--model_dir", "--entry_script")])
def test_scripts_find_what_is_asked_for_in_the_environment(names: tuple[str, str], here: Path) -> None:
    environment: dict[str, str] = {}
    found = laptop.read([names[0], "models", names[1], "score.py"], environment, here)
    assert environment == {
        "AML_APP_ROOT": str(here),
        "AZUREML_MODEL_DIR": str(here / "models"),
        "AZUREML_ENTRY_SCRIPT": str(here / "score.py"),
    }
    assert (found.settings.root, found.settings.entry_script) == (here, str(here / "score.py"))
    assert (found.model_dir, found.serves_script, found.host, found.port) == (here / "models", True, "127.0.0.1", 8080)


def test_azures_variables_stand_where_an_option_is_missing(here: Path) -> None:
    environment = {
        "AML_APP_ROOT": str(here),
        "AZUREML_MODEL_DIR": str(here / "models"),
        "AZUREML_ENTRY_SCRIPT": "score.py",
        "WORKER_COUNT": "3",
        "SCORING_TIMEOUT_MS": "700",
    }
    found = laptop.read(["--worker_count", "2"], environment, Path("/"))
    settings = found.settings
    assert (settings.root, settings.entry_script, settings.worker_count, settings.timeout_ms) == (
        here,
        "score.py",
        2,
        700,
    )
    assert found.model_dir == here / "models"


def test_without_a_script_the_model_is_served_directly(here: Path) -> None:
    assert not laptop.read(["--model-dir", "models"], {}, here).serves_script


def test_main_py_is_the_script_without_a_name(here: Path) -> None:
    (here / "main.py").touch()
    (here / "settings.json").write_text('{"SERVICE_NAME": "churn"}')
    found = laptop.read(["--model-dir", "models", "--config-file", "settings.json"], {}, here)
    assert (found.serves_script, found.settings.entry_script, found.settings.service_name) == (True, None, "churn")
    assert laptop.read([], {}, here).serves_script


def test_a_port_for_probes_needs_its_option_alone(here: Path) -> None:
    assert laptop.read(["--scoring-script", "score.py", "--health_port", "5000"], {}, here).settings.health_port == 5000


@pytest.mark.parametrize(
    ("arguments", "told"),
    [([], "name a --model-dir, a --scoring-script, or both"), (["--model-dir", "no"], "no', which does not exist")],
)
def test_what_cannot_be_served_is_told(arguments: list[str], told: str, here: Path) -> None:
    with pytest.raises(Failure, match=told):
        laptop.read(arguments, {}, here)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--port", "0"], "'0' is no port: name one of 1 to 65535"),
        (["--health_port", "x"], "'x' is no port"),
        (["--worker-count", "0"], "'0' is no number of workers"),
        (["--model"], "--model"),
    ],
)
def test_an_option_that_is_wrong_is_told(
    arguments: list[str], told: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        laptop.read(arguments, {}, here)
    assert told in capsys.readouterr().err


def test_requests_are_joined_unless_told_otherwise(here: Path) -> None:
    assert laptop.read(["--model-dir", "models"], {}, here).is_joining
    assert not laptop.read(["--model-dir", "models", "--batching", "Off"], {}, here).is_joining


@pytest.mark.parametrize("verb", ["fetch", "lock", "serve"])
def test_a_verb_is_not_taken_for_options_of_a_laptop(verb: str) -> None:
    assert not laptop.is_asked_for([verb, "--help"])
    assert verb in commands.parser().format_help()
