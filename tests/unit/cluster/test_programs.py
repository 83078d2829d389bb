"""Built programs are kept by what they are made of, and their modules name no address."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cluster import programs

FOLDERS = sorted(path for path in (programs.HERE / "programs").iterdir() if path.is_dir())


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The modules of one program, in a folder where they may be changed."""
    folder = tmp_path / "programs" / "coredns"
    folder.mkdir(parents=True)
    for name in ("go.mod", "go.sum"):
        (folder / name).write_bytes((programs.HERE / "programs" / "coredns" / name).read_bytes())
    monkeypatch.setattr(programs, "HERE", tmp_path)
    return folder


def test_every_folder_of_modules_is_a_program_that_is_built() -> None:
    assert {folder.name for folder in FOLDERS} == set(programs.PACKAGES) == set(programs.FLAGS)


def test_the_same_modules_have_the_same_key(copied: Path) -> None:
    first = programs.key("coredns")
    (copied / "go.mod").write_bytes((copied / "go.mod").read_bytes())
    assert programs.key("coredns") == first


@pytest.mark.parametrize("name", ["go.mod", "go.sum"])
def test_another_module_is_another_key(copied: Path, name: str) -> None:
    first = programs.key("coredns")
    with (copied / name).open("a") as file:
        file.write("\n")
    assert programs.key("coredns") != first


def test_other_flags_are_another_key(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = programs.key("coredns")
    monkeypatch.setitem(programs.FLAGS, "coredns", "-s")
    assert programs.key("coredns") != first


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_modules_name_no_address(folder: Path) -> None:
    texts = [path.read_text() for path in folder.glob("go.*")]
    assert [line for text in texts for line in text.splitlines() if re.search(r"https?://", line)] == []


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_every_required_module_has_its_sum(folder: Path) -> None:
    required = re.findall(r"^\s*(?:require )?([\w./~-]+\.[\w./~-]+) (v\S+)", (folder / "go.mod").read_text(), re.M)
    replaced = set(re.findall(r"^\s*(?:replace )?(\S+)(?: v\S+)? =>", (folder / "go.mod").read_text(), re.M))
    sums = (folder / "go.sum").read_text() if (folder / "go.sum").exists() else ""
    wanting = [
        f"{name} {version}" for name, version in required if name not in replaced and f"{name} {version}" not in sums
    ]
    assert wanting == []
