"""Code in an archive at an address: fetched, proved, unpacked and judged before anything of it is used."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Iterator

from smalt_trainer.addresses import address_problem, shown
from smalt_trainer.contract import ArchiveCode
from smalt_trainer.credentials import mounted
from smalt_trainer.digests import file_sha256
from smalt_trainer.download import HttpFile, login
from smalt_trainer.failures import ANOTHER_NAME, RunFailed
from smalt_trainer.links import MOST_BYTES, MOST_FILES, refuse_links_that_leave
from smalt_trainer.progress import Progress
from smalt_trainer.s3 import S3Object, connect, place_of
from smalt_trainer.transfer import Answer, FetchFailed, Source, transfer
from smalt_trainer.unpacking import ArchiveRefused, unpack

# As it comes over the line.
MOST_PACKED_BYTES = 1 << 30


def fetch_archive(wanted: ArchiveCode, into: Path, scratch: Path, credentials: Path, say: Callable[[str], None]) -> str:
    """Lay the archive's files out in `into`; the digest of the archive itself."""
    name = _shown(wanted.url)
    packed, unpacked = scratch / "code-archive", scratch / "code"
    progress = Progress("code", say)
    try:
        transfer(_Bounded(_source(wanted, credentials)), packed, progress)
    except FetchFailed as error:
        raise RunFailed(
            "CodeUnavailable",
            f"code.url: {name} could not be fetched: {error}; correct what it names, or the address, {ANOTHER_NAME}",
        ) from error
    progress.done(1, packed.stat().st_size)
    digest = f"sha256:{file_sha256(packed)}"
    _prove(wanted, digest)
    files = unfold(wanted, packed, unpacked)
    settle(wanted, unpacked, into, say)
    say(f"code is {files} files of {name}, {digest}")
    return digest


def unfold(wanted: ArchiveCode, packed: Path, unpacked: Path) -> int:
    """The archive's files into the folder, and the archive gone; how many they are."""
    try:
        files = unpack(packed, unpacked, MOST_FILES, MOST_BYTES)
    except ArchiveRefused as error:
        raise RunFailed(
            "CodeInvalid", f"code.url: {_shown(wanted.url)} is not unpacked: {error}; pack it anew, {ANOTHER_NAME}"
        ) from error
    packed.unlink()
    return files


def settle(wanted: ArchiveCode, unpacked: Path, into: Path, say: Callable[[str], None]) -> None:
    """What of the folder is the code becomes the code's folder."""
    folder = _chosen(wanted, unpacked, say)
    refuse_links_that_leave(folder)
    shutil.move(folder, into)


def _source(wanted: ArchiveCode, credentials: Path) -> Source:
    secret = mounted(credentials) if wanted.credentials_secret else {}
    if wanted.url.startswith("s3://"):
        place = place_of(wanted.url)
        return S3Object(connect(place.bucket, secret), place)
    problem = address_problem(wanted.url)
    if problem:
        raise FetchFailed(f"it {problem}")
    return HttpFile(wanted.url, login(secret))


class _Bounded:
    """A source that may send so much and no more, whatever it says of its length."""

    def __init__(self, source: Source) -> None:
        self._source = source

    @property
    def shown(self) -> str:
        """As the source has it."""
        return self._source.shown

    @contextmanager
    def open(self, start: int, tag: str) -> Iterator[Answer]:
        """As the source does."""
        with self._source.open(start, tag) as answer:
            left = MOST_PACKED_BYTES - answer.start
            if (answer.length or 0) > left:
                raise _too_large()

            def read(size: int) -> bytes:
                nonlocal left
                piece = answer.read(size)
                left -= len(piece)
                if left < 0:
                    raise _too_large()
                return piece

            yield Answer(read, answer.start, answer.length, answer.tag)


def _too_large() -> FetchFailed:
    return FetchFailed(
        f"it is larger than {MOST_PACKED_BYTES >> 20} MiB: keep data out of the code and name it in inputs"
    )


def _prove(wanted: ArchiveCode, digest: str) -> None:
    name = _shown(wanted.url)
    if wanted.digest and digest != wanted.digest:
        raise RunFailed(
            "DigestMismatch",
            f"code.digest: {name} has digest {digest}, declared is {wanted.digest}; the archive has changed or the digest is "
            f"of another one: correct one of them, {ANOTHER_NAME}",
        )
    if wanted.pinned and digest != wanted.pinned:
        raise RunFailed(
            "DigestMismatch",
            f"code.url: {name} has digest {digest}, and an earlier attempt of this run has run {wanted.pinned}; a run is one "
            f"code: put the former archive back, or name the new one, {ANOTHER_NAME}",
        )


def _chosen(wanted: ArchiveCode, unpacked: Path, say: Callable[[str], None]) -> Path:
    """The folder that is the code: all of it, or the one that is named."""
    if wanted.path:
        folder = unpacked / wanted.path
        if not folder.is_dir():
            has = ", ".join(sorted(path.name for path in unpacked.iterdir())[:10])
            raise RunFailed(
                "CodeInvalid",
                f"code.path '{wanted.path}' is no folder of {_shown(wanted.url)} (at its top are {has}): correct it, "
                + ANOTHER_NAME,
            )
        return folder
    top = list(unpacked.iterdir())
    if len(top) == 1 and top[0].is_dir():
        say(f"the archive holds one folder, '{top[0].name}': the command starts above it, or with code.path in it")
    return unpacked


def _shown(url: str) -> str:
    return shown(url) if url.startswith("http") else url
