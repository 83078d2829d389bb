"""Built programs are kept by what they are made of, and their modules name no address."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from cluster import programs
from cluster.progress import ProgramFailed

FOLDERS = sorted(path for path in (programs.HERE / "programs").iterdir() if path.is_dir())


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The modules of one program, in a folder where they may be changed."""
    folder = tmp_path / "programs" / "cluster"
    shutil.copytree(programs.HERE / "programs" / "cluster", folder)
    monkeypatch.setattr(programs, "HERE", tmp_path)
    return folder


def test_every_folder_of_modules_is_a_program_that_is_built() -> None:
    assert {folder.name for folder in FOLDERS} == set(programs.PACKAGES) == set(programs.FLAGS)


def test_the_same_modules_have_the_same_key(copied: Path) -> None:
    first = programs.key("cluster")
    (copied / "go.mod").write_bytes((copied / "go.mod").read_bytes())
    assert programs.key("cluster") == first


@pytest.mark.parametrize("name", ["go.mod", "go.sum", "coredns/main.go"])
def test_another_module_or_source_is_another_key(copied: Path, name: str) -> None:
    first = programs.key("cluster")
    with (copied / name).open("a") as file:
        file.write("\n")
    assert programs.key("cluster") != first


def test_other_flags_are_another_key(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = programs.key("cluster")
    monkeypatch.setitem(programs.FLAGS, "cluster", "-s")
    assert programs.key("cluster") != first


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


def versions(name: str) -> dict[str, str]:
    text = (programs.HERE / "programs" / name / "go.mod").read_text()
    return dict(re.findall(r"^\s*(?:require )?([\w./~-]+\.[\w./~-]+) (v\S+)", text, re.M))


def test_what_is_compiled_for_the_cluster_serves_its_provisioner_too() -> None:
    cluster, provisioner = versions("cluster"), versions("local-path-provisioner")
    replaced = {
        f"k8s.io/{name}": programs.KUBERNETES_VERSION.replace("v1", "v0", 1)
        for name in ("api", "apimachinery", "client-go")
    }
    used = {
        name: version
        for name, version in provisioner.items()
        if name in cluster and not name.startswith("golang.org/x/")
    }
    assert used == {name: (cluster | replaced)[name] for name in used}
    assert len(used) > 20


def test_a_failed_build_says_what_the_compiler_said_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = tmp_path / "bin" / "go"
    go.parent.mkdir()
    go.write_text('#!/bin/sh\ncase "$1" in list) echo one ;; *) echo "main.go:3: undefined: x" >&2; exit 1 ;; esac\n')
    go.chmod(0o755)
    monkeypatch.setenv("PATH", f"{go.parent}:/usr/bin:/bin")
    with pytest.raises(ProgramFailed, match="undefined: x"):
        programs.build("versitygw", tmp_path / "made")
    assert [each.name for each in tmp_path.iterdir()] == ["bin"]
