"""`python -m smalt digest` prints what fields named `digest` take: the digest by which runs and registrations prove files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from smalt.cli.application import run
from smalt_trainer.digests import manifest, manifest_digest


def test_of_a_file_it_is_that_of_its_content(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(b"graph")
    assert run(["digest", str(file)]) == 0
    assert capsys.readouterr().out == f"sha256:{hashlib.sha256(b'graph').hexdigest()}\n"


def test_of_a_folder_it_is_that_of_the_manifest_that_is_proven(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/a ä.txt").write_text("a")
    (tmp_path / "model.joblib").write_text("m")
    assert run(["digest", str(tmp_path)]) == 0
    assert capsys.readouterr().out.strip() == manifest_digest(manifest(tmp_path))


def test_what_does_not_exist_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["digest", str(tmp_path / "none")]) == 1
    assert "none does not exist" in capsys.readouterr().err
