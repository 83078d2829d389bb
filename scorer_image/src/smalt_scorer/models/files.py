"""What a file is by its content, and what must not be opened at all."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

from smalt_scorer.failures import Failure, last_line

JOBLIB, SKOPS, ONNX, MLFLOW = "joblib", "skops", "onnx", "mlflow"
# A file that grows beyond both is no model: trees and weights are rarely packed to less than a tenth.
MOST_GROWTH, SMALL_BYTES = 200, 64 << 20
_PIECE = 1 << 20
_PACKED = {b"\x1f\x8b": "gzip", b"BZ": "bz2", b"\xfd7zXZ": "xz", b"]\x00": "lzma", b"\x78": "zlib"}
_KNOWN = {
    b"PK\x03\x04": "a zip archive",
    b"\x89HDF": "an HDF5 file",
    b"GGUF": "a GGUF file",
    b"ustar": "a tar archive",
    b"{": "JSON",
    b"<": "XML or HTML",
    b"version https://git-lfs": "a pointer of Git LFS, not the file itself",
}


def unloadable(words: str) -> Failure:
    return Failure("ModelNotLoadable", words)


def head_of(path: Path) -> bytes:
    """The first bytes. Failure for an empty file."""
    with path.open("rb") as file:
        head = file.read(64)
    if not head:
        raise unloadable(f"'{path.name}' is empty: register the model again")
    return head


def format_of(path: Path) -> str | None:
    """The format that a file's first bytes speak of; None when they are those of nothing that is served."""
    head = head_of(path)
    if zipfile.is_zipfile(path) and head.startswith(b"PK"):
        return SKOPS if "schema.json" in _names(path) else None
    if is_pickle(head):
        return JOBLIB
    # A ModelProto begins with its field 1, the version of the format, a small number.
    return ONNX if head[0] == 0x08 and len(head) > 1 and 0 < head[1] < 0x40 else None


def is_pickle(head: bytes) -> bool:
    """Whether it can be what joblib and pickle write: a pickle of protocol 2 or later, or a packed one."""
    return (head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05") or _packing(head) is not None


def described(path: Path) -> str:
    """What a file is, in words."""
    head = head_of(path)
    found = format_of(path)
    if found == SKOPS:
        return "a skops file"
    known = next((words for magic, words in _KNOWN.items() if head.startswith(magic)), None)
    return known or {JOBLIB: "a pickle", ONNX: "an ONNX model"}.get(
        found or "", f"no such file (it begins with {head[:8]!r})"
    )


def check_growth(path: Path) -> None:
    """Failure when a packed file unpacks to what only a trap, or no model of this size, would."""
    packing = _packing(head_of(path))
    if packing is None:
        return
    most = max(SMALL_BYTES, MOST_GROWTH * path.stat().st_size)
    size = 0
    try:
        with path.open("rb") as file:
            for piece in _unpacked(file, packing):
                size += len(piece)
                if size > most:
                    raise _grows(path)
    except (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError) as error:
        raise unloadable(
            f"'{path.name}' is damaged or cut short ({last_line(error)}): register the model again"
        ) from error


def check_zip(path: Path) -> None:
    """Failure for a zip archive that is damaged, leaves its folder, or unpacks to far more than it holds."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise unloadable(
            f"'{path.name}' is damaged or cut short ({last_line(error)}): register the model again"
        ) from error
    for member in members:
        if leaves(member.filename):
            raise unloadable(
                f"'{path.name}' has a member '{member.filename[:200]}', which lies outside of it: this is no model that can be trusted"
            )
    if sum(member.file_size for member in members) > max(SMALL_BYTES, MOST_GROWTH * path.stat().st_size):
        raise _grows(path)


def leaves(name: str) -> bool:
    """Whether a relative path leads out of its folder."""
    parts = PurePosixPath(name.replace("\\", "/"))
    return parts.is_absolute() or ".." in parts.parts or (len(name) > 1 and name[1] == ":")


def inside(folder: Path, name: str, said_by: str) -> Path:
    """The file of a folder that a description names. Failure when it lies elsewhere or is not there."""
    path = folder / name
    if leaves(name) or not path.resolve().is_relative_to(folder.resolve()):
        raise unloadable(
            f"{said_by} names '{name[:200]}', which lies outside of the model's folder: register the model again"
        )
    if not path.is_file():
        raise unloadable(
            f"{said_by} names '{name[:200]}', which is not in the model's folder: register the whole folder"
        )
    return path


def _names(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return []  # who opens it says what is wrong with it


def _packing(head: bytes) -> str | None:
    found = next((name for magic, name in _PACKED.items() if head.startswith(magic)), None)
    # zlib's second byte makes the first two a multiple of 31.
    return None if found == "zlib" and int.from_bytes(head[:2], "big") % 31 else found


def _unpacked(file: IO[bytes], packing: str) -> Iterator[bytes]:
    if packing == "zlib":
        yield from _inflated(file)
        return
    opened: Any = {"gzip": gzip.GzipFile, "bz2": bz2.BZ2File}.get(packing, lzma.LZMAFile)
    with opened(file) if packing != "gzip" else gzip.GzipFile(fileobj=file) as unpacked:
        while piece := unpacked.read(_PIECE):
            yield piece


def _inflated(file: IO[bytes]) -> Iterator[bytes]:
    """zlib has no file of its own; a piece is never more than asked for, whatever it is packed from."""
    inflating = zlib.decompressobj()
    while not inflating.eof:
        waiting = inflating.unconsumed_tail or file.read(_PIECE)
        if not waiting:
            raise EOFError("the end of the compressed data is missing")
        yield inflating.decompress(waiting, _PIECE)


def _grows(path: Path) -> Failure:
    return unloadable(
        f"'{path.name}' would unpack to more than {MOST_GROWTH} times its size: this is no model, or one to register "
        "without compression"
    )
