"""Unpacks archives that nobody vouches for: plain files and folders below one folder, so many and so large at most.

No member is written through a link, since links are made last; what is no file, folder or link is refused, and every
refusal names the member.
"""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import lzma
import stat
import tarfile
import zipfile
import zlib
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any, Callable, Dict, Iterator, Set

from smalt_trainer.code import file_name_problem
from smalt_trainer.links import link_that_leaves

KINDS = "tar, tar.gz, tar.bz2, tar.xz and zip"
_CHUNK = 1 << 20
_OPENERS: Dict[bytes, Callable[[Path], Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
# A header that says something of the next member, such as a long name, is read as a whole.
_LARGEST_HEADER = 1 << 20
_HEADERS = (*tarfile.GNU_TYPES, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
_LONGEST_LINK = 4096
_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, gzip.BadGzipFile, ValueError)


class ArchiveRefused(Exception):
    """The archive is not to be unpacked; the message says which member, or what of the whole, is wrong."""


def unpack(archive: Path, into: Path, most_files: int, most_bytes: int) -> int:
    """Every member into the folder, which is new; how many files there are. ArchiveRefused leaves a part of them there."""
    into.mkdir(parents=True, exist_ok=True)
    unpacking = _Unpacking(into, most_files, most_bytes)
    with archive.open("rb") as stream:
        head = stream.read(512)
    try:
        if head.startswith(_ZIP):
            _unzip(archive, unpacking)
        else:
            _untar(archive, head, unpacking)
    except NotImplementedError as error:
        raise ArchiveRefused(f"it is packed in a way that cannot be read ({error}); pack it as {KINDS}") from error
    except _DAMAGED as error:
        raise ArchiveRefused(f"it is damaged, or broken off ({error})") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ArchiveRefused("there is no space left for its files in the pod") from error
        raise ArchiveRefused(f"it cannot be unpacked ({error.strerror or error})") from error
    unpacking.finish()
    return unpacking.count


def _untar(archive: Path, head: bytes, unpacking: _Unpacking) -> None:
    with _plain(archive, head) as plain:
        limited = _Limited(plain, unpacking)
        with tarfile.open(fileobj=limited, mode="r|", tarinfo=_Header) as tar:
            for member in tar:
                _extract(tar, member, unpacking)
        # The end, where a compressed file says whether all of it was right.
        while limited.read(_CHUNK):
            pass


def _plain(archive: Path, head: bytes) -> IO[bytes]:
    for magic, opener in _OPENERS.items():
        if head.startswith(magic):
            return opener(archive)  # type: ignore[no-any-return]
    if head[257:262] == b"ustar":
        return archive.open("rb")
    if head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        raise ArchiveRefused(
            "it is a web page and no archive: the address is that of a page about it, or asks to sign in"
        )
    raise ArchiveRefused(f"it is no archive that can be unpacked, which are {KINDS}")


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, unpacking: _Unpacking) -> None:
    name = unpacking.name(member.name)
    if member.isdir():
        unpacking.folder(name)
    elif member.isreg():
        source = tar.extractfile(member)
        assert source
        unpacking.file(name, source, member.size, member.mode)
    elif member.issym():
        unpacking.link(name, member.linkname)
    elif member.islnk():
        unpacking.copy(name, unpacking.name(member.linkname))
    else:
        raise ArchiveRefused(
            f"its member {member.name!r} is a device or a pipe, and only files, folders and links are taken"
        )


class _Header(tarfile.TarInfo):
    """A member whose header is not read before it is known to be small."""

    @classmethod
    def frombuf(cls, *arguments: Any, **more: Any) -> _Header:
        made: Any = super().frombuf(*arguments, **more)
        if made.type in _HEADERS and made.type != tarfile.GNUTYPE_SPARSE and made.size > _LARGEST_HEADER:
            raise ArchiveRefused(f"the header before {made.name!r} is longer than any name or note")
        return made  # type: ignore[no-any-return]


class _Limited(io.RawIOBase):
    """What was compressed, as it unfolds: not more of it than its files and their headers may have."""

    def __init__(self, source: IO[bytes], unpacking: _Unpacking) -> None:
        self._source, self._unpacking = source, unpacking
        # A header for each file, one for its long name, and the blocks that all is rounded up to.
        self._left = unpacking.most_bytes + (unpacking.most_files + 16) * 16 * tarfile.BLOCKSIZE

    def read(self, size: int = -1) -> bytes:
        piece = self._source.read(min(size if size >= 0 else _CHUNK, _CHUNK))
        self._left -= len(piece)
        if self._left < 0:
            raise self._unpacking.too_large()
        return piece


def _unzip(archive: Path, unpacking: _Unpacking) -> None:
    with zipfile.ZipFile(archive) as opened:
        members = opened.infolist()
        if len(members) > 2 * unpacking.most_files:
            raise unpacking.too_many()
        for member in members:
            _extract_zipped(opened, member, unpacking)


def _extract_zipped(opened: zipfile.ZipFile, member: zipfile.ZipInfo, unpacking: _Unpacking) -> None:
    name = unpacking.name(member.filename)
    mode = member.external_attr >> 16
    kind = stat.S_IFMT(mode)
    if member.flag_bits & 1:
        raise ArchiveRefused(f"its member {member.filename!r} is encrypted, and there is no password for it")
    if member.is_dir():
        unpacking.folder(name)
        return
    if kind not in (0, stat.S_IFREG, stat.S_IFLNK):
        raise ArchiveRefused(
            f"its member {member.filename!r} is a device or a pipe, and only files, folders and links are taken"
        )
    with opened.open(member) as source:
        if kind == stat.S_IFLNK:
            unpacking.link(name, source.read(_LONGEST_LINK).decode("utf-8", "surrogateescape"))
        else:
            unpacking.file(name, source, member.file_size, mode)


@dataclass
class _Unpacking:
    """What has been unpacked so far, and how much more may be."""

    into: Path
    most_files: int
    most_bytes: int
    count: int = 0
    size: int = 0
    members: int = 0
    files: Set[str] = field(default_factory=set)
    links: Dict[str, str] = field(default_factory=dict)

    def name(self, written: str) -> str:
        """The name below the folder, `.` for the folder itself; ArchiveRefused for one that leads elsewhere."""
        self.members += 1
        if self.members > 4 * self.most_files:
            raise self.too_many()
        name = PurePosixPath(written).as_posix()
        problem = "" if name == "." else file_name_problem(name)
        if problem:
            raise ArchiveRefused(f"its member {written!r} {problem}")
        return name

    def folder(self, name: str) -> None:
        """A folder, which may be there already."""
        with self._in_the_way(name):
            (self.into / name).mkdir(parents=True, exist_ok=True)

    def file(self, name: str, source: IO[bytes], size: int, mode: int) -> None:
        """A file; of its mode only whether it is a program counts."""
        self._once(name)
        if size > self.most_bytes - self.size:
            raise self.too_large()
        target = self.into / name
        with self._in_the_way(name):
            target.parent.mkdir(parents=True, exist_ok=True)
            stream = target.open("xb")
        with stream:
            # What a header says of the size need not be true.
            while piece := source.read(_CHUNK):
                self.size += len(piece)
                if self.size > self.most_bytes:
                    raise self.too_large()
                stream.write(piece)
        target.chmod(0o755 if mode & 0o100 else 0o644)
        self.files.add(name)

    def copy(self, name: str, of: str) -> None:
        """What is linked to a file before it becomes a file of its own."""
        if of not in self.files:
            raise ArchiveRefused(f"its member {name!r} is a link to {of!r}, which is no file that comes before it")
        original = self.into / of
        with original.open("rb") as source:
            self.file(name, source, original.stat().st_size, original.stat().st_mode)

    def link(self, name: str, target: str) -> None:
        """Remembered, and made when nothing can be written through it any more."""
        self._once(name)
        if not target or "\0" in target or len(target) > _LONGEST_LINK:
            raise ArchiveRefused(f"its member {name!r} is a link to nothing that can be named")
        self.links[name] = target

    def finish(self) -> None:
        """Make the links, none of which may lead out of the folder."""
        for name, target in self.links.items():
            path = self.into / name
            with self._in_the_way(name):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.symlink_to(target)
        leaves = link_that_leaves(self.into)
        if leaves:
            raise ArchiveRefused(f"its member {leaves.name!r} is a link to {leaves.target!r}, which is outside of it")
        if not self.count:
            raise ArchiveRefused("it holds no files")

    def _once(self, name: str) -> None:
        if name == "." or name in self.files or name in self.links:
            raise ArchiveRefused(f"its member {name!r} is there twice")
        self.count += 1
        if self.count > self.most_files:
            raise self.too_many()

    @contextmanager
    def _in_the_way(self, name: str) -> Iterator[None]:
        try:
            yield
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise ArchiveRefused(f"its member {name!r} is there as a file and as a folder") from error
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise ArchiveRefused(f"its member {name[:100]!r}… has a name longer than a file can have") from error
            raise

    def too_many(self) -> ArchiveRefused:
        """More files than are taken."""
        return ArchiveRefused(f"it holds more than {self.most_files} files")

    def too_large(self) -> ArchiveRefused:
        """More bytes than are taken, however few they are compressed."""
        return ArchiveRefused(f"it unfolds to more than {self.most_bytes >> 20} MiB")
