"""Loading a score script, and what its author is told when that fails."""

from __future__ import annotations

import builtins
import json
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from smalt_scorer import script
from smalt_scorer.azure_settings import AzureSettings
from smalt_scorer.failures import Failure
from smalt_scorer.raw_request import RawRequest
from smalt_scorer.script_run import ScriptRun


@pytest.fixture(autouse=True)
def unchanged_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Loading changes the import path, the loggers and print of the whole process, as it should in a pod."""
    before, modules = Path.cwd(), set(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.setattr(builtins, "print", print)
    monkeypatch.setenv("AML_APP_ROOT", "")
    yield
    os.chdir(before)
    logger = logging.getLogger("azmlinfsrv")
    logger.handlers.clear()
    logger.propagate = True  # else pytest's own handlers are put there
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def load(folder: Path, text: str, name: str = "score.py", **settings: Any) -> ScriptRun:
    script.lay_out({name: text}, folder)
    return script.load(AzureSettings(folder, name, **settings)).run


def given(run: ScriptRun, body: str, **headers: str) -> Any:
    sent = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return json.loads(run(RawRequest(headers=sent, body=body.encode())).body)


def test_init_is_called_once_before_run(tmp_path: Path) -> None:
    run = load(tmp_path, "calls = []\ndef init(): calls.append('init')\ndef run(raw): return calls + [raw]")
    assert given(run, "a") == ["init", "a"]
    assert given(run, "b") == ["init", "b"]


def test_a_script_without_init_is_served(tmp_path: Path) -> None:
    assert given(load(tmp_path, "def run(data): return data"), "a") == "a"


def test_a_run_that_names_request_headers_gets_them(tmp_path: Path) -> None:
    run = load(tmp_path, "def run(raw_data, request_headers): return request_headers['X-Tenant'] + raw_data")
    assert given(run, "!", x_tenant="a") == "a!"


def test_a_script_in_a_folder_imports_its_neighbours_those_of_the_code_and_of_its_source(tmp_path: Path) -> None:
    text = "import beside_script, beside_code, beside_source as s\ndef run(raw): return beside_script.A + beside_code.B + s.C"
    files = {"scoring/beside_script.py": "A = 1", "beside_code.py": "B = 2", "source/beside_source.py": "C = 4"}
    script.lay_out(files, tmp_path)
    assert given(load(tmp_path, text, "scoring/score.py", source_directory="source"), "") == 7


def test_without_a_name_it_is_main_py(tmp_path: Path) -> None:
    script.lay_out({"main.py": "def run(raw): return 'main'"}, tmp_path)
    assert given(script.load(AzureSettings(tmp_path)).run, "") == "main"


def test_a_driver_begins_and_the_script_that_it_drives_runs(tmp_path: Path) -> None:
    script.lay_out({"driven.py": "def run(data, request_headers=None): return ['driven', begun, data]"}, tmp_path)
    text = "import driven as driver_module\ndef init(): driver_module.begun = 1\ndef run(*all): return 'driver'"
    assert given(load(tmp_path, text), "x") == ["driven", 1, "x"]


def test_a_swagger_that_init_writes_is_the_one(tmp_path: Path) -> None:
    text = (
        "import json\nfrom pathlib import Path\ndef init(): Path(__file__).with_name('swagger.json').write_text('{}')\n"
    )
    script.lay_out({"score.py": text + "def run(raw): return 1"}, tmp_path)
    assert script.load(AzureSettings(tmp_path, "score.py")).swagger.of("2") == (200, {})


def test_scripts_start_beside_the_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models, code = tmp_path / "model/azureml-models", tmp_path / "code"
    (models / "churn/3").mkdir(parents=True)
    code.mkdir()
    script.enter(code, models)
    script.enter(code, models)  # a container that starts again
    assert Path("azureml-models/churn/3").is_dir()
    assert Path(os.environ["AML_APP_ROOT"]) == code == Path.cwd()


@pytest.mark.parametrize(
    ("text", "reason", "told"),
    [
        ("import no_such_module_x", "ScriptInvalid", "ModuleNotFoundError: No module named 'no_such_module_x'"),
        ("def run(raw)\n  pass", "ScriptInvalid", "SyntaxError: expected ':' (score.py, line 1)"),
        ("import sys; sys.exit(3)", "ScriptInvalid", "SystemExit: 3"),
        ("def init(): pass", "ScriptInvalid", "has no function run(raw_data)"),
        ("run = 1", "ScriptInvalid", "has no function run(raw_data)"),
        ("def init(): open('/no/such')\ndef run(raw): 1", "InitFailed", "FileNotFoundError: [Errno 2] No such file"),
        ("def init(): exit(1)\ndef run(raw): 1", "InitFailed", "SystemExit: 1"),
        ("def run(): 1", "ScriptInvalid", "takes no argument for the data"),
        ("def run(request_headers): 1", "ScriptInvalid", "takes no argument for the data"),
        ("def run(data, **more): 1", "ScriptInvalid", "takes '**more', and may take neither *args, **kwargs"),
        ("def run(data, /): 1", "ScriptInvalid", "may take neither *args, **kwargs nor positional-only arguments"),
        (
            "from azureml.core import Workspace\ndef init(): Workspace.from_config()\ndef run(raw): 1",
            "InitFailed",
            "the model comes by spec.model and lies in AZUREML_MODEL_DIR",
        ),
    ],
)
def test_a_script_that_cannot_be_used_is_told_with_its_last_line(
    text: str, reason: str, told: str, tmp_path: Path
) -> None:
    with pytest.raises(Failure, match=r"score script 'score\.py'.* apply again") as caught:
        load(tmp_path, text)
    assert caught.value.reason == reason
    assert told in str(caught.value)


def test_a_script_that_is_not_in_the_code_is_told_what_is(tmp_path: Path) -> None:
    (tmp_path / "..data").mkdir()
    script.lay_out({"main.py": ""}, tmp_path)
    with pytest.raises(Failure, match=r"is 'score\.py', and the code has main\.py: correct") as caught:
        script.load(AzureSettings(tmp_path, "score.py"))
    assert caught.value.reason == "ScriptInvalid"
    with pytest.raises(Failure, match=r"score\.py' does not exist: name one that does"):
        script.load(AzureSettings(tmp_path, str(tmp_path / "score.py")))


def test_a_logging_json_decides_where_prints_go(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logs = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "f": {"()": "azureml_inference_server_http.log_config.AMLLogFormatter", "format": "<%(message)s>"}
        },
        "handlers": {"h": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout", "formatter": "f"}},
        "loggers": {"azmlinfsrv": {"level": "INFO", "handlers": ["h"], "propagate": False}},
    }
    script.lay_out({"logging.json": json.dumps(logs)}, tmp_path)
    text = (
        "import sys\ndef init():\n    print('a', 1, sep='-')\n    print('b', file=sys.stderr)\ndef run(raw): return 1"
    )
    load(tmp_path, text)
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("<a-1>\n", "b\n")


def test_without_a_logging_json_azures_logger_writes_to_the_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load(tmp_path, "import logging\nlogging.getLogger('azmlinfsrv').info('hello')\nprint('plain')\ndef run(raw): 1")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("I azmlinfsrv - hello")
    assert lines[1] == "plain"


@pytest.mark.parametrize("text", ["{", '{"version": 7}', '{"version": 1, "loggers": {"a": {"handlers": ["missing"]}}}'])
def test_a_logging_json_with_errors_is_told(text: str, tmp_path: Path) -> None:
    script.lay_out({"logging.json": text}, tmp_path)
    with pytest.raises(Failure, match=r"logging\.json of the code is no configuration of logging \(") as caught:
        load(tmp_path, "def run(raw): 1")
    assert caught.value.reason == "ScriptInvalid"


def test_a_mounted_folder_is_copied_as_its_files_are_and_can_be_written(tmp_path: Path) -> None:
    mounted, code = tmp_path / "mounted", tmp_path / "work/code"
    (mounted / "..2026_01_02/helpers").mkdir(parents=True)
    (mounted / "..data").symlink_to("..2026_01_02")
    for name in ("score.py", "helpers/names.txt"):
        (mounted / "..data" / name).write_text(name)
        (mounted / "..data" / name).chmod(0o444)
    (mounted / "score.py").symlink_to("..data/score.py")
    (mounted / "sub").mkdir()
    (mounted / "sub/names.txt").symlink_to("../..data/helpers/names.txt")
    assert script.lay_out_folder(mounted, code) == code
    files = {path.relative_to(code).as_posix(): path for path in code.rglob("*") if path.is_file()}
    assert {name: path.read_text() for name, path in files.items()} == {
        "score.py": "score.py",
        "sub/names.txt": "helpers/names.txt",
    }
    assert not any(path.is_symlink() for path in code.rglob("*"))
    script.lay_out_folder(mounted, code)  # a container that starts again finds what it laid out before
    assert all(path.stat().st_mode & 0o200 for path in files.values())


@pytest.mark.parametrize("name", ["../score.py", "/tmp/score.py", "a/../../score.py"])
def test_a_file_outside_of_the_code_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(Failure, match="use a relative path") as caught:
        script.lay_out({name: ""}, tmp_path / "code")
    assert caught.value.reason == "ScriptInvalid"
    assert list(tmp_path.iterdir()) == []
