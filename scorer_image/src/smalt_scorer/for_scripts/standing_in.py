"""Classes of the first Azure ML SDK that a Deployment has no use for: they can be imported, and say so when used."""

from __future__ import annotations

from typing import Any

_OBJECTS = "say it in the Deployment's or TrainingRun's own YAML and apply that"
_INSTEAD = {
    "Workspace": "the model comes by spec.model and lies in AZUREML_MODEL_DIR, settings come by spec.environmentVariables",
    "Dataset": "keep the data beside the model, as files of the registered folder",
    "Datastore": "keep the data beside the model, as files of the registered folder",
    "Keyvault": "give the pod what it needs by spec.environmentVariables",
    "Run": "print what the log should have, and collect data with azureml.ai.monitoring.Collector",
    "Experiment": _OBJECTS,
    "Environment": "name packages in spec.environment",
    "Webservice": _OBJECTS,
    "Image": _OBJECTS,
    "ComputeTarget": _OBJECTS,
    "Model": "Model.get_model_path(name) and AZUREML_MODEL_DIR say where the served model lies",
}
_OTHERWISE = "take the call out of the score script, or add azureml-defaults to spec.environment"


def unavailable(name: str, use: str) -> str:
    """The sentence."""
    return f"azureml.core.{use} is not offered by a Deployment, which knows no Azure workspace: {_INSTEAD.get(name, _OTHERWISE)}"


class StandingIn(type):
    """Fails when it is called, or asked for anything that Python itself does not ask for."""

    def __call__(cls, *arguments: Any, **named: Any) -> Any:
        raise NotImplementedError(unavailable(cls.__name__, f"{cls.__name__}()"))

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(unavailable(cls.__name__, f"{cls.__name__}.{name}"))


def stand_in(name: str) -> Any:
    """A class of this name. AttributeError for a name of Python's own."""
    if name.startswith("__"):
        raise AttributeError(name)
    return StandingIn(name, (), {})
