"""A fresh Debian's Python is completed, any other's owner is told; a pip that cannot reach its index says so in words."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cluster import host, virtualenv
from cluster.__main__ import main
from cluster.progress import SetUpFailed

PACKAGE = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
# A Python that makes "virtualenvs" whose pip ends as the network would have it.
PYTHON = """\
#!/bin/sh
case "$*" in
*ensurepip*) exit {has_venv} ;;
"-m venv --clear "*) mkdir -p "$4/bin" && cp "$0" "$4/bin/python" ;;
"-m pip "*uv.txt)
    printf '#!/bin/sh\\necho "uv $UV_DEFAULT_INDEX $*" >> {asked}\\necho "{uv_said}" >&2\\nexit {uv_ends}\\n' > "$(dirname "$0")/uv"
    chmod 755 "$(dirname "$0")/uv"; echo "{said}" >&2; exit {pip_ends} ;;
"-m pip "*) echo "pip $*" >> {asked}; echo "{said}" >&2; exit {pip_ends} ;;
*pip._internal*) echo '{{"index_url": "https://index.example/simple"}}' ;;
*purelib*) echo "{packages}" ;;
esac
"""


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Debian's own Python, with root's rights; what was asked of apt."""
    asked: list[str] = []
    monkeypatch.setattr(sys, "base_prefix", "/usr")
    monkeypatch.setattr(host, "can_install", lambda: True)
    monkeypatch.setattr(host, "install", asked.extend)
    return asked


def choose_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_venv: bool = True, **ends: str | int) -> None:
    python = tmp_path / "python"
    values: dict[str, object] = {"pip_ends": 0, "said": "", "uv_ends": 0, "uv_said": "", **ends}
    folders = {"packages": tmp_path, "asked": tmp_path / "asked"}
    python.write_text(PYTHON.format(has_venv=0 if has_venv else 1, **values, **folders))
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))


def test_what_debians_python_lacks_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: list[str]
) -> None:
    choose_python(tmp_path, monkeypatch, has_venv=False)
    virtualenv.make(tmp_path / "venv")
    assert installed == [PACKAGE]


def test_a_complete_python_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: list[str]) -> None:
    choose_python(tmp_path, monkeypatch)
    virtualenv.make(tmp_path / "venv")
    assert installed == []


@pytest.mark.parametrize(("prefix", "may_install"), [("/opt/python", True), ("/usr", False)])
def test_elsewhere_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: list[str], prefix: str, may_install: bool
) -> None:
    choose_python(tmp_path, monkeypatch, has_venv=False)
    monkeypatch.setattr(sys, "base_prefix", prefix)
    monkeypatch.setattr(host, "can_install", lambda: may_install)
    with pytest.raises(SetUpFailed, match=f"apt-get install {PACKAGE}` as root, or say PYTHON="):
        virtualenv.make(tmp_path / "venv")
    assert installed == []


def test_uv_installs_from_the_index_that_pip_is_set_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    choose_python(tmp_path, monkeypatch)
    virtualenv.make(tmp_path / "venv")
    (asked,) = (tmp_path / "asked").read_text().splitlines()
    assert asked.startswith("uv https://index.example/simple pip install")
    assert "--require-hashes" in asked
    assert asked.endswith("requirements/dev.txt")


def test_where_uv_cannot_pip_installs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    choose_python(tmp_path, monkeypatch, uv_ends=2, uv_said="error: invalid peer certificate")
    virtualenv.make(tmp_path / "venv")
    by_uv, by_pip = (tmp_path / "asked").read_text().splitlines()
    assert by_uv.startswith("uv ")
    assert by_pip.startswith("pip -m pip")
    assert by_pip.endswith("requirements/dev.txt")
    assert "uv could not install the packages, pip may: error: invalid peer certificate" in capsys.readouterr().out


def test_a_pip_without_a_network_says_what_to_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    choose_python(tmp_path, monkeypatch, pip_ends=1, said="ERROR: No matching distribution found for kopf")
    with pytest.raises(SetUpFailed) as failure:
        virtualenv.make(tmp_path / "venv")
    assert "No matching distribution found for kopf" in str(failure.value)
    assert "check the network, HTTPS_PROXY and PIP_INDEX_URL" in str(failure.value)


def test_the_index_that_a_failed_pip_could_not_reach_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    choose_python(tmp_path, monkeypatch, pip_ends=1)
    monkeypatch.setattr(sys, "argv", ["cluster", "virtualenv", str(tmp_path / "venv")])
    for name, value in {"PIP_INDEX_URL": "http://127.0.0.1:1/simple", "GOPROXY": "off"}.items():
        monkeypatch.setenv(name, value)
    assert main() == 1
    assert "the Python package index 127.0.0.1:1 cannot be reached" in capsys.readouterr().err


def test_every_package_of_the_project_is_found_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    choose_python(tmp_path, monkeypatch)
    virtualenv.make(tmp_path / "venv")
    folders = [Path(line) for line in (tmp_path / "smalt.pth").read_text().splitlines()]
    packages = {package.parent.name for folder in folders for package in folder.glob("*/__init__.py")}
    assert packages == {"smalt", "smalt_trainer", "smalt_profile", "smalt_card", "smalt_scorer", "smalt_tracking"}


def test_an_apt_without_a_network_says_what_to_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    apt = tmp_path / "apt-get"
    apt.write_text("#!/bin/sh\necho 'E: Unable to locate package curl' >&2\nexit 100\n")
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(SetUpFailed) as failure:
        host.install(["curl"])
    assert "Unable to locate package curl" in str(failure.value)
    assert "check the network, the sources in /etc/apt" in str(failure.value)
