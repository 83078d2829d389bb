"""Scripts of the first Azure ML SDK: what they log is recorded, and what they ask for besides is named with its like here."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.fake_tracking import FakeTracking
from support.run_pod import SOURCE, RunPod, mlflow_variables

SHIM = SOURCE / "smalt_trainer/for_scripts/azureml"


@pytest.fixture
def server() -> Iterator[FakeTracking]:
    with FakeTracking() as started:
        yield started


SCRIPT = """
from azureml.core import Run
from azureml.core.run import Run as Same
assert Run is Same
run = Run.get_context()
run.log("auc", 0.9)
run.log("kind", "linear")
run.log_list("losses", [3, 2, 1.5])
run.log_row("curve", x=1, y=0.5)
run.log_row(name="curve", x=2, y=0.25, note="end, really")
run.log_table("table", {"a": [1, 2, 3], "b": 4, "c": ["x", "y", "z"]})
open("plot.svg", "w").write("<svg/>")
run.log_image("drawn", path="plot.svg")
class Plot:
    def savefig(self, target, format): open(target, "w").write(format)
run.log_image("roc.png", plot=Plot())
run.flush(); run.complete()
"""


@pytest.mark.slow
def test_everything_that_such_a_script_logs_is_recorded(server: FakeTracking, tmp_path: Path) -> None:
    it = RunPod(tmp_path, mlflow_variables(server.url, "runs", "x"), SCRIPT)
    message = it.run()
    assert message["outcome"] == "succeeded", it.err
    expected = {"auc": 0.9, "losses": 1.5, "curve/x": 2.0, "curve/y": 0.25, "table/a": 3.0, "table/b": 4.0}
    assert message["metrics"] == expected
    assert server.runs["r1"]["tags"]["kind"] == "linear"
    kept = {
        name: content.decode()
        for name, content in server.artifacts.items()
        if name.split("/")[0] in ("images", "tables")
    }
    assert kept == {
        "images/drawn.svg": "<svg/>",
        "images/roc.png": "png",
        "tables/curve.csv": 'x,y,note\r\n1,0.5,\r\n2,0.25,"end, really"\r\n',
        "tables/table.csv": "a,b,c\r\n1,4,x\r\n2,,y\r\n3,,z\r\n",
    }


def python(script: str, *paths: Path) -> subprocess.CompletedProcess[str]:
    variables = {"PATH": os.environ["PATH"], "PYTHONPATH": ":".join(map(str, [*paths, SOURCE, SHIM]))}
    return subprocess.run([sys.executable, "-c", script], env=variables, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("Run.get_context().upload_file('a', 'b')", ["Run.upload_file", "./outputs", "${{outputs.<name>}}"]),
        ("Run.get_context().register_model('m')", ["Run.register_model", "spec.register"]),
        ("Run.get_context().input_datasets['d']", ["Run.input_datasets", "spec.inputs"]),
        ("Run.get_context().get_children()", ["Run.get_children", "mlflow"]),
        ("Run.get_context(allow_offline=False)", ["does not run inside a training run"]),
        ("Run.get_context().log_image('x')", ["path or plot"]),
    ],
)
def test_what_is_not_offered_fails_with_what_there_is_instead(call: str, words: list[str]) -> None:
    ended = python(f"from azureml.core import Run\n{call}")
    assert ended.returncode == 1
    for word in words:
        assert word in ended.stderr.splitlines()[-1]


def test_another_part_of_the_sdk_is_named_with_what_there_is_instead() -> None:
    ended = python("from azureml.core import Workspace")
    assert ended.returncode == 1
    for word in ("ImportError", "azureml.core.Workspace", "inputs and outputs", "spec.environment"):
        assert word in ended.stderr.splitlines()[-1]


@pytest.mark.parametrize("is_regular", [True, False], ids=["a package", "a namespace"])
def test_where_the_sdk_is_installed_it_is_what_is_imported(tmp_path: Path, is_regular: bool) -> None:
    core = tmp_path / "site/azureml/core"
    core.mkdir(parents=True)
    (core / "__init__.py").write_text("from azureml.core.workspace import Workspace\nRun = 'the real one'\n")
    (core / "workspace.py").write_text("Workspace = 'real'\n")
    if is_regular:
        (tmp_path / "site/azureml/__init__.py").touch()
    script = (
        f"import sys; sys.path.append({str(tmp_path / 'site')!r})\n"
        "from azureml.core import Run, Workspace; import azureml.core; print(Run, Workspace, azureml.core.__file__)"
    )
    ended = python(script)
    assert ended.stdout == f"the real one real {core / '__init__.py'}\n", ended.stderr


def test_outside_of_a_run_what_is_logged_is_printed() -> None:
    script = "from azureml.core import Run; r = Run.get_context(); r.log('auc', 0.5); r.log_row('t', a=1); r.log_image('i', 'x.png')"
    ended = python(script)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[0] == '{"metric":"auc","value":0.5,"step":null}'
