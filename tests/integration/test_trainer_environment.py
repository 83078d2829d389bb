"""Environments made for real: by uv, from a package index on loopback, on top of what the image has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.file_server import FileServer, package_index
from support.run_pod import SOURCE

TINY = package_index("tiny-thing", "1.2.0", "ANSWER = 42\n")


def tool(
    folder: Path, *arguments: str, index: str = "http://127.0.0.1:9", modules: str = "", trust: str = ""
) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "PYTHONPATH": modules,
        "SMALT_TRUST_BUNDLE": trust,
        "HOME": str(folder),
        "SMALT_ROOT": str(folder),
        "UV_INDEX_URL": f"{index}/simple",
        "UV_HTTP_RETRIES": "0",
    }
    command = [sys.executable, "-s", str(SOURCE), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def environment(folder: Path, contract: dict[str, Any], index: str = "http://127.0.0.1:9", *more: str) -> int:
    (folder / "scoring.json").write_text(json.dumps({"version": 1, **contract}))
    arguments = ("environment", "--from", str(folder / "scoring.json"), "--into", str(folder / "environment"), *more)
    return tool(folder, *arguments, index=index).returncode


def left_behind(folder: Path) -> dict[str, Any]:
    message = json.loads((folder / "termination-log").read_text())
    assert isinstance(message, dict)
    return message


def test_a_missing_package_is_installed_on_top_of_the_image_and_the_image_stays_importable(tmp_path: Path) -> None:
    with FileServer(TINY) as index:
        assert environment(tmp_path, {"environment": {"pip": ["tiny-thing>=1"]}}, index.url) == 0
    python = tmp_path / "environment/bin/python"
    script = "import tiny_thing, sklearn; print(tiny_thing.ANSWER, tiny_thing.__file__)"
    printed = subprocess.run([str(python), "-c", script], capture_output=True, text=True, check=True).stdout
    assert printed.startswith(f"42 {tmp_path}/environment/lib/")
    assert not (tmp_path / "environment/.smalt").exists()


def test_an_environment_that_the_image_has_needs_no_index_and_makes_nothing(tmp_path: Path) -> None:
    contract = {"environment": {"conda": "dependencies:\n- python>=3.9\n- scikit-learn\n- pip: [pytest>=1]\n"}}
    assert environment(tmp_path, contract) == 0
    assert not (tmp_path / "environment").exists()


def test_no_environment_at_all_makes_nothing(tmp_path: Path) -> None:
    assert environment(tmp_path, {"environment": None, "code": None}) == 0
    assert not (tmp_path / "environment").exists()


@pytest.mark.parametrize("inline", [True, False])
def test_a_conda_file_is_found_in_the_code_inline_or_mounted(tmp_path: Path, inline: bool) -> None:
    text = "dependencies:\n- python=2.7\n"
    (tmp_path / "code").mkdir()
    (tmp_path / "code/conda.yml").write_text(text)
    code = {"inline": {"conda.yml": text, "score.py": ""}} if inline else {"folder": "/smalt/code"}
    contract = {"environment": {"condaFile": "conda.yml"}, "code": code}
    more = () if inline else ("--code", str(tmp_path / "code"))
    assert environment(tmp_path, contract, "http://127.0.0.1:9", *more) == 1
    message = left_behind(tmp_path)
    assert (message["version"], message["reason"]) == (1, "PythonMismatch")
    assert "python=2.7" in message["message"]
    assert "apply the Deployment again" in message["message"]


@pytest.mark.parametrize(
    ("package", "reason", "told"),
    [
        ("absent-thing", "PackageNotFound", "absent-thing"),
        ("tiny-thing==9", "PackageNotFound", "tiny-thing==9"),
        ("tiny-thing<1.2", "PackageNotFound", "tiny-thing"),
    ],
)
def test_what_the_index_does_not_have_is_named(tmp_path: Path, package: str, reason: str, told: str) -> None:
    with FileServer(TINY) as index:
        assert environment(tmp_path, {"environment": {"pip": [package]}}, index.url) == 1
    message = left_behind(tmp_path)
    assert message["reason"] == reason, message
    assert told in message["message"]


def test_an_index_that_does_not_answer_is_told_apart_from_a_package_it_lacks(tmp_path: Path) -> None:
    assert environment(tmp_path, {"environment": {"pip": ["tiny-thing"]}}) == 1
    message = left_behind(tmp_path)
    assert message["reason"] == "EnvironmentFailed"
    assert "127.0.0.1:9" in message["message"]


def test_the_installed_tools_work_in_another_folder_without_anything_else(tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    assert tool(tmp_path, "install", str(tools)).returncode == 0
    assert sorted(path.name for path in tools.iterdir()) == ["__main__.py", "smalt_trainer", "uv"]
    assert os.access(tools / "uv", os.X_OK)
    script = "import smalt_trainer.packages as p; print(p.find_uv())"
    command = [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(tools)!r}); {script}"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == str(tools / "uv")
    command = [sys.executable, "-s", "-u", str(tools), "--version"]
    elsewhere = {"PYTHONPATH": "/of/the/image"}
    assert subprocess.run(command, env=elsewhere, capture_output=True, text=True, check=True).stdout.strip() == "0.1.0"


def test_an_index_has_the_public_version_of_what_the_image_has_built_itself(tmp_path: Path) -> None:
    """The image's torch==2.5.1+cu121 stays when the index offers 2.5.1 and 2.6.0 and something needs torch."""
    site = tmp_path / "site"
    about = site / "heavy_thing-2.5.1+cu121.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: heavy-thing\nVersion: 2.5.1+cu121\n")
    (site / "heavy_thing.py").write_text("ANSWER = 'of the image'\n")
    offered = package_index("heavy-thing", "2.5.1", "") | package_index("heavy-thing", "2.6.0", "")
    page = b"".join(package_index("heavy-thing", version, "")["/simple/heavy-thing/"] for version in ("2.5.1", "2.6.0"))
    files = offered | {"/simple/heavy-thing/": page} | TINY
    (tmp_path / "scoring.json").write_text(json.dumps({"environment": {"pip": ["tiny-thing", "heavy-thing>=2"]}}))
    arguments = ("environment", "--from", str(tmp_path / "scoring.json"), "--into", str(tmp_path / "environment"))
    with FileServer(files) as index:
        done = tool(tmp_path, *arguments, index=index.url, modules=str(site))
    assert done.returncode == 0, done.stderr
    installed = [path.name for path in (tmp_path / "environment").glob("lib/python*/site-packages/*.dist-info")]
    assert installed == ["tiny_thing-1.2.0.dist-info"]


def test_a_trust_bundle_without_certificates_is_told_with_its_key(tmp_path: Path) -> None:
    (tmp_path / "scoring.json").write_text("{}")
    arguments = ("environment", "--from", str(tmp_path / "scoring.json"), "--into", str(tmp_path / "environment"))
    assert tool(tmp_path, *arguments, trust=str(tmp_path / "ca.crt")).returncode == 1
    message = left_behind(tmp_path)
    assert message["reason"] == "TrustBundleInvalid"
    assert "spec.trustBundle.configMap has no key 'ca.crt'" in message["message"]
    assert "goes on by itself" in message["message"]
