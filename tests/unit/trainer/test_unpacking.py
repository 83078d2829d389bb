"""Archives from elsewhere: good ones unfold as they were packed, hostile ones are refused with the member that is to blame."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smalt_trainer.unpacking import ArchiveRefused, unpack

FILES = {"train.py": b"print(1)", "src/more ä.py": b"x" * 3000, "src/deep/empty": b""}
MOST = {"most_files": 50, "most_bytes": 1 << 20}


def member(name: str, content: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    made = tarfile.TarInfo(name)
    made.size = len(content)
    for key, value in fields.items():
        setattr(made, key, value)
    return made, content


def tar(
    path: Path, *members: tuple[tarfile.TarInfo, bytes], mode: str = "w:gz", form: int = tarfile.PAX_FORMAT
) -> Path:
    with tarfile.open(path, mode, format=form) as made:  # type: ignore[call-overload]
        for info, content in members:
            made.addfile(info, io.BytesIO(content))
    return path


def link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=tarfile.SYMTYPE, linkname=target)


def hard(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=tarfile.LNKTYPE, linkname=target)


def zipped(path: Path, *members: tuple[str, bytes, int], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as made:
        for name, content, mode in members:
            info = zipfile.ZipInfo(name)
            info.external_attr, info.create_system, info.compress_type = mode << 16, 3, compression
            made.writestr(info, content)
    return path


def unfolded(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_a_tar_unfolds_as_it_was_packed(tmp_path: Path, mode: str, form: int) -> None:
    members = [
        member("./", type=tarfile.DIRTYPE),
        member("./src", type=tarfile.DIRTYPE),
        *(member(f"./{n}", c) for n, c in FILES.items()),
    ]
    assert unpack(tar(tmp_path / "a", *members, mode=mode, form=form), tmp_path / "out", **MOST) == 3
    assert unfolded(tmp_path / "out") == FILES


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_unfolds_as_it_was_packed(tmp_path: Path, compression: int) -> None:
    members = [("src/", b"", stat.S_IFDIR | 0o755), *((name, content, 0o644) for name, content in FILES.items())]
    unpack(zipped(tmp_path / "a", *members, compression=compression), tmp_path / "out", **MOST)
    assert unfolded(tmp_path / "out") == FILES


@pytest.mark.parametrize("name", ["x" * 255, "/".join(["d" * 60] * 10)])
def test_long_names_are_kept(tmp_path: Path, name: str) -> None:
    unpack(tar(tmp_path / "a", member(name, b"x")), tmp_path / "out", **MOST)
    assert unfolded(tmp_path / "out") == {name: b"x"}


def test_programs_stay_programs_and_no_other_right_is_taken_over(tmp_path: Path) -> None:
    modes = {"run.sh": 0o755, "plain": 0o644, "closed": 0o000, "setuid": 0o6755, "all": 0o777}
    unpack(
        tar(tmp_path / "t", *(member(name, b"x", mode=mode) for name, mode in modes.items())), tmp_path / "a", **MOST
    )
    unpack(zipped(tmp_path / "z", *((name, b"x", mode) for name, mode in modes.items())), tmp_path / "b", **MOST)
    for folder in ("a", "b"):
        found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / folder).iterdir()}
        assert found == {"run.sh": 0o755, "plain": 0o644, "closed": 0o644, "setuid": 0o755, "all": 0o755}


def test_links_within_are_kept_and_files_linked_hard_are_files_of_their_own(tmp_path: Path) -> None:
    members = [link("soft", "src/a"), member("src/a", b"a"), hard("src/b", "src/a"), link("folder", "src")]
    unpack(tar(tmp_path / "t", *members), tmp_path / "out", **MOST)
    assert os.readlink(tmp_path / "out/soft") == "src/a"
    assert (tmp_path / "out/folder/b").read_bytes() == b"a"
    assert (tmp_path / "out/src/b").stat().st_nlink == 1
    unpack(zipped(tmp_path / "z", ("a", b"a", 0o644), ("s", b"a", stat.S_IFLNK | 0o777)), tmp_path / "zip", **MOST)
    assert (tmp_path / "zip/s").read_bytes() == b"a" and (tmp_path / "zip/s").is_symlink()


LEADS_ELSEWHERE = ["../evil", "/evil", "a/../../evil", "..", "a\\..\\evil", "..data", "a/..b/c"]


@pytest.mark.parametrize("name", LEADS_ELSEWHERE)
@pytest.mark.parametrize("kind", ["tar", "zip", "folder", "link", "hard link"])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str, kind: str) -> None:
    made: dict[str, Callable[[], Path]] = {
        "tar": lambda: tar(tmp_path / "a", member("ok", b"x"), member(name, b"x")),
        "zip": lambda: zipped(tmp_path / "a", ("ok", b"x", 0o644), (name, b"x", 0o644)),
        "folder": lambda: tar(tmp_path / "a", member("ok", b"x"), member(name, type=tarfile.DIRTYPE)),
        "link": lambda: tar(tmp_path / "a", member("ok", b"x"), link(name, "ok")),
        "hard link": lambda: tar(tmp_path / "a", member("ok", b"x"), hard("h", name)),
    }
    with pytest.raises(ArchiveRefused) as refused:
        unpack(made[kind](), tmp_path / "in/out", **MOST)
    assert repr(name) in str(refused.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "in"]
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("members", "to_blame"),
    [
        ([link("l", "/etc"), member("l/passwd", b"x")], "'l'"),
        ([link("l", ".."), member("l/evil", b"x")], "'l'"),
        ([member("l/x", b"x"), link("l", "..")], "'l'"),
        ([link("l", "/etc/passwd")], "'l' is a link to '/etc/passwd'"),
        ([link("l", "../../x")], "'l' is a link to '../../x'"),
        # Each of them alone stays within.
        ([member("d/e/f", b"x"), link("up", "d/e/.."), link("out", "up/../..")], "link to"),
        ([member("d/x", b"x"), link("d/top", ".."), link("out", "d/top/..")], "'out'"),
        ([hard("h", "/etc/passwd")], "'/etc/passwd'"),
        ([hard("h", "later"), member("later", b"x")], "'h' is a link to 'later'"),
        ([link("l", "x"), hard("h", "l"), member("x", b"x")], "'h' is a link to 'l'"),
        ([member("null", type=tarfile.CHRTYPE)], "'null' is a device or a pipe"),
        ([member("disk", type=tarfile.BLKTYPE)], "'disk' is a device or a pipe"),
        ([member("pipe", type=tarfile.FIFOTYPE)], "'pipe' is a device or a pipe"),
        ([member("a", b"1"), member("a", b"2")], "'a' is there twice"),
        ([member("a", b"1"), member("./a", b"2")], "'a' is there twice"),
        ([member("a", b"1"), link("a", "b")], "'a' is there twice"),
        ([member("a", b"1"), member("a/b", b"2")], "'a/b' is there as a file and as a folder"),
        ([member("a/b", b"1"), member("a", b"2")], "'a' is there as a file and as a folder"),
        ([member("y" * 300, b"1")], "longer than a file"),
        ([member("d", type=tarfile.DIRTYPE)], "holds no files"),
    ],
)
def test_a_hostile_tar_is_refused_by_the_member_that_is_to_blame(
    tmp_path: Path, members: list[tuple[tarfile.TarInfo, bytes]], to_blame: str
) -> None:
    with pytest.raises(ArchiveRefused) as refused:
        unpack(tar(tmp_path / "a", *members), tmp_path / "in/out", **MOST)
    assert to_blame in str(refused.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "in"]


@pytest.mark.parametrize(
    ("members", "to_blame"),
    [
        ([("l", b"/etc/passwd", stat.S_IFLNK | 0o777)], "'l' is a link to '/etc/passwd'"),
        ([("p", b"", stat.S_IFIFO | 0o644)], "'p' is a device or a pipe"),
        ([("a", b"1", 0o644), ("a", b"2", 0o644)], "'a' is there twice"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_hostile_zip_is_refused_by_the_member_that_is_to_blame(
    tmp_path: Path, members: list[tuple[str, bytes, int]], to_blame: str
) -> None:
    with pytest.raises(ArchiveRefused, match=to_blame):
        unpack(zipped(tmp_path / "a", *members), tmp_path / "out", **MOST)


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a", ("secret.py", b"x", 0o644))
    raw = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = raw.index(signature) + offset
        raw[at : at + 2] = struct.pack("<H", struct.unpack("<H", raw[at : at + 2])[0] | 1)
    path.write_bytes(raw)
    with pytest.raises(ArchiveRefused, match=r"'secret\.py' is encrypted"):
        unpack(path, tmp_path / "out", **MOST)


BOMB = b"\0" * (8 << 20)


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_a_bomb_is_refused_long_before_it_has_unfolded(tmp_path: Path, mode: str) -> None:
    path = tar(tmp_path / "a", member("bomb", BOMB), mode=mode)
    assert path.stat().st_size < 20_000
    with pytest.raises(ArchiveRefused, match="more than 1 MiB"):
        unpack(path, tmp_path / "out", **MOST)
    assert sum(len(content) for content in unfolded(tmp_path / "out").values()) <= 2 << 20


def test_a_bomb_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a", ("bomb", BOMB, 0o644))
    raw = path.read_bytes()
    path.write_bytes(raw.replace(struct.pack("<I", len(BOMB)), struct.pack("<I", 10)))
    with pytest.raises(ArchiveRefused, match=r"more than 1 MiB|damaged"):
        unpack(path, tmp_path / "out", **MOST)
    assert sum(len(content) for content in unfolded(tmp_path / "out").values()) <= 2 << 20


def test_a_bomb_made_of_links_to_one_file_is_refused(tmp_path: Path) -> None:
    members = [member("a", b"x" * (300 << 10)), *(hard(f"h{number}", "a") for number in range(10))]
    with pytest.raises(ArchiveRefused, match="more than 1 MiB"):
        unpack(tar(tmp_path / "a", *members), tmp_path / "out", **MOST)


def test_a_bomb_of_what_is_beside_the_files_is_refused(tmp_path: Path) -> None:
    info, _ = member("a", b"x")
    info.pax_headers = {"comment": "x" * (3 << 20)}
    with pytest.raises(ArchiveRefused, match="header"):
        unpack(tar(tmp_path / "a", (info, b"x")), tmp_path / "out", **MOST)


@pytest.mark.parametrize("kind", ["files", "folders", "files in a zip"])
def test_more_members_than_are_taken_are_refused(tmp_path: Path, kind: str) -> None:
    many = range(300)
    made = {
        "files": lambda: tar(tmp_path / "a", *(member(f"f{each}") for each in many)),
        "folders": lambda: tar(tmp_path / "a", *(member(f"f{each}", type=tarfile.DIRTYPE) for each in many)),
        "files in a zip": lambda: zipped(tmp_path / "a", *((f"f{each}", b"", 0o644) for each in many)),
    }
    with pytest.raises(ArchiveRefused, match="more than 50 files"):
        unpack(made[kind](), tmp_path / "out", **MOST)


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz", "zip"])
def test_an_archive_that_is_broken_off_is_refused(tmp_path: Path, mode: str) -> None:
    content = os.urandom(200_000)
    path = tmp_path / "a"
    zipped(path, ("a", content, 0o644)) if mode == "zip" else tar(path, member("a", content), mode=mode)
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(ArchiveRefused, match="damaged, or broken off"):
        unpack(path, tmp_path / "out", **MOST)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no archive that can be unpacked, which are tar"),
        (b"print(1)\n", "no archive that can be unpacked, which are tar"),
        (b"\n<!DOCTYPE html><html>sign in</html>", "web page"),
        (b"\x1f\x8bnot really", "damaged"),
        (b"PK\x03\x04not really", "damaged"),
    ],
)
def test_what_is_no_archive_is_told(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(ArchiveRefused, match=words):
        unpack(tmp_path / "a", tmp_path / "out", **MOST)


@settings(max_examples=150, deadline=None)
@given(at=st.integers(0, 10_000), noise=st.binary(min_size=1, max_size=40), form=st.sampled_from(["w", "w:gz", "zip"]))
def test_whatever_is_broken_in_an_archive_it_is_unpacked_or_refused_and_nothing_is_written_elsewhere(
    tmp_path_factory: pytest.TempPathFactory, at: int, noise: bytes, form: str
) -> None:
    folder = tmp_path_factory.mktemp("noise")
    path = folder / "a"
    if form == "zip":
        zipped(path, *((name, content, 0o644) for name, content in FILES.items()))
    else:
        tar(path, *(member(name, content) for name, content in FILES.items()), link("l", "train.py"), mode=form)
    raw = path.read_bytes()
    at %= len(raw)
    path.write_bytes(raw[:at] + noise + raw[at + len(noise) :])
    with contextlib.suppress(ArchiveRefused):
        unpack(path, folder / "in/out", **MOST)
    assert sorted(each.name for each in folder.iterdir()) == ["a", "in"]
    assert [each.name for each in (folder / "in").iterdir()] == ["out"]
