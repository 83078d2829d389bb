"""Packages of images come by uv, as pip is set in the base image; what uv cannot do, pip does."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from cluster.paths import REPOSITORY

# Each writes down how it was asked.
PYTHON = """\
#!/bin/sh
case "$*" in
"-m pip config get global.index-url") {configured} ;;
*"--target "*/uv.txt) echo "fetch uv" >> {asked}; mkdir -p "${{10}}/bin"; cp {uv} "${{10}}/bin/uv" ;;
*) echo "pip $*" >> {asked} ;;
esac
"""
UV = """\
#!/bin/sh
echo "uv $UV_DEFAULT_INDEX $SSL_CERT_FILE $*" >> {asked}
exit {ends}
"""


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def asked(tmp_path: Path, *more: str, ends: int = 0, configured: str = "exit 1", **variables: str) -> list[str]:
    log = tmp_path / "asked"
    uv = program(tmp_path / "uv", UV.format(asked=log, ends=ends))
    program(tmp_path / "venv/bin/python", PYTHON.format(asked=log, uv=uv, configured=configured))
    environment = {"PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path / "tmp"), **variables}
    (tmp_path / "tmp").mkdir()
    command = ["sh", str(REPOSITORY / "requirements/install.sh"), str(tmp_path / "venv"), "a.txt", *more]
    subprocess.run(command, env=environment, capture_output=True, check=True)
    assert not list((tmp_path / "tmp").iterdir()), "nothing of it stays in an image"
    return log.read_text().splitlines()


def test_a_uv_is_brought_for_the_while(tmp_path: Path) -> None:
    fetched, installed = asked(tmp_path, "--target", "/opt/somewhere")
    assert fetched == "fetch uv"
    assert "--require-hashes --no-deps" in installed
    assert installed.endswith("-r a.txt --target /opt/somewhere")


def test_one_that_is_there_is_taken(tmp_path: Path) -> None:
    (installed,) = asked(tmp_path, UV=str(tmp_path / "uv"))
    assert installed.startswith("uv ")


@pytest.mark.parametrize(
    ("configured", "variables"),
    [("echo https://index.example", {}), ("exit 1", {"PIP_INDEX_URL": "https://index.example"})],
)
def test_the_index_and_the_trust_are_pips(tmp_path: Path, configured: str, variables: dict[str, str]) -> None:
    _, installed = asked(tmp_path, configured=configured, PIP_CERT="/authorities.pem", **variables)
    assert installed.startswith("uv https://index.example /authorities.pem pip install")


def test_where_uv_cannot_pip_installs(tmp_path: Path) -> None:
    *_, by_uv, by_pip = asked(tmp_path, "--target", "/opt/somewhere", ends=2)
    assert by_uv.startswith("uv ")
    assert by_pip.startswith("pip -m pip install")
    assert "--require-hashes --no-deps" in by_pip
    assert by_pip.endswith("-r a.txt --target /opt/somewhere")
