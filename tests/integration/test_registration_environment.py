"""The step `environment` of a registration: the run's lock and the converter, from an index that wants to know who asks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from smalt_trainer.environment_record import EnvironmentRecord
from smalt_trainer.lock import Lock, interpreter, platform_name
from smalt_trainer.registration import converter
from smalt_trainer.registration.command import Folders, run_step
from support.package_index import PackageIndex, Wheel

TINY = Wheel("tiny-thing", "1.2.0", "ANSWER = 42\n")
# What the environment has counts: the converter must fit it.
OLD_BASE, NEW_BASE = Wheel("converter-base", "1.0", "NUMBER = 1\n"), Wheel("converter-base", "2.0", "NUMBER = 2\n")
CONVERTER = Wheel("converting-thing", "3.0", "import converter_base\n", requires=("converter-base",))
WHEELS = (TINY, OLD_BASE, NEW_BASE, CONVERTER)
HEAD = f"# {interpreter()}, {platform_name()}\n"
LOCK = f"{HEAD}tiny-thing==1.2.0 --hash=sha256:{TINY.sha256}\nconverter-base==1.0 --hash=sha256:{OLD_BASE.sha256}\n"


@pytest.fixture(autouse=True)
def only_this_converter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(converter, "TOOLS", ("converting-thing",))


def made(tmp_path: Path, lock: str | None = LOCK, format_: str = "joblib", **contract: Any) -> EnvironmentRecord:
    """What the step has left; it ends well in every case."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "source.json").write_text(json.dumps({"version": 1, "format": format_}))
    if lock is not None:
        (source / "environment").mkdir()
        (source / "environment/requirements.lock").write_text(lock)
    asked = {
        "version": 1,
        "model": {"name": "churn", "version": 1, "object": "churn-1", "uid": "u", "namespace": "n"},
        "source": {"uri": "mlflow-artifacts:/1/a/artifacts/outputs/model"},
        "convert": True,
        "hasLock": True,
        **contract,
    }
    (tmp_path / "registration.json").write_text(json.dumps(asked))
    folders = Folders(source, tmp_path / "converted", tmp_path / "environment")
    assert run_step("environment", tmp_path / "registration.json", folders, tmp_path / "termination") == 0
    return EnvironmentRecord(tmp_path / "environment")


def said_by(environment: Path, code: str) -> str:
    """What a program prints that runs as the step that converts does."""
    script = f"import sys; sys.path.append({str(environment / 'converter')!r})\n{code}"
    python = str(environment / "bin/python")
    return subprocess.run([python, "-c", script], capture_output=True, text=True, check=True).stdout.strip()


def test_the_runs_packages_are_what_they_were_and_the_converter_fits_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with PackageIndex(WHEELS, credentials=("team", "secret-word")) as index:
        monkeypatch.setenv("UV_DEFAULT_INDEX", f"smalt={index.url}")
        monkeypatch.setenv("UV_INDEX_SMALT_USERNAME", "team")
        monkeypatch.setenv("UV_INDEX_SMALT_PASSWORD", "secret-word")
        record = made(tmp_path, lineage={"environment": Lock.read(LOCK).digest})
    assert record.failure() == "" and record.digest().startswith("sha256:")
    environment = tmp_path / "environment"
    assert [each.name for each in (environment / "converter").glob("*.py")] == ["converting_thing.py"]
    code = "import tiny_thing, converting_thing; print(tiny_thing.ANSWER, converting_thing.converter_base.NUMBER)"
    assert said_by(environment, code) == "42 1"
    kept = [path for path in environment.rglob("*") if path.is_file() and path.stat().st_size < 100_000]
    assert not any(b"secret-word" in path.read_bytes() for path in kept)


def test_an_image_that_has_the_packages_gets_the_converter_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with PackageIndex(WHEELS) as index:
        monkeypatch.setenv("UV_DEFAULT_INDEX", index.url)
        record = made(tmp_path, lock=None, hasLock=False)
    assert record.failure() == "" and not (tmp_path / "environment/bin").exists()
    assert converter.python_of(tmp_path / "environment") == Path(sys.executable)
    names = {each.name for each in (tmp_path / "environment/converter").glob("*.py")}
    assert names == {"converting_thing.py", "converter_base.py"}


@pytest.mark.parametrize(
    ("lock", "words"),
    [
        (None, "environment/requirements.lock, cannot be had"),
        (f"{HEAD}absent-thing==1.0 --hash=sha256:" + "0" * 64, "absent-thing"),
        (f"{HEAD}tiny-thing==1.2.0 --hash=sha256:" + "0" * 64, "tiny-thing"),
        ("tiny-thing==1.2.0", "cannot be read"),
        ("# cpython-27, m68k-linux-gnu\n", "cpython-27"),
    ],
    ids=["none", "not in the index", "of another hash", "no lock", "of another Python"],
)
def test_packages_that_cannot_be_had_are_told_and_end_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lock: str | None, words: str
) -> None:
    with PackageIndex(WHEELS) as index:
        monkeypatch.setenv("UV_DEFAULT_INDEX", index.url)
        assert words in made(tmp_path, lock).failure()


def test_a_record_that_was_changed_since_the_run_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with PackageIndex(WHEELS) as index:
        monkeypatch.setenv("UV_DEFAULT_INDEX", index.url)
        failure = made(tmp_path, lineage={"environment": "sha256:" + "0" * 64}).failure()
        assert "it was changed" in failure and not index.asked
    assert not (tmp_path / "environment/bin").exists()


def test_an_index_that_never_answers_takes_only_so_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installer = tmp_path / "uv"
    installer.write_text(f"#!{sys.executable}\nimport time; time.sleep(60)\n")
    installer.chmod(0o755)
    monkeypatch.setattr(converter, "find_uv", lambda: str(installer))
    monkeypatch.setattr("smalt_trainer.environment.find_uv", lambda: str(installer))
    monkeypatch.setattr(converter, "Site", _Hurried)
    assert "took too long" in made(tmp_path).failure()


class _Hurried(converter.Site):
    def __init__(self, into: Path, cache: Path | None) -> None:
        super().__init__(into, cache, 1)


def test_for_a_model_that_is_not_converted_nothing_is_installed(tmp_path: Path) -> None:
    made(tmp_path, format_="onnx")
    assert not (tmp_path / "environment/bin").exists() and not (tmp_path / "environment/converter").exists()
