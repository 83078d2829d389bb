"""Loading a score script, and what its author is told when that fails."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from smalt_scorer import script
from smalt_scorer.failures import Failure


@pytest.fixture(autouse=True)
def unchanged_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Loading changes the folder and the import path of the whole process, as it should in a pod."""
    before, modules = Path.cwd(), set(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    os.chdir(before)
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def load(folder: Path, text: str, name: str = "score.py") -> script.Run:
    return script.load(script.lay_out({name: text}, folder), name)


def test_init_is_called_once_before_run(tmp_path: Path) -> None:
    run = load(tmp_path, "calls = []\ndef init(): calls.append('init')\ndef run(raw): return calls + [raw]")
    assert run("a", {}) == ["init", "a"]
    assert run("b", {}) == ["init", "b"]


def test_a_script_without_init_is_served(tmp_path: Path) -> None:
    assert load(tmp_path, "def run(data): return data")("a", {}) == "a"


def test_a_run_that_names_request_headers_gets_them(tmp_path: Path) -> None:
    run = load(tmp_path, "def run(raw_data, request_headers): return request_headers['x-tenant'] + raw_data")
    assert run("!", {"x-tenant": "a"}) == "a!"


def test_a_script_in_a_folder_imports_its_neighbours_and_those_of_the_code(tmp_path: Path) -> None:
    files = {
        "scoring/score.py": "import beside_script, beside_code\ndef run(raw): return beside_script.A + beside_code.B",
        "scoring/beside_script.py": "A = 1",
        "beside_code.py": "B = 2",
    }
    assert script.load(script.lay_out(files, tmp_path), "scoring/score.py")("", {}) == 3


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
    with pytest.raises(Failure, match=r"is 'score\.py', and the code has main\.py: correct") as caught:
        script.load(script.lay_out({"main.py": ""}, tmp_path), "score.py")
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
