"""What Azure's score scripts import, with nothing of Azure's installed."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pandas
import pytest

from smalt_scorer import azure_modules, collected


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Names found as in a scorer's process, and forgotten again."""
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    before = set(sys.modules)
    azure_modules.install()
    yield
    for name in set(sys.modules) - before:
        if name.startswith("azureml"):
            del sys.modules[name]


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(collected.FOLDER, str(tmp_path / "spool"))
    monkeypatch.setenv("AZUREML_MODEL_DIR", str(tmp_path / "azureml-models/churn/3"))
    monkeypatch.setattr(collected, "_mine", None)
    return tmp_path / "spool"


def imported(name: str) -> Any:
    return importlib.import_module(name)


def lines(spool: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in sorted(spool.iterdir()) for line in path.read_text().splitlines()]


def test_what_is_registered_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "azureml-models/churn/3"
    (folder / "model").mkdir(parents=True)
    monkeypatch.setenv("AZUREML_MODEL_DIR", str(folder))
    model = imported("azureml.core.model").Model
    assert model.get_model_path("churn") == model.get_model_path("churn", version=3) == str(folder / "model")
    assert imported("azureml.core").Model is model
    with pytest.raises(FileNotFoundError, match="serves the model 'churn:3', not 'other'"):
        model.get_model_path("other")
    with pytest.raises(FileNotFoundError, match="not 'churn:4'"):
        model.get_model_path("churn", 4)
    with pytest.raises(TypeError, match="version is '3'"):
        model.get_model_path("churn", "3")


def test_outside_of_a_deployment_a_model_is_found_as_well_as_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one.joblib").touch()
    monkeypatch.setenv("AZUREML_MODEL_DIR", str(tmp_path))
    model = imported("azureml.core.model").Model
    assert model.get_model_path("any") == str(tmp_path / "one.joblib")
    (tmp_path / "named").mkdir()
    assert model.get_model_path("named") == str(tmp_path / "named")
    assert model.get_model_path("other") == str(tmp_path)


@pytest.mark.parametrize(
    ("module", "use", "told"),
    [
        ("azureml.core", "Workspace.from_config()", "AZUREML_MODEL_DIR, settings come by spec.environmentVariables"),
        ("azureml.core.workspace", "Workspace.get('x')", "AZUREML_MODEL_DIR, settings come by"),
        ("azureml.core.authentication", "MsiAuthentication()", "add azureml-defaults to spec.environment"),
        ("azureml.core", "Run.get_context()", "collect data with azureml.ai.monitoring.Collector"),
        ("azureml.core", "Dataset.get_by_name(1, 'x')", "files of the registered folder"),
        ("azureml.core.model", "Model.register(model_path='x')", "Model.get_model_path(name)"),
        ("azureml.core.model", "Model(None, 'x')", "Model.get_model_path(name)"),
    ],
)
def test_other_calls_say_what_there_is_instead(module: str, use: str, told: str) -> None:
    name = use.partition("(")[0].partition(".")[0]
    known = {name: getattr(imported(module), name)}
    with pytest.raises(
        (AttributeError, NotImplementedError), match=r"azureml\.core\..* is not offered by a Deployment"
    ) as caught:
        eval(use, known)
    assert told in str(caught.value)


def test_other_classes_can_stand_in_annotations_and_checks() -> None:
    workspace = imported("azureml.core").Workspace
    assert not isinstance(1, workspace)
    assert workspace | None


def test_an_installed_sdk_goes_before_and_the_collectors_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in {
        "azureml/__init__.py": "__path__ = __import__('pkgutil').extend_path(__path__, __name__)",
        "azureml/core/__init__.py": "WHOSE = 'real'",
        "azureml/core/model.py": "WHOSE = 'real'",
        "azureml/ai/__init__.py": "",
        "azureml/ai/monitoring/__init__.py": "raise ImportError('a sidecar is missing')",
        "azureml/contrib/__init__.py": "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert imported("azureml.core").WHOSE == imported("azureml.core.model").WHOSE == "real"
    with pytest.raises(ModuleNotFoundError, match=r"azureml\.core\.missing"):
        imported("azureml.core.missing")
    assert imported("azureml.ai.monitoring").Collector
    assert importlib.util.find_spec("azureml.contrib.services.aml_request") is not None
    assert imported("azureml_inference_server_http").__version__ == "1.5.1"


def test_what_a_collector_is_given_is_kept_with_its_context(spool: Path) -> None:
    collector = imported("azureml.ai.monitoring").Collector
    context = collector(name="model_inputs").collect(pandas.DataFrame({"a": [1, 2], "b": ["x", None]}))
    assert collector(name="model_outputs").collect(pandas.DataFrame({"p": [0.5]}), context) is context
    inputs, outputs = lines(spool)
    assert inputs["rows"] == [{"a": 1, "b": "x"}, {"a": 2, "b": None}]
    assert (inputs["collection"], inputs["model"], inputs["version"]) == ("model_inputs", "churn", "3")
    assert inputs["correlation"] == outputs["correlation"] == context.get_id()
    assert inputs["id"] != outputs["id"]


def test_a_context_may_be_the_scripts_own(spool: Path) -> None:
    context = imported("azureml.ai.monitoring.context").BasicCorrelationContext(id="request-7")
    imported("azureml.ai.monitoring").Collector(name="x").collect(pandas.DataFrame({"a": [1]}), context)
    assert lines(spool)[0]["correlation"] == str(context) == "request-7"


def test_what_is_no_table_is_told(spool: Path) -> None:
    errors: list[Exception] = []
    collector = imported("azureml.ai.monitoring").Collector
    collector(name="x", on_error=errors.append).collect([1])
    assert "was given a list" in str(errors[0])
    with pytest.raises(TypeError, match="was given a list"):
        collector(name="x").collect([1])
    with pytest.raises(ValueError, match="needs the collection's name"):
        collector(name="")


@pytest.mark.parametrize(
    ("given", "rows"),
    [
        ([[1, 2], [3, 4]], [{"a": 1, "column1": 2}, {"a": 3, "column1": 4}]),
        ([5], [{"a": 5}]),
        (numpy.array([[1.5]]), [{"a": 1.5}]),
        (pandas.DataFrame({"x": [1]}), [{"x": 1}]),
    ],
    ids=["lists", "flat", "array", "table"],
)
def test_the_first_sdks_collector_keeps_what_it_is_given(given: Any, rows: list[Any], spool: Path) -> None:
    collector = imported("azureml.monitoring").ModelDataCollector
    tied = collector("churn", designation="inputs", feature_names=["a"]).collect(given)
    (line,) = lines(spool)
    assert line["rows"] == rows
    assert (line["collection"], line["model"], line["version"]) == ("inputs", "churn", "3")
    assert tied["$aml_dc_correlation_id"] == line["correlation"]


def test_predictions_are_tied_to_their_inputs(spool: Path) -> None:
    collector = imported("azureml.monitoring.modeldatacollector").ModelDataCollector
    inputs, predictions = collector("churn", "inputs"), collector("churn", "predictions", ["p"])
    tied = inputs.collect(pandas.DataFrame({"a": [1]}), "request-7")
    assert predictions.collect(predictions.add_correlations(pandas.DataFrame({"p": [0.5]}), tied)) is None
    assert [line["correlation"] for line in lines(spool)] == ["request-7", "request-7"]
    assert predictions.add_correlations([[1]], tied)[0][:2] == [1, "request-7"]
    with pytest.raises(ValueError, match="designation is 'input'"):
        collector("churn", "input")
