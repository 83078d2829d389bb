"""What pip is set to is found, wherever it is set, and said in uv's words."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from cluster import pip


@pytest.fixture
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """pip's file of settings, and no others."""
    for name in [each for each in os.environ if each.startswith("PIP_")]:
        monkeypatch.delenv(name)
    file = tmp_path / "pip.conf"
    monkeypatch.setenv("PIP_CONFIG_FILE", str(file))
    return file


def test_settings_come_from_files_and_variables(configured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configured.write_text(
        "[global]\nindex-url = https://one.example/simple\nextra-index-url = https://two.example/simple\n"
        "    https://three.example/simple\ntimeout = 90\ntrusted-host = two.example\n[install]\nfind-links = /wheels /more\n"
    )
    monkeypatch.setenv("PIP_CERT", "/etc/authorities.pem")
    monkeypatch.setenv("PIP_PROXY", "http://proxy.example:3128")
    assert pip.for_uv(pip.settings(Path(sys.executable))) == {
        "UV_DEFAULT_INDEX": "https://one.example/simple",
        "UV_INDEX": "https://two.example/simple https://three.example/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_FIND_LINKS": "/wheels,/more",
        "UV_INSECURE_HOST": "two.example",
        "UV_HTTP_TIMEOUT": "90",
        "HTTPS_PROXY": "http://proxy.example:3128",
        "HTTP_PROXY": "http://proxy.example:3128",
        "SSL_CERT_FILE": "/etc/authorities.pem",
    }


def test_no_index_is_none_for_uv_either(configured: Path) -> None:
    configured.write_text("[install]\nno-index = true\nfind-links = /wheels\n")
    variables = pip.for_uv(pip.settings(Path(sys.executable)))
    assert (variables["UV_NO_INDEX"], variables["UV_FIND_LINKS"]) == ("1", "/wheels")


def test_a_python_without_pip_has_no_settings(tmp_path: Path) -> None:
    python = tmp_path / "python"
    assert pip.settings(python) == {}
    python.write_text("#!/bin/sh\necho 'No module named pip' >&2\nexit 1\n")
    python.chmod(0o755)
    assert pip.settings(python) == {}
    assert pip.for_uv({}) == {"UV_INDEX_STRATEGY": "unsafe-best-match"}
