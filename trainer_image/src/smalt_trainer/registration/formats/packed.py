"""What joblib and people pack pickles with, unpacked piece by piece within a bound."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from pathlib import Path
from typing import IO, Any, Optional

from smalt_trainer.registration.refused import REGISTER_AGAIN, damaged, refused

# A file that grows beyond both is no model: trees and weights are rarely packed to less than a tenth.
_MOST_GROWTH, _SMALL = 200, 64 << 20
_PIECE = 1 << 16
_MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ\0": "xz", b"]\0\0": "lzma"}
_DAMAGED = (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError)


def most_bytes(path: Path) -> int:
    """How much a packed file may unpack to."""
    return max(_SMALL, _MOST_GROWTH * path.stat().st_size)


def packing_of(head: bytes) -> Optional[str]:
    """The name of what it is packed with; None for a file that is not packed."""
    for magic, name in _MAGIC.items():
        if head.startswith(magic):
            return name
    # zlib's first two bytes are a multiple of 31.
    is_zlib = len(head) > 1 and head[0] == 0x78 and not int.from_bytes(head[:2], "big") % 31
    return "zlib" if is_zlib else None


def opened(path: Path, head: bytes) -> Content:
    """The file's content, unpacked as it is read."""
    packing = packing_of(head)
    if packing is None:
        return Content(path, path.open("rb"), path.stat().st_size)
    openers: dict[str, Any] = {"gzip": gzip.open, "bz2": bz2.open, "xz": lzma.open, "lzma": lzma.open}
    stream = openers[packing](path, "rb") if packing in openers else io.BufferedReader(_Inflated(path.open("rb")))
    return Content(path, stream, most_bytes(path))


class Content:
    """Bytes in order, no more of them than allowed. NotRegistered for what is damaged or grows too large."""

    def __init__(self, path: Path, stream: IO[bytes], most: int) -> None:
        self._path, self._stream, self._most = path, stream, most
        # What was read and not yet given, and how much was read before it: a byte must not cost a call of the system.
        self._window, self._at, self._before = b"", 0, 0

    def __enter__(self) -> Content:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    @property
    def position(self) -> int:
        """How many bytes were given."""
        return self._before + self._at

    def exactly(self, size: int) -> bytes:
        """So many bytes."""
        end = self._at + size
        if end <= len(self._window):
            found = self._window[self._at : end]
            self._at = end
            return found
        made = bytearray()
        while len(made) < size:
            piece = self.some(size - len(made))
            if not piece:
                raise damaged(self._path.name, f"it ends at byte {self.position}, and more was to come")
            made += piece
        return bytes(made)

    def some(self, size: int) -> bytes:
        """At most so many bytes, none at the end."""
        if self._at == len(self._window):
            self._fill()
        found = self._window[self._at : self._at + size]
        self._at += len(found)
        return found

    def skip(self, size: int) -> None:
        """So many bytes that nobody looks at."""
        while size:
            if self._at == len(self._window) and not self._fill():
                raise damaged(self._path.name, f"it ends at byte {self.position}, and {size} bytes more were to come")
            step = min(size, len(self._window) - self._at)
            self._at += step
            size -= step

    def line(self, most: int) -> bytes:
        """Up to the end of a line, which is left out."""
        made = bytearray()
        while True:
            end = self._window.find(b"\n", self._at)
            stop = len(self._window) if end < 0 else end
            made += self._window[self._at : stop]
            self._at = stop
            if end >= 0:
                self._at += 1
                return bytes(made)
            if len(made) > most or not self._fill():
                raise damaged(self._path.name, f"a line at byte {self.position} has no end")

    def _fill(self) -> bool:
        """The next piece into the window; False at the end."""
        self._before += len(self._window)
        self._window, self._at = b"", 0
        try:
            self._window = self._stream.read(_PIECE)
        except _DAMAGED as error:
            raise damaged(self._path.name, str(error)[:200] or type(error).__name__) from error
        if self._before + len(self._window) > self._most:
            raise refused(
                self._path.name,
                f"would unpack to more than {_MOST_GROWTH} times its size: this is no model, or one to save without "
                f"compression, {REGISTER_AGAIN}",
            )
        return bool(self._window)


class _Inflated(io.RawIOBase):
    """zlib has no file of its own."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._inflating = stream, zlib.decompressobj()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = b""
        while not piece and not self._inflating.eof:
            waiting = self._inflating.unconsumed_tail or self._stream.read(_PIECE)
            # What was read may yield more than was asked for, so that nothing is left to read and something to give.
            piece = self._inflating.decompress(waiting, len(buffer))
            if not waiting and not piece and not self._inflating.eof:
                raise EOFError("the end of the compressed data is missing")
        if not piece and (self._inflating.unused_data or self._stream.read(1)):
            raise ValueError("something follows the compressed data")
        buffer[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        self._stream.close()
        super().close()
