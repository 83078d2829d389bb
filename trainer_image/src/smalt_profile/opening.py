"""Opens a file whatever it is compressed with, and finds out from its beginning what kind of table it holds."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Iterator, Optional, cast

import pyarrow as pa

from smalt_profile.problems import ProfileProblem

HEAD = 4 << 20
_COMPRESSED = ((b"\x1f\x8b", "gzip"), (b"BZh", "bzip2"), (b"\xfd7zXZ\x00", "xz"), (b"\x28\xb5\x2f\xfd", "zstd"))
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_NOT_TEXT = ((b"PK\x03\x04", "a ZIP archive or Excel workbook"), (b"\x89PNG", "a picture"), (b"%PDF", "a PDF"))
_BROKEN = (EOFError, zlib.error, lzma.LZMAError, OSError, pa.ArrowInvalid)


@dataclass(frozen=True)
class Look:
    """What the beginning of a file tells."""

    compression: str
    head: bytes
    """The first bytes, decompressed."""
    encoding: str
    is_whole: bool
    """Whether the head is all there is."""

    @property
    def text(self) -> str:
        """The head as text, without a mark of its encoding."""
        decoder = codecs.getincrementaldecoder(self.encoding)("replace")
        return decoder.decode(self.head, final=self.is_whole)

    @property
    def is_parquet(self) -> bool:
        return not self.compression and self.head.startswith(b"PAR1")


def look_at(path: Path) -> Look:
    """ProfileProblem when it cannot be read, is empty, or is no text."""
    try:
        with path.open("rb") as stream:
            first = stream.read(8)
    except OSError as error:
        raise ProfileProblem(f"'{path.name}' cannot be read ({error.strerror}); make it readable") from error
    if not first:
        raise ProfileProblem(f"'{path.name}' is empty")
    compression = next((name for mark, name in _COMPRESSED if first.startswith(mark)), "")
    with decompressed(path, compression) as stream:
        head = _read_up_to(stream, HEAD)
    if not head:
        raise ProfileProblem(f"'{path.name}' is empty once decompressed")
    return Look(compression, head, _encoding(head), len(head) < HEAD)


def require_text(path: Path, look: Look) -> None:
    """ProfileProblem when the file holds no text."""
    kind = next((words for mark, words in _NOT_TEXT if look.head.startswith(mark)), "")
    if kind:
        raise ProfileProblem(f"'{path.name}' is {kind}, not a table; save it as CSV or Parquet")
    sample = look.head[:65536]
    if not look.encoding.startswith(("utf-16", "utf-32")):
        odd = sum(sample.count(bytes([code])) for code in (*range(9), *range(14, 32)))
        if odd > len(sample) * 0.02:
            raise ProfileProblem(f"'{path.name}' is binary, not a table in text; save it as CSV, JSON lines or Parquet")


@contextmanager
def decompressed(path: Path, compression: str) -> Iterator[Content]:
    """The file's content."""
    with path.open("rb") as raw:
        yield Content(_decompressor(raw, compression), path.name, compression)


class Content:
    """Bytes to be read; ProfileProblem when their compression turns out to be broken."""

    def __init__(self, stream: BinaryIO, name: str, compression: str) -> None:
        self._stream, self._name, self._compression = stream, name, compression

    def read(self, size: int) -> bytes:
        try:
            return bytes(self._stream.read(size))
        except _BROKEN as error:
            if not self._compression:
                raise
            raise ProfileProblem(
                f"'{self._name}' is cut off or damaged: its {self._compression} compression cannot be read to the end "
                f"({error}); write it again"
            ) from error


def _decompressor(raw: BinaryIO, compression: str) -> BinaryIO:
    if compression == "gzip":
        return cast(BinaryIO, gzip.GzipFile(fileobj=raw))
    if compression == "bzip2":
        return cast(BinaryIO, bz2.BZ2File(raw))
    if compression == "xz":
        return cast(BinaryIO, lzma.LZMAFile(raw))
    if compression == "zstd":
        return cast(BinaryIO, pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd"))
    return raw


class Utf8(io.RawIOBase):
    """A text in any encoding as UTF-8, and how many of its bytes were zero: those are left out, since no text has them."""

    def __init__(self, stream: Content, encoding: str) -> None:
        self._stream = stream
        self._decoder: Optional[Any] = None
        if encoding == "utf-8-sig":
            stream.read(len(codecs.BOM_UTF8))
        elif encoding != "utf-8":
            self._decoder = codecs.getincrementaldecoder(encoding)("replace")
        self._left = b""
        self.zeros = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left:
            piece = self._stream.read(len(buffer))
            if self._decoder is not None:
                text = self._decoder.decode(piece, final=not piece)
                self._left = text.encode("utf-8", "replace")
            else:
                self._left = piece
            if b"\0" in self._left:
                self.zeros += self._left.count(b"\0")
                self._left = self._left.replace(b"\0", b"")
            if not piece:
                break
        size = min(len(buffer), len(self._left))
        buffer[:size] = self._left[:size]
        self._left = self._left[size:]
        return size


def _encoding(head: bytes) -> str:
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    sample = head[:65536]
    # English in UTF-16 without a mark has every other byte zero.
    if len(sample) >= 8:
        for name, zeros in (("utf-16-le", sample[1::2]), ("utf-16-be", sample[::2])):
            if zeros.count(0) > 0.4 * len(zeros):
                others = sample[::2] if name == "utf-16-le" else sample[1::2]
                if others.count(0) < 0.1 * len(others):
                    return name
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def _read_up_to(stream: Content, size: int) -> bytes:
    pieces = []
    while size > 0:
        piece = stream.read(min(size, 1 << 20))
        if not piece:
            break
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)
