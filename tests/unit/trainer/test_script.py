"""The variables a script finds, and whose word counts when names collide."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from smalt_trainer.contract import Contract, parse_contract
from smalt_trainer.places import Places
from smalt_trainer.script import script_variables


def contract(**changes: object) -> Contract:
    return parse_contract(
        {
            "version": 1,
            "run": {"namespace": "n", "name": "r", "uid": "u", "attempt": 1},
            "workspace": "w",
            "experiment": "e",
            "command": "true",
            "code": {"inline": {}},
            "limits": {"timeoutSeconds": 1, "finalizingSeconds": 1},
            **changes,
        }
    )


def test_inputs_outputs_and_parameters_arrive_as_variables_that_the_user_cannot_replace(tmp_path: Path) -> None:
    run = contract(
        parameters={"C": 0.1, "fit": True, "nothing": None, "text": "$(reboot) \"'"},
        environmentVariables={"SMALT_INPUTS_d": "mine", "MLFLOW_RUN_ID": "mine", "OMP_NUM_THREADS": "2"},
    )
    found = script_variables(
        run, Places(tmp_path), {"d": Path("/in")}, {"m": Path("/out")}, {"MLFLOW_RUN_ID": "abc"}, {"PATH": "/usr/bin"}
    )
    assert (found["SMALT_INPUTS_d"], found["SMALT_OUTPUTS_m"], found["MLFLOW_RUN_ID"]) == ("/in", "/out", "abc")
    assert found["SMALT_PARAMETERS_C"] == "0.1"
    assert found["SMALT_PARAMETERS_fit"] == "true"
    assert found["SMALT_PARAMETERS_nothing"] == "null"
    assert found["SMALT_PARAMETERS_text"] == "$(reboot) \"'"
    assert found["OMP_NUM_THREADS"] == "2"


def test_the_tools_stand_last_on_the_path_of_modules(tmp_path: Path) -> None:
    tools = str(Path(sys.modules["smalt_trainer.script"].__file__ or "").parents[1])
    inherited = {"PATH": "/usr/bin", "PYTHONPATH": tools}
    alone = script_variables(contract(), Places(tmp_path), {}, {}, {}, inherited)["PYTHONPATH"]
    assert alone.split(":")[0] == tools and all(path.startswith(tools) for path in alone.split(":"))
    run = contract(environmentVariables={"PYTHONPATH": f"/mine:{alone}"})
    assert script_variables(run, Places(tmp_path), {}, {}, {}, inherited)["PYTHONPATH"] == f"/mine:{alone}"


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "ALL_PROXY"])
def test_an_image_that_goes_out_by_a_proxy_reaches_its_own_pod_without_it(tmp_path: Path, name: str) -> None:
    inherited = {"PATH": "/usr/bin", name: "http://proxy:3128", "no_proxy": ".corp"}
    found = script_variables(contract(), Places(tmp_path), {}, {}, {}, inherited)
    assert found["no_proxy"] == found["NO_PROXY"] == ".corp,127.0.0.1"
    assert "NO_PROXY" not in script_variables(contract(), Places(tmp_path), {}, {}, {}, {"PATH": "/usr/bin"})


def test_an_image_that_only_knows_python3_gets_a_python(tmp_path: Path) -> None:
    found = script_variables(contract(), Places(tmp_path), {}, {}, {}, {"PATH": str(tmp_path / "empty")})
    command = ["/bin/sh", "-c", "python -c 'import sys; print(sys.prefix)'"]
    printed = subprocess.run(command, env=found, capture_output=True, text=True, check=True).stdout
    assert printed.strip() == sys.prefix


def test_an_environment_that_was_made_comes_first(tmp_path: Path) -> None:
    places = Places(tmp_path)
    (places.environment / "bin").mkdir(parents=True)
    (places.environment / "bin/python").touch()
    found = script_variables(contract(), places, {}, {}, {}, {"PATH": "/usr/bin"})
    assert found["PATH"] == f"{places.environment}/bin:/usr/bin"
    assert found["VIRTUAL_ENV"] == str(places.environment)
