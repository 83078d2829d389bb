"""Code is laid out below its folder, and never anywhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from smalt_trainer.code import lay_out_folder, lay_out_inline
from smalt_trainer.failures import RunFailed


def test_inline_code_and_the_same_folder_lie_there_alike_and_have_one_digest(tmp_path: Path) -> None:
    inline = lay_out_inline({"train.py": "print('ä')\r\n", "lib/deep/x.py": ""}, tmp_path / "inline")
    mounted = tmp_path / "mounted"
    (mounted / "..1").mkdir(parents=True)
    (mounted / "..1/train.py").write_bytes("print('ä')\r\n".encode())
    (mounted / "..data").symlink_to("..1")
    (mounted / "train.py").symlink_to("..data/train.py")
    (mounted / "lib/deep").mkdir(parents=True)
    (mounted / "lib/deep/x.py").touch(mode=0o444)
    assert lay_out_folder(mounted, tmp_path / "copied") == inline
    copied = tmp_path / "copied"
    assert sorted(path.name for path in copied.iterdir()) == ["lib", "train.py"]
    assert not (copied / "train.py").is_symlink()
    (copied / "lib/deep/x.py").write_text("writable")


@pytest.mark.parametrize(
    "name", ["../x.py", "/etc/x", "a/../../x", "a//b", "./a", "", ".", "..", "a\\b", "..data", "a/..b/c", "nul\0"]
)
def test_a_name_that_leads_elsewhere_is_refused_and_writes_nothing(tmp_path: Path, name: str) -> None:
    with pytest.raises(RunFailed) as failed:
        lay_out_inline({name: "x"}, tmp_path / "code")
    assert failed.value.reason == "CodeInvalid"
    assert repr(name) in failed.value.message
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_file_that_is_also_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunFailed) as failed:
        lay_out_inline({"a": "x", "a/b": "y"}, tmp_path / "code")
    assert failed.value.reason == "CodeInvalid"


def test_a_folder_whose_links_lead_in_a_circle_is_refused_with_the_link(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code/circle").symlink_to(".")
    with pytest.raises(RunFailed, match=r"code/circle.*under another name") as failed:
        lay_out_folder(tmp_path / "code", tmp_path / "copied")
    assert failed.value.reason == "CodeInvalid"


def test_a_folder_that_is_not_mounted_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunFailed) as failed:
        lay_out_folder(tmp_path / "absent", tmp_path / "code")
    assert failed.value.reason == "CodeInvalid"
    assert "absent" in failed.value.message
